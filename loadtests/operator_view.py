"""What a customer cannot see: asked from `shardctl ... --json`, as an operator would, in a subprocess.

Loadtests never open a cell's database or operator port by themselves; so whatever they prove, an operator can prove
the same way by hand. A command that fails raises `OperatorRefused` with its words; it is never taken for an empty
answer.
"""

import asyncio
import os
import re
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

COMMAND_S_MAX = 60.0
"""Of one `shardctl` command: the slowest of them takes seconds."""
EVENTS_S_MAX = 180.0
"""`shardctl events count` reads the topics from their beginning, several times."""
# Each command is a Python process of its own: more at once only makes all of them slower on a small machine.
AT_ONCE = 2
USERS_PER_COMMAND = 100
"""Ids stand in the command line: 37 bytes each, far below its limit."""
# Every command used here may be repeated. A cell's database that was killed is back within a few seconds.
PAUSES_S = (0.5, 1.0, 2.0, 4.0)
EXIT_NOT_REACHABLE = 3
"""`shardctl`'s: asked again after a pause, any other code is not."""


class OperatorRefused(Exception):
    """shardctl could not or would not answer."""

    def __init__(self, arguments: tuple[str, ...], code: int | None, said: str) -> None:
        self.arguments = arguments
        self.code = code
        self.is_passing = code == EXIT_NOT_REACHABLE or re.search(r"\(5\d\d ", said) is not None
        super().__init__(f"shardctl {shlex.join(arguments)}: exit code {code}: {said.strip()[-600:] or 'said nothing'}")


class OperatorView:
    """`stack` names the stack, as `shardctl --stack` does; without it, the project's own."""

    def __init__(self, stack: str | None = None) -> None:
        self._stack = stack
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self, *arguments: str, codes: tuple[int, ...] = (0,), limit_s: float = COMMAND_S_MAX) -> str:
        """What the command printed. Asked again a few times while something behind it is down."""
        for pause_s in PAUSES_S:
            try:
                return await self._run_once(*arguments, codes=codes, limit_s=limit_s)
            except OperatorRefused as error:
                if not error.is_passing:
                    raise
            await asyncio.sleep(pause_s)
        return await self._run_once(*arguments, codes=codes, limit_s=limit_s)

    async def _run_once(self, *arguments: str, codes: tuple[int, ...], limit_s: float) -> str:
        environment = dict(os.environ)
        if self._stack is not None:
            environment["SHARDCTL_STACK"] = self._stack
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "shardctl",
                *arguments,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                async with asyncio.timeout(limit_s):
                    out, err = await process.communicate()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise OperatorRefused(arguments, None, f"no answer within {limit_s:.0f} s") from None
        if process.returncode not in codes:
            raise OperatorRefused(arguments, process.returncode, (err or out).decode("utf-8", "replace"))
        return out.decode("utf-8", "replace")

    async def json(self, *arguments: str, codes: tuple[int, ...] = (0,), limit_s: float = COMMAND_S_MAX) -> Any:
        """Raises OperatorRefused."""
        text = await self.run(*arguments, "--json", codes=codes, limit_s=limit_s)
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise OperatorRefused(arguments, 0, f"the answer is not JSON ({error}): {text[:300]}") from error

    async def make_professional(self, users: Sequence[uuid.UUID]) -> None:
        """Give users the profile without order limits, a bounded number per command."""
        for start in range(0, len(users), USERS_PER_COMMAND):
            chunk = [str(user) for user in users[start : start + USERS_PER_COMMAND]]
            await self.run("users", "set-profile", *chunk, "professional", "--reason", "a load test")

    async def approve_transfers(self, user: uuid.UUID, transfers: Sequence[str]) -> None:
        """Where shares from another broker wait for an operator; nobody is asked when none waits."""
        if transfers:
            await self.run("transfers", "approve", str(user), *transfers, "--reason", "shares of a load test")

    async def environment(self) -> dict[str, str]:
        return parse_environment(await self.run("status", "-o", "env"))

    async def admission_rate(self) -> float:
        """Orders a second that each cell admits, through all routers; 0: not capped."""
        return float((await self.json("status")).get("admission_rate", 0.0))

    async def cells(self) -> list[str]:
        """Names of all cells that can own users, in order."""
        listed = await self.json("cells", "list")
        rows = listed if isinstance(listed, list) else listed.get("cells", listed.get("items", []))
        names = [str(row.get("cell_id") or row.get("cell") or row.get("name")) for row in rows]
        return sorted(names, key=lambda name: (len(name), name))

    async def summary(self, cell: str) -> dict[str, Any]:
        return dict(await self.json("cells", "summary", cell))

    async def checks(self, cell: str) -> dict[str, Any]:
        """The ledger checks; a red one is an answer (exit code 1), not a failure to answer."""
        return dict(await self.json("cells", "check", cell, codes=(0, 1)))

    async def events(self, cell: str) -> dict[str, Any]:
        """Events in Kafka beside the database's; the whole of Kafka is read, perhaps more than once."""
        arguments = ("events", "count", "--cell", cell)
        return dict(await self.json(*arguments, codes=(0, 1), limit_s=EVENTS_S_MAX))


def parse_environment(text: str) -> dict[str, str]:
    """Shell lines NAME=VALUE, quoted or not, with or without `export`."""
    found: dict[str, str] = {}
    for word in shlex.split(text, comments=True):
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            found[name] = value
    return found


async def router_address(given: str | None, view: OperatorView, environ: Mapping[str, str] = os.environ) -> str:
    """--router, else ROUTER_URL, else what shardctl says. Raises OperatorRefused."""
    if given:
        return given
    if environ.get("ROUTER_URL"):
        return environ["ROUTER_URL"]
    stack = await view.environment()
    if not stack.get("ROUTER_URL"):
        raise OperatorRefused(("status", "-o", "env"), 0, "no ROUTER_URL: is the stack up? (shardctl up)")
    return stack["ROUTER_URL"]
