"""Measurements with their conditions: ratios against a named peer in the same run, never bare numbers."""
