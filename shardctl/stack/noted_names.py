"""Leave beside a stack's record what completion offers of it (`completion/names.py`); best effort."""

from infra.backends.backend import Backend
from infra.backends.cell_spec import ProcessKind
from shardctl.completion.names import StackNames, forget_names, remember_names
from shardctl.settings import read_settings


async def note_names(backend: Backend) -> None:
    """Of the selected stack, as it is planned now. Raises UsageError, BackendError."""
    settings = read_settings()
    planned = await backend.plan()
    names = StackNames(
        tuple(cell.name for cell in backend.spec().cells),
        tuple(process.name for process in planned),
        tuple(process.name for process in planned if process.kind is ProcessKind.ROUTER),
        str(backend.control_socket),
    )
    remember_names(settings.state_root, settings.stack_name, names)


def forget_noted_names() -> None:
    """After a stack was destroyed. Raises UsageError."""
    settings = read_settings()
    forget_names(settings.state_root, settings.stack_name)
