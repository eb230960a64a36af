"""Cross-cell reads: scatter to every cell, merge, say who answered. Not built yet (see README.md): this package holds no code."""
