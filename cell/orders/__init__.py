"""Orders: parse, batch, place, cancel, read."""
