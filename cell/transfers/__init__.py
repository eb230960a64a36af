"""Shares that arrive from other brokers: how they stand, and who decides."""
