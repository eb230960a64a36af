"""The load tests' command line, one file per group of commands."""
