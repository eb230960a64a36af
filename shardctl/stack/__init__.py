"""A whole stack: bring it up, look at it, examine it. The backend knows processes; this room knows keys, schema and
map.
"""
