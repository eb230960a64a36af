"""Work of several steps: planned by pure functions, persisted before it acts, executed by the leader, and resumed."""
