"""Customers' writes: commands, the batches that carry them to the database, and the outcome of each."""
