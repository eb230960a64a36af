"""Which cell owns which user: pure values, no I/O, the lowest room of the house."""
