"""The control service (`python -m shardctl serve`): takes orders on a Unix socket, and executes them while it leads."""
