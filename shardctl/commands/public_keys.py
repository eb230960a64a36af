"""`shardctl keys public`: by which receipts and certificates are verified, without a stack."""

import asyncio

from shardctl.commands.options import AsJson
from shardctl.moves.history import public_keys
from shardctl.moves.offline import written_keys
from shardctl.output import print_json, print_table
from shardctl.stack.current import open_stack


def public(as_json: AsJson = False) -> None:
    """The public keys by which receipts and certificates of moves are verified, also those that sign no more.

    With --json: the file that `shardctl users receipt --verify FILE --keys FILE` reads, without a stack.
    """
    document = written_keys(asyncio.run(public_keys(open_stack())))
    if as_json:
        print_json(document)
        return
    rows = [(signer, kid, key) for signer, keys in document.items() for kid, key in keys.items()]
    print_table(("signer", "key", "public half"), rows)
