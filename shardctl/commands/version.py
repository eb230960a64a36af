"""`shardctl version`: which release this command is."""

from shardctl.commands.options import AsJson
from shardctl.output import print_json, print_line
from shardctl.release import about, about_line


def version(as_json: AsJson = False) -> None:
    """The version of this command, its commit where it is known, and its Python. Also: shardctl --version."""
    if as_json:
        print_json(about())
        return
    print_line(about_line())
