"""The checkout that runs: where it lies, and which stack is its own."""

import hashlib
from pathlib import Path

import infra


def project_root() -> Path:
    return Path(infra.__file__).resolve().parent.parent


def default_stack_name() -> str:
    """One stack per checkout, so that two clones on one machine never meet."""
    return "local-" + hashlib.blake2b(str(project_root()).encode(), digest_size=4).hexdigest()
