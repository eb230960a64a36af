"""Execution: instructions out to the venue, reports in, each applied once."""
