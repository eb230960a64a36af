"""What happened in each minute: read by operators and by the aggregator, written by the relay alone."""
