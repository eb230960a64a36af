"""What a customer owns: positions, portfolio, shares that arrive."""
