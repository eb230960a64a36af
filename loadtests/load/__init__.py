"""Customers for Locust."""
