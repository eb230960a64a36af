"""A person logs in at a control service elsewhere, as at a terminal: code, browser, and then commands by its URL."""

import asyncio
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from shardctl.contexts import Elsewhere
from shardctl.device_login import Code, log_in
from shardctl.errors import NotAllowed, NotReachable, Refused
from shardctl.logins import Login, find_login, forget_login, keep_login, login_path
from tests.support.control_service import control_service, folder_stack
from tests.support.databases import TestDatabase
from tests.support.free_port import free_port
from tests.support.oidc_browser import confirm
from tests.support.oidc_issuer import AUDIENCE, Issuer, oidc_issuer

pytestmark = pytest.mark.anyio

PEOPLE: Final = {"otto": ["run"], "stray": ["nothing of ours"]}
_SHOWN: Final = re.compile(r"open (\S+) in any browser and confirm the code (\S+)")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with oidc_issuer(PEOPLE) as running:
        yield running


@dataclass
class Terminal:
    """Commands with folders of their own."""

    environment: dict[str, str]
    state: Path

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shardctl", *words, env=self.environment, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *words: str) -> tuple[int | None, str]:
        process = await self.start(*words)
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()

    async def log_in(self, name: str) -> tuple[int | None, str]:
        process = await self.start("login")
        assert process.stderr is not None
        while (found := _SHOWN.search(line := (await process.stderr.readline()).decode())) is None:
            assert line, "no code was shown"
        page = await asyncio.to_thread(confirm, found[1], name)
        assert "Sign-in Success" in page
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()

    def kept(self) -> list[Path]:
        return list(self.state.rglob("*.json"))


@pytest.fixture
async def terminal(control_database: TestDatabase, tmp_path: Path, issuer: Issuer) -> AsyncIterator[Terminal]:
    listen, config, state = free_port(), tmp_path / "config", tmp_path / "state"
    file = config / "cell-brokerage" / "shardctl.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        f'current = "away"\n[contexts.away]\nurl = "http://127.0.0.1:{listen}"\nissuer = "{issuer.url}"\n'
        f'client_id = "shardctl"\naudience = "{AUDIENCE}"\n'
    )
    file.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SHARDCTL_")}
    environment |= {"XDG_CONFIG_HOME": str(config), "XDG_STATE_HOME": str(state)}
    oidc = {"issuer": issuer.url, "audience": AUDIENCE, "roles": {"run": "operator"}, "listen": {"port": listen}}
    async with control_service(control_database.leader_dsn, folder_stack(tmp_path), {}, oidc=oidc):
        yield Terminal(environment, state)


async def test_who_has_logged_in_is_known_by_name_until_they_log_out(terminal: Terminal) -> None:
    code, said = await terminal.log_in("otto")
    assert (code, "as oidc:otto, operator" in said) == (0, True), said
    [kept] = terminal.kept()
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent)] == [0o600, 0o700]
    held = find_login(kept, 0)
    assert held is not None
    assert held.token not in said
    assert held.token not in repr(held)
    code, said = await terminal.run("whoami")
    assert (code, said.strip()) == (0, "oidc:otto: operator, by oidc")
    code, said = await terminal.run("operations", "list", "--json")
    assert (code, said.strip()) == (0, "[]")
    kept.chmod(0o644)
    code, said = await terminal.run("whoami")
    assert (code, "can be read by others" in said) == (3, True)
    assert (await terminal.run("logout"))[0] == 0
    assert terminal.kept() == []


async def test_a_person_without_a_role_keeps_no_token(terminal: Terminal) -> None:
    code, said = await terminal.log_in("stray")
    assert (code, "oidc:stray has no role here" in said) == (3, True), said
    assert terminal.kept() == []


def elsewhere(issuer: str, audience: str = AUDIENCE) -> Elsewhere:
    return Elsewhere("http://127.0.0.1:1", issuer, "shardctl", audience)


class Person:
    """At the browser: what they do when they are shown a code; the time passes when they are waited for."""

    def __init__(self, name: str, *, denies: bool = False, comes: bool = True) -> None:
        self.name, self.denies, self.comes, self.now_s, self.waits = name, denies, comes, 0.0, list[float]()

    def shown(self, code: Code) -> None:
        self.code = code

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.waits.append(seconds)
        if self.comes and len(self.waits) == 2:
            confirm(self.code.url, self.name, deny=self.denies)

    def log_in(self, service: Elsewhere) -> str:
        return log_in(service, self.shown, sleep=self.sleep, monotonic=lambda: self.now_s).token


async def test_a_code_that_is_refused_or_left_gives_nothing(issuer: Issuer) -> None:
    person = Person("otto")
    assert (await asyncio.to_thread(person.log_in, elsewhere(issuer.url))).count(".") == 2
    assert person.waits == [5.0, 5.0], "as often as the issuer allows"
    with pytest.raises(Refused, match="said no"):
        await asyncio.to_thread(Person("otto", denies=True).log_in, elsewhere(issuer.url))
    late = Person("otto", comes=False)
    with pytest.raises(Refused, match="in time"):
        await asyncio.to_thread(late.log_in, elsewhere(issuer.url))
    assert 55.0 <= late.now_s <= 65.0, "the life of a code there"
    with pytest.raises(NotReachable, match="does not answer"):
        await asyncio.to_thread(Person("otto").log_in, elsewhere(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Refused, match="speaks for another issuer"):
        await asyncio.to_thread(Person("otto").log_in, elsewhere(f"{issuer.url}/"))


async def test_a_token_is_kept_for_one_service_and_not_beyond_its_end(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    path = login_path(environment, elsewhere("https://a.example"))
    assert path != login_path(environment, elsewhere("https://a.example", "other"))
    assert find_login(path, 0) is None
    keep_login(path, Login("t", 1_000.0))
    assert find_login(path, 900.0) == Login("t", 1_000.0)
    assert find_login(path, 995.0) is None
    keep_login(path, Login("t", 0.0))
    assert find_login(path, 5e9) == Login("t", 0.0)
    path.write_text("{")
    assert find_login(path, 0) is None
    path.chmod(0o640)
    with pytest.raises(NotAllowed, match="can be read by others"):
        find_login(path, 0)
    assert [forget_login(path), forget_login(path)] == [True, False]
    assert login_path({"XDG_STATE_HOME": "relative"}, elsewhere("https://a.example")).is_relative_to(Path.home())
