"""The books against themselves, the venue and Kafka: run by an operator every night, and remembered."""
