"""A rehearsal from end to end: Locust, then the judgement of what it left behind.

Locust runs as a process of its own (gevent and asyncio do not share one). However it ends, also by Ctrl-C, Locust is
ended before this returns.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import loadtests
from loadtests.load.account_file import read_accounts
from loadtests.load.arrivals import Traffic
from loadtests.load.judgement import judge_run
from loadtests.load.make_accounts import Progress
from loadtests.load.report import Run
from loadtests.load.run_folder import RUN_FILE, shape_of
from loadtests.operator_view import OperatorView
from loadtests.quiet import summaries_of

LOCUSTFILE: Final = Path(loadtests.__file__).parent / "locustfile.py"
STOP_S: Final = 20
"""Longer than the router's deadline of a request, so that what is under way is answered."""
STARTS_AND_ENDS_S: Final = 120.0
"""What Locust may take beside the shape itself; then it hangs, and is ended."""


class GeneratorFailed(Exception):
    """Locust ended badly, or not at all."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is asked for. `lasting_s` 0: the shape's own length."""

    shape: str
    lasting_s: float
    base_per_s: float
    seed: int
    meme: str
    processes: int
    cores: str
    accounts: Path
    runs: Path
    admission_rate: float
    """Orders a second that each cell is to get; 0: not capped."""


async def rehearse(router_url: str, view: OperatorView, asked: Rehearsal, progress: Progress) -> tuple[Run, Path]:
    """The judged run and its folder. Raises RunThrownAway, GeneratorFailed, AccountFileRefused, RunNotKept,
    OperatorRefused, and what else the operator's view raises."""
    accounts = read_accounts(asked.accounts)
    shape = shape_of(asked.shape, asked.seed, asked.lasting_s)
    Traffic(shape, asked.base_per_s, accounts.by_class(), asked.seed)  # refuse before anything is started
    before = await summaries_of(view, await view.cells())
    folders = set(asked.runs.glob("*"))
    await _run_locust(router_url, asked, shape.duration_s, progress)
    made = sorted(folder for folder in set(asked.runs.glob("*")) - folders if (folder / RUN_FILE).exists())
    if len(made) != 1:
        raise GeneratorFailed(f"Locust left {len(made)} new runs in {asked.runs}, not one")
    progress("auditing and proving", 0, 1)
    run = await judge_run(view, made[0], before)
    progress("auditing and proving", 1, 1)
    return run, made[0]


async def _run_locust(router_url: str, asked: Rehearsal, shape_s: float, progress: Progress) -> None:
    asked.runs.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--host", router_url]
    command += ["--accounts", str(asked.accounts), "--run-folder", str(asked.runs), "--shape", asked.shape]
    command += ["--lasting", str(asked.lasting_s), "--base-rate", str(asked.base_per_s), "--seed", str(asked.seed)]
    command += ["--meme", asked.meme, f"--cores={asked.cores}", "--stop-timeout", str(STOP_S)]
    command += ["--admission-rate", str(asked.admission_rate)]
    command += ["--only-summary", "--exit-code-on-error", "0", "--loglevel", "WARNING"]
    if asked.processes > 1:
        command += ["--processes", str(asked.processes)]
    log = asked.runs / "locust.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=asyncio.subprocess.STDOUT
        )
        try:
            ended = asyncio.ensure_future(process.wait())
            async with asyncio.timeout(shape_s + STARTS_AND_ENDS_S):
                seconds = 0
                while not (await asyncio.wait({ended}, timeout=1.0))[0]:
                    seconds += 1
                    progress("the morning", min(seconds, int(shape_s)), int(shape_s))
        except TimeoutError as error:
            raise GeneratorFailed(f"Locust did not end; what it said: {log}") from error
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
    if process.returncode:
        said = log.read_text("utf-8", "replace").strip()[-600:]
        raise GeneratorFailed(f"Locust ended with {process.returncode}: {said}")
