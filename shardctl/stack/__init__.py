"""A whole stack: plan it, bring it up, show it, examine it. The backend knows processes; this package adds keys,
schemas and the shard map.
"""
