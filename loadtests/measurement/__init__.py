"""What benchmarks are made of: clients, alternation, peers, servers of their own, statistics, and kept results."""
