"""`shardctl help exit-codes`: how commands end."""

from shardctl.commands.options import AsJson
from shardctl.errors import MEANINGS
from shardctl.output import print_json, print_table


def exit_codes(as_json: AsJson = False) -> None:
    """What the exit code of a command means; that of `operations watch` is the operation's."""
    if as_json:
        print_json([{"code": int(code), "name": code.name.lower(), "means": text} for code, text in MEANINGS.items()])
        return
    print_table(("code>", "means"), [(int(code), text) for code, text in MEANINGS.items()])
