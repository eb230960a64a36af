"""Is the target's copy what the source has? The source's attestation beside the target's proof. Pure.

Each side made its own from its own rows. Whatever is not equal, is missing on one side, or cannot be read is a
difference, and a difference means that the user stays: nothing is concluded in favour of the move.
"""

from collections.abc import Mapping
from typing import Any, Final

from shardctl.moves.frame import Attested, Header

_ALL: Final = "all"
_CHANGED: Final = "changed"
_SHOWN_MAX: Final = 5
"""Differences in one sentence; one is enough to look for the cause."""


def differences(header: Header, proof: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence each; none: the copy is equal in everything that the header attests. Under a halt of a user who has
    changed nothing that is the head alone; a header that attests nothing of what changed is a difference."""
    if header.attest is None:
        return ()
    found = list(_of_tables(header, proof.get("tables")))
    if header.head != proof.get("head") or not header.head:
        found.append(f"head: source {_short(header.head)}, target {_short(proof.get('head'))}")
    found.extend(_of_findings(proof.get("findings")))
    return tuple(found)


def said(found: tuple[str, ...]) -> str:
    more = f" and {len(found) - _SHOWN_MAX} more" if len(found) > _SHOWN_MAX else ""
    return "; ".join(found[:_SHOWN_MAX]) + more


def proven_tables(proof: Mapping[str, Any]) -> dict[str, Attested]:
    """Of a proof that was compared and found equal."""
    return {name: Attested(table["rows"], table["digest"]) for name, table in proof["tables"].items()}


def _of_tables(header: Header, proven: object) -> list[str]:
    if not header.attested:
        return [] if header.attest == _CHANGED and header.changed_rows == 0 else ["the source attests no table"]
    if not isinstance(proven, Mapping):
        return ["the target proves no table"]
    found = []
    for name, source in sorted(header.attested.items()):
        target = proven.get(name)
        if not isinstance(target, Mapping):
            found.append(f"{name}: the target proves nothing")
        elif (target.get("rows"), target.get("digest")) != (source.rows, source.digest):
            found.append(
                f"{name}: source {source.rows} rows {source.digest[:12]}, "
                f"target {target.get('rows')} rows {str(target.get('digest'))[:12]}"
            )
    if header.attest == _ALL:
        found.extend(f"{name}: the source attests nothing" for name in sorted(set(proven) - set(header.attested)))
    return found


def _of_findings(findings: object) -> list[str]:
    if not isinstance(findings, Mapping):
        return ["the target ran no check"]
    return [f"check {name}: {count} rows" for name, count in sorted(findings.items()) if count != 0]


def _short(head: object) -> str:
    return str(head)[:120]
