"""The file of contexts of the person who runs the command: `$XDG_CONFIG_HOME/cell-brokerage/shardctl.toml`.

No file: there are no contexts but that of the checkout. A file that cannot be read or understood is refused and never
replaced, so nothing in it is lost.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from shardctl.contexts import Contexts, SettingsInvalid, parse_contexts
from shardctl.private_file import changing, own_folder, replace_private

_BYTES_MAX: Final = 262_144
"""Two hundred contexts with every value at its longest fit; what is larger is some other file."""


def context_path(environment: Mapping[str, str]) -> Path:
    """Where the file lies."""
    return own_folder(environment, "XDG_CONFIG_HOME", ".config") / "shardctl.toml"


def read_contexts(path: Path) -> Contexts:
    """Raises SettingsInvalid with the path, and the line where there is one."""
    return parse_contexts(read_settings_text(path, private=True), path)


def change_contexts(path: Path, change: Callable[[str, Path], str]) -> None:
    """Replace the file's text by what `change` makes of it; two at once wait for each other. Raises UsageError,
    SettingsInvalid."""
    try:
        with changing(path):
            before = read_settings_text(path, private=True)
            after = change(before, path)
            if after != before:
                replace_private(path, after)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be written: {error.strerror}") from error


def read_settings_text(path: Path, *, private: bool) -> str:
    """The file's text, empty if there is none. Raises SettingsInvalid, of a private file also if others may write it:
    it says where a token is sent."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # of what is read, whatever the path names by now
            raw = file.read(_BYTES_MAX + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}") from error
    if private and mode & 0o022:
        raise SettingsInvalid(f"{path} can be changed by others (mode {mode:o}): `chmod go-w {path}`")
    if len(raw) > _BYTES_MAX:
        raise SettingsInvalid(f"{path} has more than {_BYTES_MAX} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SettingsInvalid(f"{path}:{line}: is not UTF-8") from error
