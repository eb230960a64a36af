"""From the name of a back end to a back end: the only place that knows which there are.

A name is `local`, an entry point of the group `cell_brokerage.backends`, or `module:factory`. The code of a back end is
imported when it is chosen. Where a stack was made is remembered beside the stacks' folders, so that a later command
needs no setting and a wrong one is refused instead of making a second stack of the same name.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final, Protocol

from infra.backends.backend import Backend, BackendError, Report, quiet

DEFAULT: Final = "local"
ENTRY_POINTS: Final = "cell_brokerage.backends"
_BUILT_IN: Final[Mapping[str, str]] = {DEFAULT: "infra.backends.local.backend:open_local"}
_NAME_BYTES_MAX: Final = 500
"""More than a dotted name has; a damaged record is not read into memory whole."""


class Factory(Protocol):
    def __call__(self, stack: str, state_root: Path, report: Report) -> Backend:
        """A back end for one stack. Touches nothing: commands open stacks that do not exist.

        `state_root` is a folder of this user for what must be remembered on this machine; it may not exist yet.
        """


def names() -> tuple[str, ...]:
    """The back ends that have a name; `module:factory` names any other."""
    return (*_BUILT_IN, *sorted(entry.name for entry in entry_points(group=ENTRY_POINTS)))


def find_factory(name: str) -> Factory:
    """Import the back end's code. Raises BackendError for an unknown name, or for code that cannot be imported."""
    target = _BUILT_IN.get(name) or next(
        (entry.value for entry in entry_points(group=ENTRY_POINTS) if entry.name == name), name
    )
    module, colon, attribute = target.partition(":")
    if not (colon and module and attribute):
        raise BackendError(f"there is no back end {name!r}; there are {', '.join(names())}, or name `module:factory`")
    try:
        factory: Factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BackendError(
            f"the back end {name!r} cannot be imported ({error}): install its package, or check SHARDCTL_BACKEND"
        ) from error
    return factory


def open_backend(name: str, stack: str, root: Path, report: Report = quiet) -> Backend:
    """The back end of a stack that may not exist yet. `name` may be empty: where the stack was made, else `local`.

    Raises BackendError, also if the stack was made elsewhere than `name` says.
    """
    made_on = _read(_record(root, stack))
    if name and made_on and name != made_on:
        raise BackendError(
            f"the stack {stack} was made on {made_on!r}, not on {name!r}: "
            "unset SHARDCTL_BACKEND, or name another stack by --stack"
        )
    return find_factory(name or made_on or DEFAULT)(stack, root, report)


def remember(name: str, stack: str, root: Path) -> None:
    """Note where a stack is made; before it is, so that no crash leaves one that later commands do not find."""
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    _record(root, stack).write_text(name or _read(_record(root, stack)) or DEFAULT)


def forget(stack: str, root: Path) -> None:
    """After a stack was destroyed."""
    _record(root, stack).unlink(missing_ok=True)


def _record(root: Path, stack: str) -> Path:
    return root / f"{stack}.backend"


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_NAME_BYTES_MAX).decode().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return ""
