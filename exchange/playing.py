"""The tapes that are played: which order is on which of them, and what they admit."""

from collections.abc import Iterable, Mapping

from exchange.live_order import LiveOrder
from exchange.log_rows import TapeKey
from exchange.tape import Tape, difference_from_tape, plan_tape_order, tape_id_of


class PlayedTapes:
    """Every loaded tape by symbol and run; each of its orders is taken once."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Tape]] = {}
        self._taken: dict[TapeKey, str] = {}

    def restore(self, tapes: Iterable[Tape], taken: Mapping[TapeKey, str]) -> None:
        """Take up what the log remembers."""
        for tape in tapes:
            self.add(tape)
        self._taken = dict(taken)

    def add(self, tape: Tape) -> None:
        """Play this tape from now on."""
        self.runs.setdefault(tape.symbol, {})[tape.run] = tape

    def plan(self, order: LiveOrder, at_us: int) -> str | None:
        """Plan a tape order as the tape says, or say why it is refused; leave orders that are none alone."""
        terms = order.terms
        for run, tape in self.runs.get(terms.symbol, {}).items():
            tape_id = tape_id_of(terms.client_order_id, run)
            if tape_id is None:
                continue
            on_tape = tape.orders.get(tape_id)
            if on_tape is None:
                return f"run {run} of {terms.symbol} has no new order {tape_id}"
            key = (terms.symbol, run, tape_id)
            if key in self._taken:
                return f"tape order {tape_id} of run {run} was already taken by order {self._taken[key]}"
            difference = difference_from_tape(terms, on_tape)
            if difference is not None:
                return difference
            self._taken[key] = terms.cl_ord_id
            order.tape_key = key
            order.steps = plan_tape_order(on_tape, at_us=at_us, waits_for_replace=tape.waits_for_replace)
            return None
        return None

    def price_bands(self) -> dict[str, tuple[int, int]]:
        """The lowest and highest limit on a symbol's tapes: what was recorded is taken, however far from the price."""
        limits = {symbol: [tape.limits_px for tape in runs.values()] for symbol, runs in self.runs.items()}
        return {symbol: (min(low for low, _ in of), max(high for _, high in of)) for symbol, of in limits.items()}

    def taken_count(self, symbol: str, run: str) -> int:
        """How many orders of a tape have come so far."""
        return sum(1 for key in self._taken if key[:2] == (symbol, run))
