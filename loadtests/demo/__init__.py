"""A day of generated customers over all cells, and the proof of the books afterwards."""
