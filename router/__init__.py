"""The shard router: identify, locate, forward, learn. Thin, and standing when everything behind it is not."""
