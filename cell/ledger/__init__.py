"""The double-entry ledger as its readers see it; only procedures write it."""
