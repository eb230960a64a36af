"""What is not the usual case of a request: connect, queue, a broken connection, 421, a halted user.

One coroutine, whose every loop is bounded:

- a connection that broke: once more on a new connection, if the request is safe to repeat (a read, or it carries an
  idempotency key), else and after that `OUTCOME_UNKNOWN` for a write and `CELL_UNAVAILABLE` for a read;
- 421: the map is refreshed and the request sent to a later owner, by the map or by hints (`misroute.py`); who is
  refused by the last of them gets `CELL_UNAVAILABLE`;
- a halted user: the request waits in line (`hold.py`) and is sent again, until its time is up.

An answer of a write that was sent is never guessed: once one was lost, a refusal of the second try (halted, gone,
overloaded) says nothing about the first, and only the cell's answer to the key ends in anything but `OUTCOME_UNKNOWN`.
Nothing here answers 504.
"""

import logging
from time import monotonic
from typing import Final

from infra.runtime.logs import bind_request
from router.errors import CellUnavailable, OutcomeUnknown, RouterRefusal
from router.forward import Forwarding
from router.hold import read_halted
from router.identify import Routes
from router.misroute import Misroutes, Trail, hint_was_wrong
from router.tasks import TaskRegistry

_log = logging.getLogger(__name__)
_NOT_DONE: Final = frozenset({429, 503})
"""What a cell refuses for now. It has not looked whether it had done the same before."""
_UNKNOWN: Final = "the request was sent, but its outcome is not known; send it again with the same idempotency key"


class SlowPath:
    """Begun by `forward.py` with `begin`; one task for a request, in `tasks` until it ends."""

    def __init__(self, routes: Routes, misroutes: Misroutes, tasks: TaskRegistry) -> None:
        self._routes = routes
        self._misroutes = misroutes
        self._tasks = tasks

    def begin(self, forwarding: Forwarding, broken: str | None) -> None:
        """`forward.SlowPath`."""
        self._tasks.spawn(self._carry_or_refuse(forwarding, broken))

    async def _carry_or_refuse(self, forwarding: Forwarding, broken: str | None) -> None:
        """To the end, whatever it is; afterwards nothing of the request is held here."""
        bind_request(forwarding.request.request_id, forwarding.request.trace)
        try:
            await self._carry(forwarding, broken)
        except RouterRefusal as refusal:
            forwarding.refuse(OutcomeUnknown(_UNKNOWN) if _may_be_done(forwarding) else refusal)
        except Exception:
            _log.exception("a request could not be carried")
            if not forwarding.is_answered:
                forwarding.refuse(RouterRefusal("something went wrong here; the request id finds it in the log"))
        finally:
            if forwarding.waiter is not None:
                forwarding.waiter.leave()
                forwarding.waiter = None

    async def _carry(self, forwarding: Forwarding, why: str | None) -> None:
        """Everything but the usual case. `why`: what broke, if something did.

        Each round sends the request, unless an answer is already there, and then does one of five things: the
        connection broke (once more, or raise); 421 (find the owner, or raise); the user is halted (wait, then again); a
        refusal that may hide what a lost try has done (raise `OutcomeUnknown`); or an answer, which is delivered.
        Rounds are bounded: two sends after a break, as many after 421 as a trail may have, waiting by its deadline.
        """
        resent, trail = False, Trail()
        while True:
            connection = forwarding.connection
            cell = forwarding.route.cell
            if connection is None:
                if forwarding.waiter is not None:
                    await forwarding.waiter.wait()
                    self._follow_newest(forwarding)
                    trail.is_map_fresh = False
                    cell = forwarding.route.cell
                whom = forwarding.route.user_id.int
                connection = await cell.take_in_time(forwarding.budget_s, forwarding.kind, whom, fresh=resent)
                why = await forwarding.ask(connection)
            if forwarding.streaming:
                return
            if why is not None:
                now_s = monotonic()
                cell.lose(connection, now_s)
                forwarding.connection = None
                forwarding.unanswered = True
                if resent or not forwarding.is_repeatable or forwarding.deadline_s <= now_s:
                    raise CellUnavailable("the cell that serves this user did not answer")
                cell.figures.resent += 1
                resent, why = True, None
            elif connection.status == 421:
                cell.figures.misdirected += 1
                cell.give_back(connection, monotonic())
                forwarding.connection = None
                self._routes.forget(forwarding.request.authorization)
                forwarding.route = await self._misroutes.find_owner(forwarding.route, connection.body, trail)
                if forwarding.waiter is not None:
                    forwarding.waiter.asks_elsewhere()
            elif (halted := read_halted(connection.status, connection.body)) is not None and _may_be_held(forwarding):
                cell.give_back(connection, monotonic())
                forwarding.connection = None
                assert forwarding.waiter is not None
                forwarding.waiter.still_halted(halted)
            elif hint_was_wrong(forwarding.route, connection.status, connection.body):
                cell.give_back(connection, monotonic())
                self._routes.forget(forwarding.request.authorization)
                raise self._misroutes.refuse_hint(forwarding.route)
            elif _may_be_done(forwarding) and connection.status in _NOT_DONE:
                cell.give_back(connection, monotonic())
                raise OutcomeUnknown(_UNKNOWN)
            else:
                forwarding.deliver(connection)
                return

    def _follow_newest(self, forwarding: Forwarding) -> None:
        """Time has passed: perhaps map or hint name another owner now, or the token is void. Raises a
        `RouterRefusal`."""
        if not self._routes.is_current(forwarding.route):
            self._routes.forget(forwarding.request.authorization)  # it was made before the hint came
            forwarding.route = self._routes.of_request(forwarding.request.authorization)


def _may_be_done(forwarding: Forwarding) -> bool:
    """By an attempt that broke, whatever is said of a later one."""
    return forwarding.unanswered and not forwarding.is_safe


def _may_be_held(forwarding: Forwarding) -> bool:
    """What the cell refused because its user is halted: in line, unless there is no room. A read too: the cell has the
    user's copy, and is not the owner yet."""
    if forwarding.waiter is None:
        try:
            forwarding.wait_behind_others()
        except RouterRefusal:
            return False  # then the cell's own refusal is passed on
    return True
