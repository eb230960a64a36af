"""Files of a run and of its accounts: secrets for the owner alone, every order written down, nobody shared."""

import os
from pathlib import Path

import msgspec
import pytest

from loadtests.load.account_file import Account, AccountFile, AccountFileRefused, read_accounts, write_accounts
from loadtests.load.outcomes import Outcome
from loadtests.load.recorder import Recorder, SentOrder, read_journal, read_samples
from loadtests.load.self_watch import NICENESS, cores_allowed, go_before_others
from loadtests.load.worker_shares import first_accounts

ACCOUNTS = AccountFile(
    "local", ["AAPL", "GME"], [Account(0, "lurker", "a@customers.example", "secret", "id", "cell-1", "token", 0.0)]
)


def test_accounts_are_written_for_their_owner_alone_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "loadtests" / "accounts.json"
    write_accounts(path, ACCOUNTS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert msgspec.to_builtins(read_accounts(path)) == msgspec.to_builtins(ACCOUNTS)
    write_accounts(path, ACCOUNTS)
    assert [each.name for each in path.parent.iterdir()] == ["accounts.json"]


def test_accounts_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    write_accounts(path, ACCOUNTS)
    path.chmod(0o640)
    with pytest.raises(AccountFileRefused, match="chmod 600"):
        read_accounts(path)


def test_missing_or_broken_accounts_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AccountFileRefused, match="python -m loadtests accounts"):
        read_accounts(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    broken.chmod(0o600)
    with pytest.raises(AccountFileRefused, match="no file of accounts"):
        read_accounts(broken)


def test_every_order_that_left_is_in_the_journal_and_one_without_an_answer_is_unknown(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "generator-1", 72.0)
    orders = [SentOrder("bot-0", f"run-bot-0-{number}", f"key-{number}", {"symbol": "GME"}) for number in range(3)]
    for order in orders:
        recorder.sends(order)
    recorder.answered(orders[0], Outcome.DONE, 201, order_id="id-0", cell="cell-1")
    recorder.answered(orders[1], Outcome.REJECTED, 422, code="POSITION_LIMIT")
    recorder.measured(3.5, "bot", "cell-1", "order", Outcome.DONE, from_due_s=0.25, from_sent_s=0.2)
    recorder.close({"process": "generator-1"})
    found = {entry.order.client_order_id: entry for entry in read_journal(tmp_path)}
    assert [found[order.client_order_id].outcome for order in orders] == ["done", "rejected", "unknown"]
    assert found["run-bot-0-2"].order == orders[2]
    (samples,) = read_samples(tmp_path)
    ((key, histogram),) = samples.from_due
    assert (key.interval, key.cell, key.outcome) == (3, "cell-1", "done")
    assert histogram["max_us"] == 250_000


def test_workers_share_no_account() -> None:
    first = first_accounts({"one": {"Bot": 1, "FomoBuyer": 7}, "two": {"Bot": 0, "FomoBuyer": 6}, "three": {"Bot": 1}})
    assert (first["one"]["fomo-buyer"], first["two"]["fomo-buyer"], first["three"]["fomo-buyer"]) == (0, 7, 13)
    assert (first["one"]["bot"], first["two"]["bot"], first["three"]["bot"]) == (0, 1, 1)


def test_a_generator_asked_to_run_where_it_may_not_is_refused() -> None:
    with pytest.raises(ValueError, match="9999"):
        cores_allowed("9999")
    assert cores_allowed("")


def test_the_generator_goes_before_others_where_it_may() -> None:
    child = os.fork()
    if not child:
        os._exit(go_before_others() + 20)
    _, status = os.waitpid(child, 0)
    refused = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.waitstatus_to_exitcode(status) - 20 in {NICENESS, refused}, "what it has now, refused or not"
