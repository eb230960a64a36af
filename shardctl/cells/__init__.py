"""Cells as a whole: list, provision and register, cordon, archive."""
