"""Which databases a command means, and the back end's backups of them."""

from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend, Report, quiet
from infra.backends.backups import Backups, HasBackups, Restores
from infra.backends.cell_spec import postgres_name
from shardctl.errors import Refused, UsageError


def open_backups(backend: Backend, report: Report = quiet, lease: int | None = None) -> Backups:
    """Raises Refused where the back end leaves backups to what runs its databases."""
    if not isinstance(backend, HasBackups):
        raise Refused("the databases of this stack are backed up by what runs them, not by shardctl")
    return backend.open_backups(report, lease)


def open_restores(backend: Backend, report: Report = quiet, lease: int | None = None) -> Restores:
    """Raises Refused, as `open_backups`."""
    if not isinstance(backend, HasBackups):
        raise Refused("the databases of this stack are restored by what runs them, not by shardctl")
    return backend.open_restores(report, lease)


def chosen_servers(backend: Backend, cell: str | None, *, control: bool, every: bool) -> tuple[str, ...]:
    """Exactly one of the three. Raises UsageError, Refused for an unknown cell."""
    if (cell is not None) + control + every != 1:
        raise UsageError("give one of --cell CELL, --control, --all")
    if control:
        return (CONTROL_POSTGRES,)
    if cell is not None:
        return (server_of(backend, cell),)
    return all_servers(backend)


def all_servers(backend: Backend) -> tuple[str, ...]:
    return (CONTROL_POSTGRES, *(postgres_name(cell.name) for cell in backend.spec().cells))


def server_of(backend: Backend, cell: str) -> str:
    """The name of the cell's server. Raises Refused."""
    known = [spec.name for spec in backend.spec().cells]
    if cell not in known:
        raise Refused(f"there is no cell {cell}; there are: {', '.join(known)}")
    return postgres_name(cell)


def subject_of(server: str) -> str:
    """`control`, or the cell's name."""
    return server.removesuffix("-postgres")
