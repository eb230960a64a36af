"""Backups of cells and of the control database: taken, listed, restored, rehearsed."""
