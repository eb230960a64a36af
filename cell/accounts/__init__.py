"""Customers: opening an account, passwords and sessions, cash in."""
