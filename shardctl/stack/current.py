"""The stack that this command works on, how to reach its control database, and its clock."""

from infra.backends import catalog
from infra.backends.addresses import CONTROL_POSTGRES
from infra.backends.backend import Backend, Report, quiet
from infra.backends.roles import CONTROL
from infra.runtime.clock import SystemClock
from infra.runtime.dsn import with_clock_offset, with_code
from infra.runtime.release_code import release_code
from shardctl.errors import NotReachable
from shardctl.settings import read_settings


def open_backend(report: Report = quiet) -> Backend:
    """The backend of the selected stack, which may not exist yet. Raises UsageError, BackendError."""
    settings = read_settings()
    return catalog.open_backend(settings.backend, settings.stack_name, settings.state_root, report)


def remember_backend() -> None:
    """Later commands find the selected stack without `SHARDCTL_BACKEND`. Raises UsageError."""
    settings = read_settings()
    catalog.remember(settings.backend, settings.stack_name, settings.state_root)


def forget_backend() -> None:
    """Raises UsageError."""
    settings = read_settings()
    catalog.forget(settings.stack_name, settings.state_root)


def open_stack(report: Report = quiet) -> Backend:
    """As `open_backend`, for commands that need a stack. Raises NotReachable, naming the command that starts one."""
    backend = open_backend(report)
    if not backend.exists():
        raise NotReachable(
            f"there is no stack {backend.stack}: start it with `shardctl up`, or name another by --stack"
        )
    return backend


def control_dsn(backend: Backend, role: str = CONTROL.owner) -> str:
    """DSN of the control database for `role`; sessions get the stack's clock offset and this release's code."""
    addresses = backend.addresses()
    dsn = with_code(addresses.dsn(CONTROL_POSTGRES, role), release_code("shardctl").schema, "shardctl")
    return with_clock_offset(dsn, addresses.spec.clock_offset_s)


def stack_clock(backend: Backend) -> SystemClock:
    """The clock of the stack's processes. Tokens are signed and ages are judged by it, not by this machine's."""
    return SystemClock(backend.spec().clock_offset_s)
