"""Which moments are covered, what is refused, and what stays when older backups go."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.backends.backups import ArchiveState, Backup, BackupKind, NotCovered
from shardctl.backups.coverage import Reach, chain, choose, parse_moment, prunable, reaches

T0 = datetime(2026, 1, 2, 10, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def backup(label: str, minutes: float, *, based_on: str | None = None, archive: str = "archive_a") -> Backup:
    return Backup(
        label=label,
        server="cell-1-postgres",
        kind=BackupKind.INCREMENTAL if based_on else BackupKind.FULL,
        based_on=based_on,
        archive=archive,
        timeline=1,
        start_lsn=0,
        end_lsn=100,
        started_at=at(minutes - 1),
        ended_at=at(minutes),
        size_bytes=1,
        server_version="18",
    )


def state(until: float | None, *, archive: str = "archive_a", is_open: bool = True) -> ArchiveState:
    return ArchiveState("cell-1-postgres", archive, 1, 0, None if until is None else at(until), is_open)


BOTH = (backup("one", 0), backup("two", 30, based_on="one"))


def test_a_moment_is_restored_from_the_newest_backup_that_ended_before_it() -> None:
    found = reaches(BOTH, [state(60)])
    assert choose(found, at(10), None).backup.label == "one"
    assert choose(found, at(45), None).backup.label == "two"
    assert choose(found, at(45), "one").backup.label == "one"


def test_the_ends_of_what_is_covered_belong_to_it() -> None:
    found = reaches(BOTH, [state(60)])
    assert choose(found, at(0), None).backup.label == "one"
    assert choose(found, at(30), None).backup.label == "two"
    assert choose(found, at(60), None).backup.label == "two"


@pytest.mark.parametrize("minutes", [-0.00001, 60.00001])
def test_a_moment_beyond_them_is_refused_and_what_is_covered_is_named(minutes: float) -> None:
    with pytest.raises(NotCovered, match=r"2026-01-02T10:00:00.000000Z to 2026-01-02T11:00:00.000000Z"):
        choose(reaches(BOTH, [state(60)]), at(minutes), None)


def test_a_gap_in_the_log_ends_what_is_covered_and_its_file_is_named() -> None:
    gap = replace(state(20), missing="000000010000000000000007")
    with pytest.raises(NotCovered, match="000000010000000000000007 is missing"):
        choose(reaches(BOTH[:1], [gap]), at(25), None)


def test_nothing_was_committed_after_a_backup_but_its_own_end_can_be_had() -> None:
    found = reaches([backup("one", 30)], [state(29)])
    assert found[0].latest is None
    assert choose(found, None, None).backup.label == "one"
    with pytest.raises(NotCovered, match="its own end only"):
        choose(found, at(30), None)


def test_the_latest_moment_is_that_of_the_incarnation_that_is_written() -> None:
    old, new = backup("old", 50), backup("new", 40, archive="archive_b")
    found = reaches([old, new], [state(90, is_open=False), state(60, archive="archive_b")])
    assert choose(found, None, None).backup.label == "new"
    assert choose(found, at(55), None).backup.label == "old", "the newest that covers it"


def test_an_unknown_label_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(NotCovered, match="one, two"):
        choose(reaches(BOTH, [state(60)]), at(45), "three")
    with pytest.raises(NotCovered, match="there is no backup"):
        choose([], None, None)


def test_a_backup_without_its_archive_reaches_its_own_end() -> None:
    assert reaches(BOTH[:1], []) == (Reach(BOTH[0], at(0), None, is_open=False, missing=None),)


def test_an_incremental_backup_needs_those_before_it() -> None:
    three = backup("three", 40, based_on="two")
    assert [each.label for each in chain([*BOTH, three], "three")] == ["one", "two", "three"]
    with pytest.raises(NotCovered, match="three needs two"):
        chain([three], "three")


def test_pruning_keeps_what_the_kept_ones_are_the_base_of() -> None:
    known = [*BOTH, backup("three", 60), backup("four", 70, based_on="three"), backup("five", 80)]
    assert prunable(known, 1) == ("four", "three", "two", "one")
    assert prunable(known, 2) == ("two", "one")
    assert prunable(known, 3) == ()


def test_a_moment_has_its_zone() -> None:
    assert parse_moment("latest") is None
    assert parse_moment("2026-01-02T11:00:00+01:00") == T0
    for text in ("2026-01-02T11:00:00", "now", ""):
        with pytest.raises(ValueError):  # noqa: PT011  # the command says what it wants
            parse_moment(text)
