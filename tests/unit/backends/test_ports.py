"""Ports: remembered, never another stack's, probed."""

import socket
import threading
from pathlib import Path

import pytest

from infra.backends.backend import BackendError
from infra.backends.local.ports import PORT_MAX, PORT_MIN, choose_ports, claimed_ports, is_free, port_registry
from tests.support.free_port import free_port


def everything_is_free(_: int) -> bool:
    return True


def test_held_ports_are_kept_and_new_ones_are_added() -> None:
    chosen = choose_ports(wanted=["a", "b"], held={"a": 25_000}, taken=frozenset(), start=0, free=everything_is_free)
    assert chosen == {"a": 25_000, "b": PORT_MIN}


def test_a_taken_or_busy_port_is_passed_over() -> None:
    chosen = choose_ports(
        wanted=["a", "b"], held={}, taken=frozenset({PORT_MIN}), start=0, free=lambda port: port != PORT_MIN + 1
    )
    assert chosen == {"a": PORT_MIN + 2, "b": PORT_MIN + 3}


def test_the_search_goes_round() -> None:
    span = PORT_MAX - PORT_MIN
    chosen = choose_ports(wanted=["a", "b"], held={}, taken=frozenset(), start=span - 1, free=everything_is_free)
    assert chosen == {"a": PORT_MAX - 1, "b": PORT_MIN}


def test_no_free_port_is_said() -> None:
    with pytest.raises(BackendError, match="no free port"):
        choose_ports(wanted=["a"], held={}, taken=frozenset(), start=0, free=lambda _: False)


def test_a_listener_makes_a_port_busy() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not is_free(listener.getsockname()[1])


def test_a_closing_connection_does_not() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = int(listener.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = listener.accept()
            accepted.close()  # the server's side closes first and lingers
    assert is_free(port)


def make_stack(folder: Path) -> Path:
    folder.mkdir()
    (folder / "stack.json").write_text("{}")
    return folder


def test_two_stacks_at_the_same_moment_share_no_port(tmp_path: Path) -> None:
    """Both search from the same place: only the registry's lock keeps them apart."""
    names = [f"p{number}" for number in range(20)]
    stacks = [make_stack(tmp_path / f"stack-{number}") for number in range(8)]
    found: list[dict[str, int]] = []
    together = threading.Barrier(len(stacks))

    def claim(stack: Path) -> None:
        together.wait()
        with port_registry(tmp_path / "ports.json") as registry:
            found.append(registry.claim(stack, names, {}))

    threads = [threading.Thread(target=claim, args=(stack,)) for stack in stacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ports = [port for claimed in found for port in claimed.values()]
    assert len(set(ports)) == len(stacks) * len(names)


def test_a_stopped_stack_keeps_its_ports_and_a_removed_one_does_not(tmp_path: Path) -> None:
    registry_path = tmp_path / "ports.json"
    kept, removed, newcomer = (make_stack(tmp_path / name) for name in ("kept", "removed", "newcomer"))
    with port_registry(registry_path) as registry:
        first = registry.claim(kept, ["a"], {})
        second = registry.claim(removed, ["a"], {})
    (removed / "stack.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert claimed_ports(registry_path) == {first["a"]} != {second["a"]}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before, "who looks writes nothing"
    with port_registry(registry_path) as registry:
        # A newcomer that remembers somebody else's port does not get it.
        assert registry.claim(newcomer, ["a"], {"a": first["a"]}) != first
