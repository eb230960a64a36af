"""The control service (`python -m shardctl serve`): takes operations on a Unix socket; executes while it leads."""
