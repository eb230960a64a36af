"""Recorded times, and the ids that hold them, changed by somebody with every privilege."""

from tests.support.corruption import Corruption

IN_THE_TIMES = (
    Corruption(
        "a later step dated back",
        """update order_events set at = at - interval '1 hour' where ctid = (
               select e.ctid from order_events e where e.seq > 3 and e.exec_id is null
                order by e.stream_seq desc limit 1)""",
        ("times_never_go_back",),
    ),
    Corruption(
        "two steps of one order in each other's place",
        """update order_events e set stream_seq = o.stream_seq from order_events o
            where o.user_id = e.user_id and o.order_id = e.order_id
              and e.seq in (3, 4) and o.seq in (3, 4) and o.seq <> e.seq
              and e.order_id = (select order_id from order_events where seq = 4 limit 1)""",
        ("times_never_go_back",),
    ),
    Corruption(
        "release dated back",
        """update journal_entries set occurred_at = occurred_at - interval '1 hour' where ctid = (
               select ctid from journal_entries where kind = 'release' limit 1)""",
        ("times_never_go_back", "chain_verifies"),
    ),
    Corruption(
        "order under an id of another time",
        """update orders set order_id = overlay(order_id::text placing '00000000-0000' from 1 for 13)::uuid
            where ctid = (select ctid from orders order by created_at desc limit 1)""",
        ("times_never_go_back",),
    ),
    Corruption(
        "execution recorded before the one before it",
        """update executions set recorded_at = recorded_at - interval '1 hour' where ctid = (
               select ctid from executions order by entry_seq desc limit 1)""",
        ("times_agree", "times_never_go_back"),
    ),
    Corruption(
        "the user's last recorded time set back",
        "update users set recorded_at = recorded_at - interval '1 microsecond' where entry_seq > 3",
        ("times_never_go_back",),
    ),
)
