"""Cells as a whole: make one, and tell the map about it."""
