"""What a command works on, and from where it knows: flag, environment, the checkout's file, the person's, default.

The nearer one counts. `--context` and `--stack` both say which stack or service is meant, so a level that has both is
refused, and a nearer `--stack` puts a farther context aside whole. What a context says of its stack counts where the
context was chosen. A file is read only if nothing nearer has decided: a process of a stack, which is told everything
by its environment, reads none.

The checkout's file is `.shardctl.toml` in the folder of the code that runs, not of the one where somebody stands, and
it chooses a context and defines none: it comes with code, and must not say where a person's token is sent.

The standard library alone: completion asks too.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from infra.backends.checkout import default_stack_name, project_root
from infra.backends.state_folder import state_root as default_state_root
from shardctl.context_file import context_path, read_contexts, read_settings_text
from shardctl.contexts import (
    CHECKOUT,
    Context,
    Contexts,
    Elsewhere,
    OnThisMachine,
    SettingsInvalid,
    check_stack_name,
    line_of,
    parse_toml,
)
from shardctl.errors import UsageError

PROJECT_FILE: Final = ".shardctl.toml"
_PREFIX: Final = "SHARDCTL_"
FLAG_PREFIX: Final = "SHARDCTL_FLAG_"
"""Under which the flags are handed down (`cli.py`), so that a flag stays another origin than the environment."""
NAMES: Final = ("context", "stack", "state_dir", "backend")
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True)
class Found:
    """A setting, and who said it: `--stack`, `SHARDCTL_STACK`, `PATH:LINE`, `default`."""

    value: str
    origin: str


Level = Mapping[str, Found]


@dataclass(frozen=True, slots=True)
class ShardctlSettings:
    """What is meant: a stack of this machine, or a service elsewhere."""

    context: Found
    """Its name; empty if a stack was named instead."""
    values: Level
    """The fields of `OnThisMachine` or of `Elsewhere`, each with its origin; none is empty but `backend`."""
    target: OnThisMachine | Elsewhere

    @property
    def here(self) -> OnThisMachine:
        """For what is done on this machine. Raises UsageError if a service elsewhere is meant."""
        if isinstance(self.target, Elsewhere):
            raise UsageError(
                f"this command works on a stack of this machine, and {self.context.value} ({self.context.origin}) is "
                f"the service at {self.target.url}: add --context {CHECKOUT} or --stack NAME"
            )
        return self.target

    @property
    def stack_name(self) -> str:
        return self.here.stack

    @property
    def state_root(self) -> Path:
        return Path(self.here.state_dir)

    @property
    def backend(self) -> str:
        """Name in `infra.backends.catalog`; empty: where the stack was made, and `local` for a new one."""
        return self.here.backend


def read_settings(environment: Mapping[str, str] | None = None, project: Path | None = None) -> ShardctlSettings:
    """Raises UsageError, for files with path and line."""
    known = os.environ if environment is None else environment
    person = context_path(known)
    contexts = cache(partial(read_contexts, person))
    levels: tuple[Callable[[], Level], ...] = (
        lambda: _from_environment(known, FLAG_PREFIX, lambda name: f"--{name}"),
        lambda: _from_environment(known, _PREFIX, lambda name: f"{_PREFIX}{name.upper()}"),
        cache(partial(_from_project, project or project_root() / PROJECT_FILE)),
        lambda: _from_person(contexts(), person),
    )
    near, chosen = 0, Found(CHECKOUT, DEFAULT)
    for level in levels:
        near += 1
        given = level()
        if "context" in given and "stack" in given:
            raise UsageError(f"{given['context'].origin} and {given['stack'].origin} both say what is meant: give one")
        if "context" in given or "stack" in given:
            chosen = given.get("context") or Found("", given["stack"].origin)
            break
    context, described = _chosen(chosen, contexts, person)
    if isinstance(context.target, Elsewhere):
        return ShardctlSettings(chosen, described, context.target)
    return _on_this_machine(chosen, [*levels[:near], lambda: described], levels[near:3])


def _on_this_machine(
    chosen: Found, near: Sequence[Callable[[], Level]], far: Sequence[Callable[[], Level]]
) -> ShardctlSettings:
    """The nearest level that says a setting; those behind it are not read. `far`: behind the choice, so a stack that is
    named there is not meant."""

    def nearest(name: str, levels: Sequence[Callable[[], Level]], default: Callable[[], str]) -> Found:
        found = next((given[name] for level in levels if name in (given := level())), None)
        return found or Found(default(), DEFAULT)

    stack = nearest("stack", near, default_stack_name)
    check_stack_name(stack.value)
    folder = nearest("state_dir", (*near, *far), lambda: str(default_state_root()))
    values = {
        "stack": stack,
        "state_dir": Found(str(Path(folder.value).expanduser().absolute()), folder.origin),
        "backend": nearest("backend", (*near, *far), str),
    }
    return ShardctlSettings(chosen, values, OnThisMachine(**{name: found.value for name, found in values.items()}))


def _chosen(chosen: Found, contexts: Callable[[], Contexts], path: Path) -> tuple[Context, Level]:
    """The context, and what it says; nothing if a stack was named, or for the checkout's own."""
    if chosen.value in ("", CHECKOUT):
        return Context(CHECKOUT, OnThisMachine()), {}
    known = contexts()
    try:
        context = known.named(chosen.value)
    except UsageError as error:
        raise UsageError(f"{chosen.origin}: {error}: `shardctl context list`") from error
    origin = f"{path}:{known.lines[context.name]}"
    return context, {name: Found(value, origin) for name, value in asdict(context.target).items() if value}


def _from_environment(environment: Mapping[str, str], prefix: str, origin: Callable[[str], str]) -> Level:
    """A variable that is set and empty says nothing."""
    given = {name: environment.get(f"{prefix}{name.upper()}", "") for name in NAMES}
    return {name: Found(value, origin(name)) for name, value in given.items() if value}


def _from_project(path: Path) -> Level:
    text = read_settings_text(path, private=False)
    found = {}
    for name, value in parse_toml(text, path).items():
        line = line_of(text, "", name)
        if name not in NAMES or not isinstance(value, str):
            raise SettingsInvalid(f"{path}:{line}: {name} is no setting of a checkout: {', '.join(NAMES)}, as text")
        found[name] = Found(value, f"{path}:{line}")
    return found


def _from_person(contexts: Contexts, path: Path) -> Level:
    """The current context; that of the checkout is the default, whether it is chosen or not."""
    if contexts.current == CHECKOUT:
        return {}
    return {"context": Found(contexts.current, f"{path}:{contexts.lines['']}")}
