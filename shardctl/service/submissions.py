"""What people ask of operations: plan one, begin it, cancel, resume, approve. Every process of the service answers.

Nothing here leads: what is submitted is a row that the leader finds. What the plan was made from is looked at again
at the start, and its hash says whether it is still the same.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from infra.security.roles import Role
from shardctl.audit.recording import check_reason
from shardctl.errors import UsageError
from shardctl.operations.conflicts import excluded_by
from shardctl.operations.errors import PlanStale
from shardctl.operations.plan import Document, Kind, Plan, hash_facts
from shardctl.operations.queries import Changed, Operations
from shardctl.operations.resources import StackResources
from shardctl.operations.states import State
from shardctl.persons import Person


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan, and the hash of the facts that it was made for."""

    kind: str
    arguments: Document
    plan: Plan
    state_hash: str


class Submissions:
    def __init__(
        self,
        operations: Operations,
        kinds: Mapping[str, Kind[StackResources]],
        open_resources: Callable[[str, str | None], StackResources],
        *,
        approvals: frozenset[str],
        wake: Callable[[], None],
    ) -> None:
        """`open_resources` is given who asks and why; `wake` tells this process's leader, if it is one, that there is
        something to do."""
        self._operations = operations
        self._kinds = kinds
        self._open_resources = open_resources
        self._approvals = approvals
        self._wake = wake

    async def propose(self, kind: str, arguments: Document, *, person: Person, reason: str | None) -> Proposal:
        """What would be done. Raises UsageError, NotAllowed, Refused, NotReachable."""
        known = self._kinds.get(kind)
        if known is None:
            raise UsageError(f"there is no kind {kind}; there are: {', '.join(sorted(self._kinds))}")
        person.need(known.role)
        _check_reason(reason, required=known.needs_reason)
        parsed = known.parse(arguments)
        facts = await known.observe(self._open_resources(person.subject, reason), parsed)
        return Proposal(kind, parsed, known.plan(parsed, facts), hash_facts(facts))

    async def preview(self, proposal: Proposal, *, person: Person, reason: str | None) -> Document:
        """What a dry run tells besides. Raises Refused, NotReachable."""
        preview = self._kinds[proposal.kind].preview
        return {} if preview is None else await preview(self._open_resources(person.subject, reason), proposal.plan)

    async def begin(
        self,
        proposal: Proposal,
        *,
        attempt: int | None,
        person: Person,
        reason: str | None,
        key: str | None,
        expected: str | None,
    ) -> tuple[int, bool]:
        """The operation's number, and whether it is new. `attempt`: the row of the audit chain, None for what the clock
        begins; `expected`: the hash that a plan was shown with. Raises PlanStale, Conflict, KeyReused."""
        if expected is not None and expected != proposal.state_hash:
            raise PlanStale("what the plan was made for has changed: look at the new one (--dry-run)")
        kind = self._kinds[proposal.kind]
        begun = await self._operations.create(
            kind.name,
            kind.version,
            proposal.arguments,
            proposal.plan,
            state_hash=proposal.state_hash,
            excludes=excluded_by(kind.name, self._kinds),
            attempt=attempt,
            actor=person.subject,
            reason=reason,
            key=key or secrets.token_hex(16),
            needs_approval=kind.name in self._approvals,
        )
        self._wake()
        return begun

    async def begin_unasked(
        self, kind: str, arguments: Document, *, person: Person, reason: str, key: str
    ) -> tuple[int, bool]:
        """What the clock begins: no request asked for it, so no row of the audit chain does. Raises what `propose` and
        `begin` raise."""
        proposal = await self.propose(kind, arguments, person=person, reason=reason)
        return await self.begin(proposal, attempt=None, person=person, reason=reason, key=key, expected=None)

    async def cancel(self, number: int, *, attempt: int, person: Person, reason: str | None) -> Changed:
        return await self._change(self._operations.cancel, number, attempt, person, reason)

    async def resume(self, number: int, *, attempt: int, person: Person, reason: str | None) -> Changed:
        return await self._change(self._operations.resume, number, attempt, person, reason)

    async def approve(self, number: int, *, person: Person, reason: str | None) -> State:
        await self._kind_for(number, person, reason)
        state = await self._operations.approve(number, person.subject, reason)
        self._wake()
        return state

    async def _change(self, change: "Change", number: int, attempt: int, person: Person, reason: str | None) -> Changed:
        kind = await self._kind_for(number, person, reason)
        changed = await change(number, attempt, person.subject, reason, excluded_by(kind, self._kinds))
        self._wake()
        return changed

    async def _kind_for(self, number: int, person: Person, reason: str | None) -> str:
        """Of an operation that somebody wants something of, with a reason where its kind needs one. Raises
        NoSuchOperation, NotAllowed, UsageError."""
        kind = (await self._operations.read(number)).kind
        known = self._kinds.get(kind)
        # What a kind wants that this release does not know, the release that knows it says: here, the most.
        person.need(Role.ADMIN if known is None else known.role)
        _check_reason(reason, required=known is not None and known.needs_reason)
        return kind


Change = Callable[[int, int, str, str | None, Mapping[str, str]], Awaitable[Changed]]


def _check_reason(reason: str | None, *, required: bool) -> None:
    """Raises UsageError."""
    if reason is not None:
        check_reason(reason)
    elif required:
        raise UsageError("this needs a reason: --reason WORDS")
