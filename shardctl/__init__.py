"""The operators' command: it changes what the services only read."""
