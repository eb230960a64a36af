"""The market outside: a separate process that plays a venue for the local stack. See README.md."""
