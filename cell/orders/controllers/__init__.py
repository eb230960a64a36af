"""HTTP of accounts: for customers, and for the router on their behalf."""
