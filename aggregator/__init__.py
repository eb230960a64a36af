"""Cross-cell reads: scatter to every cell, merge, say who answered. Not built yet: this package holds no code."""
