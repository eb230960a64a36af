"""One source of the time of day: a shifted clock shifts everything, or a drill proves nothing."""

import ast
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cell.settings import CellSettings
from infra.runtime.clock import make_clock
from infra.runtime.database import with_session_settings
from infra.runtime.dsn import with_clock_offset
from infra.runtime.settings import ClockSettings, PostgresSettings
from router.settings import RouterSettings

ROOT = Path(__file__).parents[2]
PACKAGES = ("cell", "router", "exchange", "shardctl", "infra")
ASKS_THE_MACHINE = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("time", "time"), ("time", "time_ns"), ("time", "gmtime"), ("time", "localtime"), ("time", "strftime"),
    ("time", "ctime"), ("time", "clock_gettime"),
}  # fmt: skip
ALLOWED = {
    "infra/runtime/clock.py": "the one source",
    "infra/backends/local/process_facts.py": "a process's uptime, by the machine's clock that noted its start",
    "shardctl/backups/naming.py": "names of backups, by the clock that the server's log has",
}
MAKES_A_CLOCK = {
    "infra/runtime/clock.py": "make_clock",
    "shardctl/logins.py": "the clock of the world, by which issuers judge and say when a token ends",
    "shardctl/service/app.py": "the same, for tokens of the issuer that persons bring",
    "shardctl/stack/current.py": "the clock of the stack that the command is about, from its record",
    "router/hold.py": "what a test does not say",
}
SQL_ASKS_THE_MACHINE = (
    "clock_timestamp(", "now()", "current_timestamp", "current_date", "current_time", "localtimestamp", "localtime",
    "statement_timestamp(", "transaction_timestamp(", "timeofday(",
)  # fmt: skip
SQL_ALLOWED = {
    "cell/sql/procedures/clock_v1.sql": "the one source",
    "cell/sql/procedures/age_clock_v1.sql": "a bound on the one source, which a session may set",
    "cell/sql/procedures/end_long_readers_v1.sql": "compared with a transaction's begin, which the database measures",
    "cell/sql/procedures/snapshot_time_v1.sql": "the one source, of a snapshot",
    "shardctl/sql/procedures/clock_v1.sql": "the one source",
    "shardctl/sql/procedures/activate_email_claim_v1.sql": "claims: ages that one database writes and measures itself",
    "shardctl/sql/procedures/claim_email_v1.sql": "claims",
    "shardctl/sql/procedures/free_email_claim_v1.sql": "claims",
    "shardctl/sql/procedures/pending_email_claims_v1.sql": "claims",
    "shardctl/sql/procedures/acquire_lease_v1.sql": "the lease: a length that one database writes and measures itself",
    "shardctl/sql/procedures/renew_lease_v1.sql": "the lease",
    "shardctl/sql/procedures/check_lease_v1.sql": "the lease",
}
IN_STATEMENTS = ("clock_timestamp(", "statement_timestamp(", " now()")
STATEMENTS_ALLOWED = {
    "infra/runtime/migrator.py": "when a file was applied, by the machine",
    "infra/runtime/code_installer.py": "when code was installed, by the machine",
    "cell/executions/figures.py": "compared with a statement's begin, which the database measures",
    "infra/backends/local/backups.py": "compared with the log's commits, which the server dates",
}


@dataclass
class Findings:
    """Names of files, of all our packages, by what was found in them."""

    asks: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    makes_a_clock: set[str] = field(default_factory=set)
    statements: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def findings() -> Findings:
    """Each file is parsed once: that is nearly all of the work."""
    found = Findings()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Attribute(value=ast.Name(id=module), attr=attribute):
                        found.asks |= {name} if (module, attribute) in ASKS_THE_MACHINE else set()
                    case ast.ImportFrom(module="time", names=names) if {"time", "time_ns"} & {a.name for a in names}:
                        found.imports.add(name)
                    case ast.Call(func=ast.Name(id="SystemClock")):
                        found.makes_a_clock.add(name)
                    case ast.Constant(value=str(text)) if any(word in text.lower() for word in IN_STATEMENTS):
                        found.statements.add(name)
    return found


def test_nobody_else_asks_the_machine_what_time_it_is(findings: Findings) -> None:
    """Called or only named: `now=time.time` is a second clock as well."""
    assert findings.asks == set(ALLOWED)
    assert findings.imports == set()


def test_nobody_else_makes_a_clock(findings: Findings) -> None:
    assert findings.makes_a_clock == set(MAKES_A_CLOCK)


def test_no_statement_asks_the_database_past_its_one_clock(findings: Findings) -> None:
    """Columns' defaults in migrations are stated by those who insert, where the time is compared with another's."""
    found = set()
    for package in ("cell", "shardctl"):
        for path in sorted((ROOT / package / "sql").rglob("*.sql")):
            if path.parent.name in ("procedures", "checks"):
                code = "\n".join(line.partition("--")[0] for line in path.read_text().lower().splitlines())
                if any(word in code for word in SQL_ASKS_THE_MACHINE):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found <= set(SQL_ALLOWED), found - set(SQL_ALLOWED)
    assert findings.statements == set(STATEMENTS_ALLOWED)


@pytest.mark.parametrize("offset_s", [0.0, 86_400.5, -3_600.0])
def test_a_shifted_clock_is_shifted_in_every_form_and_its_monotonic_one_is_not(offset_s: float) -> None:
    clock, machine = make_clock(offset_s), make_clock(0.0)
    before, told, after = machine.now(), clock.now(), machine.now()
    assert before <= told - timedelta(seconds=offset_s) <= after
    for in_epoch in (clock.epoch_s(), clock.epoch_us() / 1e6):
        assert abs(in_epoch - offset_s - datetime.now(UTC).timestamp()) < 60
    assert abs(clock.monotonic() - machine.monotonic()) < 60


def test_a_database_session_is_told_the_offset() -> None:
    settings = PostgresSettings(dsn="postgresql://a@127.0.0.1/b?passfile=/p", clock_offset_s=86_400.5)
    assert "brokerage.clock_offset%3D86400.500000s" in with_session_settings(settings, "x")
    unshifted = PostgresSettings(dsn="postgresql://a@127.0.0.1/b")
    assert "clock_offset" not in with_session_settings(unshifted, "x")
    assert with_clock_offset("postgresql://a@127.0.0.1/b", 0) == "postgresql://a@127.0.0.1/b"
    assert with_clock_offset("postgresql://a@h/b?x=y", -2) == (
        "postgresql://a@h/b?x=y&options=-c%20brokerage.clock_offset%3D-2.000000s"
    )


def test_settings_name_one_offset_for_process_and_database(tmp_path: Path) -> None:
    settings = CellSettings(
        name="cell-1",
        postgres=PostgresSettings(dsn="postgresql://"),
        keys_dir=tmp_path,
        clock=ClockSettings(offset_s=7),
    )
    assert settings.postgres.clock_offset_s == 7
    assert RouterSettings.model_fields["clock"].annotation is ClockSettings
