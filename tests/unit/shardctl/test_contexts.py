"""Contexts: what a file of them says, what it cannot say, and edits that lose nothing."""

from pathlib import Path

import pytest

from shardctl.contexts import (
    CHECKOUT,
    Context,
    Elsewhere,
    OnThisMachine,
    SettingsInvalid,
    parse_contexts,
    with_context,
    with_current,
    without_context,
)
from shardctl.errors import UsageError

PATH = Path("/etc/x.toml")
PROD = Context("prod", Elsewhere("https://control.example:8443", "https://login.example", "shardctl", "control"))
MINE = Context("mine", OnThisMachine("mine", "~/stacks", "local"))
TEXT = """\
# mine, by hand
current = "prod"   # for this week

[contexts.prod]
# of the east coast
url = "https://control.example:8443"
issuer = "https://login.example"
client_id = "shardctl"
audience = "control"

# on this machine
[ contexts."mine" ]
stack = "mine"
state_dir = "~/stacks"
backend = "local"
# the end
"""


def test_a_file_is_read_with_its_lines() -> None:
    found = parse_contexts(TEXT, PATH)
    assert found.named("prod") == PROD
    assert found.named("mine") == MINE
    assert found.named(CHECKOUT) == Context(CHECKOUT, OnThisMachine())
    assert (found.current, dict(found.lines)) == ("prod", {"prod": 4, "mine": 12, "": 2})
    with pytest.raises(UsageError, match="no context x; there are: checkout, mine, prod"):
        found.named("x")
    assert parse_contexts("", PATH).current == CHECKOUT


URL, REST = 'url = "https://a.example"', 'issuer = "https://b.example"\nclient_id = "c"\naudience = "d"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("current = \n", ":1: Invalid value"),
        ('x = 1\n[contexts.a]\nstack = "a', ":3: Illegal|:3: Expected|:3: Unterminated"),
        ("\nx = 1", ":2: x is no setting"),
        ("contexts = 1", ":1: contexts are tables"),
        ('\ncurrent = "a"', ":2: current = 'a', but there is no such context"),
        ("current = 1", ":1: current = 1"),
        ("current = []", ":1: current = "),
        ("[contexts]\na = 1", "contexts.a is no table"),
        ('[contexts.a]\nstack = "a"\nport = "1"', ":3: contexts.a.port is no setting"),
        (f'[contexts.a]\n{URL}\n{REST}\ntoken = "t"', ":6: .*token is no setting.*holds no secret"),
        ("[contexts.a]\n\nstack = 1", ":3: contexts.a.stack is no text"),
        (f"[contexts.a]\n{URL}", ":1: contexts.a: issuer, client_id, audience is missing"),
        ('[contexts.A]\nstack = "a"', ":1: contexts.A: 'A' is no name"),
        ('[contexts.checkout]\nstack = "a"', "checkout is the stack of this checkout"),
        ('[contexts.a]\nstack = "../a"', "is not a stack name"),
        ('[contexts.a]\nstate_dir = "relative"', "an absolute folder"),
        ('[contexts.a]\nstack = "a\\u0007"', "printable"),
        (f'[contexts.a]\nurl = "http://a.example"\n{REST}', "http only to this machine"),
        (f'[contexts.a]\nurl = "https://u:p@a.example"\n{REST}', "holds no secret"),
        (f'[contexts.a]\nurl = "https://a.example/?x=1"\n{REST}', "without a query"),
        (f'[contexts.a]\nurl = "https://a.example/"\n{REST}', "slash at the end"),
        (f'[contexts.a]\nurl = "https://a.example:99999"\n{REST}', "is no URL"),
        (f'[contexts.a]\nurl = "ftp://a.example"\n{REST}', "is no URL"),
        (f'[contexts.a]\nurl = "https://"\n{REST}', "is no URL"),
        ("\n".join(f"[contexts.a{n}]" for n in range(201)), "at most 200"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_path_and_line(text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=rf"^/etc/x\.toml.*({said})") as refused:
        parse_contexts(text, PATH)
    assert refused.value.exit_code == 2


def test_this_machine_may_be_reached_without_tls() -> None:
    for host in ("localhost:1", "127.0.0.1", "[::1]:80"):
        found = parse_contexts(f'[contexts.a]\nurl = "http://{host}"\n{REST}', PATH)
        assert isinstance(found.named("a").target, Elsewhere)


def test_edits_keep_every_other_line() -> None:
    assert with_current(TEXT, "mine", PATH) == TEXT.replace('current = "prod"   # for this week', 'current = "mine"')
    assert with_current(TEXT, CHECKOUT, PATH) == TEXT.replace('current = "prod"   # for this week\n', "")
    assert with_current('[contexts.a]\nstack = "a"\n', "a", PATH).startswith('current = "a"\n[contexts.a]')
    other = Context("other", OnThisMachine("other", '/q"uote\\', ""))
    added = with_context(TEXT, other, PATH)
    assert added.startswith(TEXT)
    assert parse_contexts(added, PATH).named("other") == other
    assert parse_contexts(without_context(added, "other", PATH), PATH) == parse_contexts(TEXT, PATH)
    assert parse_contexts(with_context("", PROD, PATH), PATH).named("prod") == PROD
    assert parse_contexts(with_context("# x", PROD, PATH), PATH).named("prod") == PROD


def test_a_removed_context_takes_its_lines_along_and_no_others() -> None:
    without = without_context(TEXT, "prod", PATH)
    assert without == "# mine, by hand\n\n\n# on this machine\n" + TEXT.partition("# on this machine\n")[2]
    assert parse_contexts(without, PATH).current == CHECKOUT
    assert without_context(TEXT, "mine", PATH) == TEXT.partition("[ contexts")[0] + "# the end\n"


def test_what_is_there_already_or_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="context remove prod"):
        with_context(TEXT, PROD, PATH)
    with pytest.raises(UsageError, match="no context x"):
        with_current(TEXT, "x", PATH)
    with pytest.raises(UsageError, match="no context x"):
        without_context(TEXT, "x", PATH)
    with pytest.raises(UsageError, match="always there"):
        without_context(TEXT, CHECKOUT, PATH)


def test_what_cannot_be_edited_without_loss_is_left_alone() -> None:
    inline = 'contexts = { a = { stack = "a" }, b = { stack = "b" } }\n'
    assert set(parse_contexts(inline, PATH).by_name) == {CHECKOUT, "a", "b"}
    with pytest.raises(SettingsInvalid, match="change it by hand"):
        without_context(inline, "a", PATH)
    with pytest.raises(SettingsInvalid, match="change it by hand"):
        with_context(inline, PROD, PATH)
