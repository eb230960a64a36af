"""The rate gate inside Locust: all customers are spawned and wait; then it opens at one moment in every process.

Locust's master (or the only process) opens it when everybody is there, and tells each worker which accounts are its
own, so that no two processes use the same one. Each process records for itself into the run's folder, which it must
share: all processes of a run are on one machine. The shape ends the test when nothing is due any more.
"""

import logging
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import gevent
import msgspec
from gevent.event import Event
from locust import LoadTestShape, events
from locust.runners import MasterRunner, WorkerRunner

from loadtests.load.account_file import Account, AccountFile, AccountFileRefused, read_accounts
from loadtests.load.arrivals import RateTooLow, Traffic
from loadtests.load.customer_classes import BY_NAME, CustomerClass
from loadtests.load.recorder import Recorder
from loadtests.load.run_folder import LOCUST_FILE, RunFacts, shape_of, write_facts
from loadtests.load.self_watch import SelfWatch, cores_allowed, go_before_others, pin
from loadtests.load.shapes import SHAPES
from loadtests.load.symbols import SymbolPopularity
from loadtests.load.worker_shares import first_accounts

OPENS_IN_S: Final = 2.0
"""After everybody is there: long enough for the message to reach each worker."""
REPORTED_WITHIN_S: Final = 30.0
"""A worker reports every three seconds."""
ENDS_AFTER_S: Final = 8.0
"""After the last request was due: the router answers every request within its deadline of eight seconds."""
SPAWN_PER_S: Final = 100
"""Locust warns above. Spawned customers do nothing yet."""

_log = logging.getLogger(__name__)


class Gate:
    """One process's half of a run. Customers wait for `opened`, then ask it for everything."""

    def __init__(self, options: Any, accounts: AccountFile) -> None:
        self.opened = Event()
        self._accounts = accounts
        self._claimed: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self.prices_micros: dict[str, int] = {}
        """As this process's customers saw them last."""
        self.popularity = SymbolPopularity(tuple(accounts.symbols), options.meme)
        shape = shape_of(options.shape, options.seed, options.lasting)
        self.traffic = Traffic(shape, options.base_rate, accounts.by_class(), options.seed)
        self._cores = cores_allowed(options.cores)
        self.run = ""
        self._opened_at_s = 0.0

    def open(self, facts: RunFacts, folder: Path, first: dict[str, int], index: int) -> None:
        """Everything is made now, so that nothing but requests is done once it is open. `index` is the process's."""
        process = f"generator-{index + 1}"
        self.run = facts.run
        self._first = first
        self._opened_at_s = time.perf_counter() + facts.opened_at_s - time.time()
        self.recorder = Recorder(folder, process, self.traffic.shape.duration_s)
        self.watch = SelfWatch(process, pin(self._cores, index), go_before_others())
        self.opened.set()

    def close(self) -> None:
        if self.opened.is_set():
            self.recorder.close(msgspec.to_builtins(self.watch.stop()))

    def claim(self, who: CustomerClass) -> Account:
        number = self._first[who.name] + self._claimed[who.name]
        self._claimed[who.name] += 1
        return self._accounts.of_class(who.name)[number]

    def now_s(self) -> float:
        """Seconds since the gate opened; negative shortly before."""
        return time.perf_counter() - self._opened_at_s


class Morning(LoadTestShape):
    """Everybody at once, until nothing is due any more."""

    customers = 0
    ends_at_s: float | None = None

    def reset_time(self) -> None:
        """A test starts, and asks for its first tick before anybody else hears of it: the last run's end is over."""
        super().reset_time()  # type: ignore[no-untyped-call]
        Morning.ends_at_s = None

    def tick(self) -> tuple[int, float] | None:
        if Morning.ends_at_s is not None and time.time() > Morning.ends_at_s:
            return None
        return (self.customers, SPAWN_PER_S)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def _add_options(parser: Any) -> None:
    options = parser.add_argument_group("The morning", "Who comes when; see loadtests/README.md")
    options.add_argument("--accounts", default="", env_var="LOADTEST_ACCOUNTS", help="File of `loadtests accounts`.")
    options.add_argument("--run-folder", default="", help="Where runs are kept; beside the accounts by default.")
    options.add_argument("--shape", default="meme-spike", choices=sorted(SHAPES), help="How the traffic goes.")
    options.add_argument("--lasting", type=float, default=0.0, help="Seconds of the whole shape; 0: its own.")
    options.add_argument("--base-rate", type=float, default=20.0, help="Requests per second of all, at factor 1.")
    options.add_argument("--seed", type=int, default=1, help="The same seed: the same requests at the same times.")
    options.add_argument("--meme", default="GME", help="The symbol everybody talks about.")
    options.add_argument(
        "--admission-rate", type=float, default=0.0, help="Orders a second each cell is to get, to be judged by."
    )
    options.add_argument("--cores", default="", help="Where the generator runs, as 1 or 2,3; else on the last ones.")


@events.init.add_listener  # type: ignore[untyped-decorator]
def _prepare(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    try:
        if not options.accounts:
            raise AccountFileRefused("say --accounts FILE; `python -m loadtests accounts` makes one and names it")
        environment.account_file = read_accounts(Path(options.accounts))
        environment.gate = Gate(options, environment.account_file)
    except (AccountFileRefused, RateTooLow, ValueError) as error:
        raise SystemExit(f"locust: {error}") from error
    counts = environment.account_file.by_class()
    for user_class in environment.user_classes:
        user_class.fixed_count = counts.get(user_class.who.name, 0)
    environment.user_classes = [each for each in environment.user_classes if each.fixed_count]
    Morning.customers = sum(counts.values())
    if isinstance(environment.runner, WorkerRunner):
        environment.runner.register_message("gate", _open_worker)
    else:
        environment.events.spawning_complete.add_listener(lambda **_: _open_all(environment))


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _begin(environment: Any, **_: Any) -> None:
    """A run of its own each time, also when it is started again from the web page."""
    if environment.gate.opened.is_set():
        environment.gate = Gate(environment.parsed_options, environment.account_file)


def _open_all(environment: Any) -> None:
    """In the master or the only process: everybody is there. Once; a worker that is lost later changes nothing."""
    if Morning.ends_at_s is not None:
        return
    counts = _customers_of_workers(environment.runner) if isinstance(environment.runner, MasterRunner) else {}
    options, gate = environment.parsed_options, environment.gate
    root = Path(options.run_folder) if options.run_folder else Path(options.accounts).parent / "runs"
    run = secrets.token_hex(4)
    folder = root / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{run}"
    folder.mkdir(mode=0o700, parents=True)
    facts = RunFacts(
        run=run,
        opened_at_s=time.time() + OPENS_IN_S,
        shape=options.shape,
        lasting_s=gate.traffic.shape.duration_s,
        base_per_s=options.base_rate,
        seed=options.seed,
        meme=options.meme,
        customers=gate.traffic.customers,
        router_url=environment.host,
        accounts=str(Path(options.accounts).absolute()),
        admission_rate=options.admission_rate,
    )
    write_facts(folder, facts)
    environment.run_folder = folder
    _log.info("%d customers are there, the gate opens; run folder: %s", Morning.customers, folder)
    Morning.ends_at_s = facts.opened_at_s + gate.traffic.shape.duration_s + ENDS_AFTER_S
    if counts:
        for worker, first in first_accounts(counts).items():
            message = {"facts": msgspec.to_builtins(facts), "folder": str(folder), "first": first}
            environment.runner.send_message("gate", message, client_id=worker)
    else:
        gate.open(facts, folder, dict.fromkeys(BY_NAME, 0), 0)


def _customers_of_workers(runner: Any) -> dict[str, dict[str, int]]:
    """By worker and class, once all of them are reported: Locust says so after a second at most, reported or not, and
    on a busy machine two workers then got the same accounts."""
    ends_s = time.monotonic() + REPORTED_WITHIN_S
    while True:
        counts = {worker.id: dict(worker.user_classes_count) for worker in runner.clients.all}
        if sum(sum(classes.values()) for classes in counts.values()) == Morning.customers:
            return counts
        if time.monotonic() > ends_s:
            raise SystemExit(f"locust: workers report {counts}, together they should be {Morning.customers}")
        gevent.sleep(0.05)


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def _end(environment: Any, **_: Any) -> None:
    environment.gate.close()
    if not isinstance(environment.runner, WorkerRunner) and Morning.ends_at_s is not None:
        own = {
            entry.name: {
                "requests": entry.num_requests,
                "failures": entry.num_failures,
                "p50_ms": entry.get_response_time_percentile(0.5),
                "p95_ms": entry.get_response_time_percentile(0.95),
                "p99_ms": entry.get_response_time_percentile(0.99),
            }
            for entry in environment.runner.stats.entries.values()
        }
        (environment.run_folder / LOCUST_FILE).write_bytes(msgspec.json.encode(own))
        if environment.runner.exceptions:  # a customer of ours stumbled: what it would have sent is missing
            environment.process_exit_code = 1


def _open_worker(environment: Any, msg: Any, **_: Any) -> None:
    facts = msgspec.convert(msg.data["facts"], RunFacts)
    environment.gate.open(facts, Path(msg.data["folder"]), msg.data["first"], environment.runner.worker_index)
