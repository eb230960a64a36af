"""A customer of the platform: demo, replay of recorded tapes, benchmarks and load scenarios, all through the router."""
