"""The same orders leave lines wherever they are asked about, and as many as the settings say."""

import random
from uuid import UUID

from cell.order_log import EVERY_HUNDREDTH, OrderLog


def test_an_id_and_its_text_are_picked_alike_and_one_in_so_many() -> None:
    chance = random.Random(7)
    ids = [UUID(int=chance.getrandbits(128)) for _ in range(20_000)]
    for log in (OrderLog(1), OrderLog(3), EVERY_HUNDREDTH):
        picked = [order_id for order_id in ids if log.picks(order_id)]
        assert picked == [order_id for order_id in ids if log.picks_text(str(order_id))]
        assert 0.8 < len(picked) * log.one_in / len(ids) < 1.2
