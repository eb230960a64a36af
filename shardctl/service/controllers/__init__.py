"""What the control service does at once for a person, without an operation: acts on the map, on cells and on users."""
