"""The shard map's only writer."""
