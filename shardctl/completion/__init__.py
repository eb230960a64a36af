"""Completion of commands, options and names: the standard library alone, and no command is imported."""
