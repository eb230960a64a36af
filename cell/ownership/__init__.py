"""Is this user ours? Decided by the user's row in this cell's database, and nowhere else."""
