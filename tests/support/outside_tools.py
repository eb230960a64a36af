"""Tools that come from outside the locked environment: found, or the test is skipped with the reason.

Where `CI=true` a missing tool is a failure: a suite that skips everything there would prove nothing.
"""

import importlib.util
import os
import shutil

import pytest


def outside_tool(name: str, *, for_what: str) -> str:
    """The path of an executable. Skips the test without it, or fails it under CI."""
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"{name} is not installed ({for_what}); `make ci-tools` installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def outside_module(name: str, *, for_what: str) -> None:
    """Skips the test if there is no such Python module here, or fails it under CI."""
    if importlib.util.find_spec(name) is None:
        reason = f"the Python package {name} is not installed ({for_what})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
