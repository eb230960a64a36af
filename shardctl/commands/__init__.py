"""Commands: parse, one call, print; nothing is decided here. `shardctl/mounts.py` names where each is.

A command raises a ShardctlError, which ends it with that error's exit code (`shardctl help exit-codes`). Its docstring
is what `--help` shows to a person, so it speaks of exit codes and not of classes.
"""
