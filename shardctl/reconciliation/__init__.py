"""One cell's books against the venue and Kafka; the cell proves its own and keeps the result."""
