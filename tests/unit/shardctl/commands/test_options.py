"""An option that many commands have is written once."""

from pathlib import Path

import pytest

from shardctl.commands import options

FOLDER = Path(options.__file__).parent


@pytest.mark.parametrize("name", ["AsJson", "UserName", "CellName", "CellOption"])
def test_each_is_defined_here_and_nowhere_else(name: str) -> None:
    defined = [path.name for path in sorted(FOLDER.glob("*.py")) if f"\n{name} = " in path.read_text()]
    assert defined == ["options.py"]
    assert hasattr(options, name)


def test_json_is_spelled_once() -> None:
    """Where the words are others, the option is another: `config show`, `status`, `up`."""
    spelled = [path.name for path in sorted(FOLDER.glob("*.py")) if '"--json", help="Print JSON.")' in path.read_text()]
    assert spelled == ["options.py"]
