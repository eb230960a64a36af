"""Who did what to which part, when, why, and how it ended: one chain of hashed rows, and what proves it whole."""
