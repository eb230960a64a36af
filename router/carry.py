"""What is not the usual case of a request: connect, queue, a broken connection, 421, a halted user.

One coroutine, whose every loop is bounded:

- a connection that broke: once more on a new connection, if the request is safe to repeat (a read, or it carries an
  idempotency key), else and after that `OUTCOME_UNKNOWN` for a write and `CELL_UNAVAILABLE` for a read;
- 421: the map is refreshed and the request sent once more, to another cell; a second 421 ends in `CELL_UNAVAILABLE`;
- a halted user: his write waits in line (`hold.py`) and is sent again, until its time is up.

An answer of a write that was sent is never guessed: once one was lost, a refusal of the second try (halted, gone,
overloaded) says nothing about the first, and only the cell's answer to the key ends in anything but `OUTCOME_UNKNOWN`.
Nothing here answers 504.
"""

import logging
from time import monotonic
from typing import TYPE_CHECKING, Final

from router.errors import CellUnavailable, OutcomeUnknown, RouterRefusal
from router.hold import read_halted
from router.misroute import hint_lied

if TYPE_CHECKING:
    from router.forward import ForwardedRequest

_log = logging.getLogger(__name__)


async def carry_or_refuse(request: "ForwardedRequest", broken: str | None) -> None:
    """To the end, whatever it is; afterwards nothing of the request is held here."""
    try:
        await _carry(request, broken)
    except RouterRefusal as refusal:
        request.refuse(OutcomeUnknown(_UNKNOWN) if _may_be_done(request) else refusal)
    except Exception:
        _log.exception(
            "a request could not be carried", extra={"request_id": request.head.request_id.decode("latin-1")}
        )
        if not request.response_complete:
            request.refuse(RouterRefusal("something went wrong here; the request id finds it in the log"))
    finally:
        if request.ticket is not None:
            request.ticket.leave()
            request.ticket = None


async def _carry(request: "ForwardedRequest", why: str | None) -> None:
    """Everything but the usual case. Called with an answer of 421, with what broke, or with nothing sent yet."""
    misroutes = request.forwarder.misroutes
    resent = redirected = False
    while True:
        connection = request.connection
        cell = request.route.cell
        if connection is None:
            if request.ticket is not None:
                await request.ticket.turn()
                _follow_map(request)
                cell = request.route.cell
            places, whom = request.places_in(cell), request.route.user_id.int
            connection = await cell.take_in_time(request.budget_s, places, whom, fresh=resent)
            why = await request.exchange(connection)
        if request.streaming:
            return
        if why is not None:
            now_s = monotonic()
            cell.lose(connection, now_s)
            request.connection = None
            request.unanswered = True
            if resent or not request.is_repeatable or request.deadline_s <= now_s:
                raise CellUnavailable("the cell that serves this user did not answer")
            cell.figures.resent += 1
            resent, why = True, None
        elif connection.status == 421:
            cell.figures.misdirected += 1
            cell.give_back(connection, monotonic())
            request.connection = None
            request.forwarder.routes.forget(request.head.authorization)
            if redirected:
                misroutes.loops += 1
                raise CellUnavailable("the user is on the way to another cell")
            request.route = await misroutes.find_owner(request.route, connection.body)
            redirected = True
        elif (halted := read_halted(connection.status, connection.body)) is not None and _may_be_held(request):
            cell.give_back(connection, monotonic())
            request.connection = None
            assert request.ticket is not None
            request.ticket.still_halted(halted)
        elif hint_lied(request.route, connection.status, connection.body):
            cell.give_back(connection, monotonic())
            raise CellUnavailable("the user is on the way to another cell")
        elif _may_be_done(request) and connection.status in _NOT_DONE:
            cell.give_back(connection, monotonic())
            raise OutcomeUnknown(_UNKNOWN)
        else:
            request.deliver(connection)
            return


def _follow_map(request: "ForwardedRequest") -> None:
    """Time has passed: perhaps the user has another owner now, or his token is void. Raises a `RouterRefusal`."""
    routes = request.forwarder.routes
    if not routes.is_current(request.route):
        request.route = routes.of_request(request.head.authorization)


def _may_be_done(request: "ForwardedRequest") -> bool:
    """By an attempt that broke, whatever is said of a later one."""
    return request.unanswered and not request.is_safe


def _may_be_held(request: "ForwardedRequest") -> bool:
    """A write that the cell refused because its user is halted: in line, unless there is no room."""
    if request.is_safe:
        return False
    if request.ticket is None:
        try:
            request.join_line()
        except RouterRefusal:
            return False  # then the cell's own refusal is passed on
    return True


_NOT_DONE: Final = frozenset({429, 503})
"""What a cell refuses for now. It has not looked whether it had done the same before."""
_UNKNOWN: Final = "the request was sent, but its outcome is not known; send it again with the same idempotency key"
