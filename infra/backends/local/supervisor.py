"""supervisord over every process of a stack: render its configuration, start it, talk to it over its Unix socket.

We write no supervisor. Restarting, waiting, logging and rotating are supervisord's; this module says what it shall
run and asks it what does run. Every process restarts for ever: a stack whose database is away must not have given up
when it returns.
"""

import asyncio
import http.client
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from infra.backends.backend import BackendError
from infra.backends.cell_spec import ProcessSpec
from infra.backends.checkout import project_root
from infra.backends.local.commands import clean_environment, run_command
from infra.backends.local.folders import StackFolder
from infra.backends.replaced_file import replace_file

TOKEN_VARIABLE = "CELL_BROKERAGE_STACK_TOKEN"
_RETRIES_FOR_EVER = 1_000_000
"""supervisord counts starts that failed and gives up; a process of a stack is never given up."""
_LOG_BYTES_MAX = "20MB"


class SupervisorAway(Exception):
    """No supervisord answers on the stack's socket."""


@dataclass(frozen=True, slots=True)
class Supervised:
    """What supervisord says about one process."""

    name: str
    state: str
    pid: int | None
    started_at: float
    now: float
    detail: str


# ---- configuration: pure -----------------------------------------------------------------------------------------


def render_config(processes: Sequence[ProcessSpec], folder: StackFolder, *, as_root: bool) -> str:
    """Raises BackendError."""
    head = f"""\
; Written by shardctl; edits are lost.
[unix_http_server]
file={_plain(folder.supervisor_socket)}
chmod=0600

[supervisord]
pidfile={_plain(folder.supervisor_pid)}
logfile={_plain(folder.log("supervisor"))}
logfile_maxbytes=5MB
logfile_backups=1
childlogdir={_plain(folder.logs)}
identifier=cell-brokerage
umask=022
{"user=root" if as_root else ""}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_plain(folder.supervisor_socket)}
"""
    return "\n".join([head, *(_render_program(process, folder) for process in processes)])


def _render_program(process: ProcessSpec, folder: StackFolder) -> str:
    environment = ",".join(f'{name}="{_plain(value)}"' for name, value in sorted(process.environment.items()))
    lines = [
        f"[program:{process.name}]",
        f"command={' '.join(_quote(part) for part in process.command)}",
        f"directory={_plain(Path('/') if process.user else project_root())}",
        f"stdout_logfile={_plain(folder.log(process.name))}",
        f"stdout_logfile_maxbytes={_LOG_BYTES_MAX}",
        "stdout_logfile_backups=2",
        "redirect_stderr=true",
        "autostart=false",
        "autorestart=true",
        # Running for a second counts as started.
        "startsecs=1",
        f"startretries={_RETRIES_FOR_EVER}",
        f"stopsignal={process.stop_signal}",
        f"stopwaitsecs={process.stop_wait_s}",
        # A server asks its own children to end; the same signal means something else to them.
        "stopasgroup=false",
        "killasgroup=true",
    ]
    if process.user:
        lines.append(f"user={process.user}")
    if environment:
        lines.append(f"environment={environment}")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    """A value as supervisord's parser takes it: percent signs doubled; what it cannot express is refused."""
    text = str(value)
    if any(character in text for character in '"\n\r') or " ;" in text:
        raise BackendError(
            f"{text!r} holds a character that supervisord's configuration cannot express: use another folder"
        )
    return text.replace("%", "%%")


def _quote(part: str) -> str:
    plain = _plain(part)
    return plain if plain and not any(character in plain for character in " '\\") else f'"{plain}"'


# ---- the daemon --------------------------------------------------------------------------------------------------


async def start_daemon(folder: StackFolder, token: str) -> None:
    """Start supervisord; its processes inherit the token by which an orphan is recognised later. Raises
    BackendError."""
    command = [sys.executable, "-W", "ignore", "-m", "supervisor.supervisord", "-c", str(folder.supervisor_config)]
    result = await run_command(
        command, environment={**clean_environment(), TOKEN_VARIABLE: token}, directory=project_root()
    )
    if result.exit_code != 0:
        raise BackendError(f"supervisord did not start:\n{result.output.strip()}")
    client = SupervisorClient(folder.supervisor_socket)
    # It forks before it listens: five seconds in all, a loaded machine takes one.
    for _ in range(100):
        try:
            await client.identify()
        except SupervisorAway:
            await asyncio.sleep(0.05)
        else:
            return
    raise BackendError(f"supervisord started but does not answer: see {folder.log('supervisor')}")


def write_config(folder: StackFolder, text: str) -> None:
    replace_file(folder.supervisor_config, text.encode(), mode=0o600)


class SupervisorClient:
    """One XML-RPC call per method. Raises SupervisorAway if nobody answers."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    async def identify(self) -> int:
        """The pid of the answering supervisord."""
        return int(await self._call("supervisor.getPID"))

    async def processes(self) -> dict[str, Supervised]:
        answer = await self._call("supervisor.getAllProcessInfo")
        return {item["name"]: _supervised(item) for item in answer}

    async def start(self, name: str) -> None:
        """Start without waiting; a running one is left alone."""
        await self._call("supervisor.startProcess", name, False, tolerate=("ALREADY_STARTED",))

    async def stop(self, name: str, *, wait: bool) -> None:
        await self._call("supervisor.stopProcess", name, wait, tolerate=("NOT_RUNNING", "BAD_NAME"))

    async def signal(self, name: str, signal_name: str) -> None:
        """Of a process that does not run, nothing."""
        await self._call("supervisor.signalProcess", name, signal_name, tolerate=("NOT_RUNNING", "BAD_NAME"))

    async def apply_config(self) -> frozenset[str]:
        """Read the configuration again: add what is new, remove what is gone. Returns what changed, and runs on as it
        was until `take_configuration`."""
        ((added, changed, removed),) = await self._call("supervisor.reloadConfig")
        for name in removed:
            await self.stop(name, wait=True)
            await self._call("supervisor.removeProcessGroup", name)
        for name in added:
            await self._call("supervisor.addProcessGroup", name, tolerate=("ALREADY_ADDED",))
        return frozenset(changed)

    async def changed_programs(self) -> frozenset[str]:
        """Programs that run on by another configuration than the file says now."""
        ((_, changed, _),) = await self._call("supervisor.reloadConfig")
        return frozenset(changed)

    async def take_configuration(self, name: str) -> None:
        """A stopped program is run by the configuration that was read last."""
        await self._call("supervisor.removeProcessGroup", name, tolerate=("BAD_NAME",))
        await self._call("supervisor.addProcessGroup", name, tolerate=("ALREADY_ADDED",))

    async def shut_down(self) -> None:
        await self._call("supervisor.shutdown", tolerate=("SHUTDOWN_STATE",))

    async def _call(self, method: str, *arguments: object, tolerate: tuple[str, ...] = ()) -> Any:
        return await asyncio.to_thread(self._call_now, method, arguments, tolerate)

    def _call_now(self, method: str, arguments: tuple[object, ...], tolerate: tuple[str, ...]) -> Any:
        transport = SupervisorTransport(serverurl=f"unix://{self._socket_path}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport, allow_none=True)
        try:
            return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultString.partition(":")[0] in tolerate:
                return None
            raise BackendError(f"supervisord refused {method}{arguments}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, TimeoutError) as error:
            raise SupervisorAway(str(error)) from error
        finally:
            transport.close()


def _supervised(item: Mapping[str, Any]) -> Supervised:
    return Supervised(
        name=item["name"],
        state=str(item["statename"]).lower(),
        pid=item["pid"] or None,
        started_at=float(item["start"]),
        now=float(item["now"]),
        detail=str(item["spawnerr"] or item["description"]),
    )
