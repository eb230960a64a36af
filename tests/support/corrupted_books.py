"""Money, shares and orders that somebody with every privilege changed."""

from tests.support.corruption import Corruption

IN_THE_BOOKS = (
    Corruption(
        "changed amount",
        "update postings set amount_micros = amount_micros + 1 "
        "where ctid = (select ctid from postings where account = 'cash' limit 1)",
        ("entries_balance", "cash_equals_postings", "chain_verifies"),
    ),
    Corruption(
        "changed amount on both sides",
        """update postings p set amount_micros = amount_micros + 1 from journal_entries e
            where e.user_id = p.user_id and e.seq = p.entry_seq and e.seq = 1 and e.kind = 'deposit'
              and e.user_id = (select min(user_id::text)::uuid from users)""",
        ("cash_equals_postings", "chain_verifies", "transfers_equal_postings"),
    ),
    Corruption(
        "deleted posting",
        "delete from postings where ctid = (select ctid from postings where line = 1 limit 1)",
        ("entries_balance", "entries_have_postings", "chain_verifies"),
    ),
    Corruption(
        "deleted entry and its postings",
        """with gone as (delete from journal_entries
                          where ctid = (select ctid from journal_entries where kind = 'hold' limit 1)
                      returning user_id, seq)
           delete from postings p using gone where p.user_id = gone.user_id and p.entry_seq = gone.seq""",
        ("sequences_have_no_gaps", "chain_verifies", "orders_have_their_hold", "holds_equal_postings"),
    ),
    Corruption(
        "posting moved to another account",
        "update postings set account = 'fees' where ctid = (select ctid from postings where account = 'bank' limit 1)",
        ("chain_verifies", "transfers_equal_postings"),
    ),
    Corruption(
        "shares booked on a cash account",
        "update postings set account = 'bank' "
        "where ctid = (select ctid from postings where account = 'transfer_agent' limit 1)",
        ("accounts_use_their_units", "chain_verifies"),
    ),
    Corruption(
        "entry dated back",
        "update journal_entries set occurred_at = occurred_at - interval '1 day' where seq = 2",
        ("chain_verifies",),
    ),
    Corruption(
        "chain link replaced",
        "update journal_entries set hash = sha256(hash) "
        "where ctid = (select ctid from journal_entries where seq = 3 limit 1)",
        ("chain_verifies",),
    ),
    Corruption(
        "chain head moved",
        "update users set chain_head = sha256(chain_head) where user_id = (select min(user_id::text)::uuid from users)",
        ("chain_verifies",),
    ),
    Corruption(
        "last entry cut off, head kept",
        """with last as (select user_id, max(seq) as seq from journal_entries group by user_id limit 1)
           delete from journal_entries e using last where e.user_id = last.user_id and e.seq = last.seq""",
        ("chain_verifies", "sequences_have_no_gaps", "entries_have_postings"),
    ),
    Corruption(
        "an entry under another one's id",
        """update journal_entries e set entry_id = f.entry_id from journal_entries f
            where f.user_id = e.user_id and f.seq = 1 and e.seq = 2""",
        ("entries_have_their_own_id", "chain_verifies"),
    ),
    Corruption(
        "drifted cash",
        "update users set cash_micros = cash_micros + 1 where user_id = (select min(user_id::text)::uuid from users)",
        ("cash_equals_postings",),
    ),
    Corruption(
        "drifted held cash",
        "update users set cash_held_micros = cash_held_micros + 1 "
        "where user_id = (select min(user_id::text)::uuid from users)",
        ("cash_equals_postings", "holds_equal_open_orders"),
    ),
    Corruption(
        "drifted position",
        "update positions set qty_micros = qty_micros + 1 where ctid = (select ctid from positions limit 1)",
        ("shares_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "deleted position",
        "delete from positions where ctid = (select ctid from positions where qty_micros > 0 limit 1)",
        ("shares_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "drifted cost basis",
        "update positions set cost_basis_micros = cost_basis_micros - 1 "
        "where ctid = (select ctid from positions limit 1)",
        ("positions_equal_executions",),
    ),
    Corruption(
        "cost basis of one sale",
        """update executions set basis_micros = basis_micros + 1
            where ctid = (select ctid from executions where side = 'sell' limit 1)""",
        ("positions_equal_executions",),
    ),
    Corruption(
        "amount of an order that holds it",
        "update orders set notional_micros = notional_micros + 1 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'buy' and status in ('routed', 'partially_filled') limit 1)",
        ("orders_have_their_hold", "open_orders_keep_their_hold"),
    ),
    Corruption(
        "amount below what was traded for it",
        "update orders set notional_micros = notional_micros / 2 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'sell' and status = 'filled' limit 1)",
        ("orders_equal_executions",),
    ),
    Corruption(
        "shares taken from an open sale by amount",
        "update orders set held_shares_micros = held_shares_micros - 1 where ctid = (select ctid from orders "
        "where notional_micros is not null and side = 'sell' and status = 'routed' limit 1)",
        ("orders_have_their_hold", "holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "released hold on an open order",
        "update orders set held_cash_micros = 0 "
        "where ctid = (select ctid from orders where held_cash_micros > 5000 limit 1)",
        ("holds_equal_open_orders", "holds_equal_postings", "open_orders_keep_their_hold"),
    ),
    Corruption(
        "hold left on an ended order",
        """update orders set held_shares_micros = 5
            where ctid = (select ctid from orders where status = 'filled' and side = 'sell' limit 1)""",
        ("holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "edited status",
        "update orders set status = 'cancelled' where ctid = (select ctid from orders where status = 'filled' "
        "and order_qty_micros is not null limit 1)",
        ("order_status_follows_events", "orders_equal_executions"),
    ),
    Corruption(
        "illegal transition, reported consistently",
        """with victim as (select user_id, order_id, event_seq from orders where status = 'rejected' limit 1),
                reported as (update order_events e set to_status = 'partially_filled' from victim v
                          where e.user_id = v.user_id and e.order_id = v.order_id and e.seq = v.event_seq),
                before as (update order_events e set to_status = 'pending_cancel' from victim v
                            where e.user_id = v.user_id and e.order_id = v.order_id and e.seq = 3)
           update orders o set status = 'partially_filled' from victim v
            where o.user_id = v.user_id and o.order_id = v.order_id""",
        ("order_status_follows_events", "orders_equal_executions"),
    ),
    Corruption(
        "missing event",
        """delete from order_events where ctid =
               (select e.ctid from order_events e join orders o using (user_id, order_id)
                 where e.to_status = 'routed' and o.status = 'filled' limit 1)""",
        ("order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "stream number used twice",
        """update order_events set stream_seq = stream_seq - 1
            where ctid = (select ctid from order_events where stream_seq = 5 limit 1)""",
        ("sequences_have_no_gaps",),
    ),
    Corruption(
        "missing fill event",
        "delete from order_events where ctid = (select ctid from order_events where exec_id is not null limit 1)",
        ("fills_have_events", "order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "fill reported at another price",
        """update order_events set last_px_micros = last_px_micros + 10000
            where ctid = (select ctid from order_events where exec_id is not null limit 1)""",
        ("fills_have_events",),
    ),
    Corruption(
        "order without events",
        "delete from order_events where order_id = (select order_id from orders limit 1)",
        ("order_status_follows_events", "sequences_have_no_gaps"),
    ),
    Corruption(
        "changed filled quantity",
        "update orders set cum_qty_micros = cum_qty_micros - 1 "
        "where ctid = (select ctid from orders where status = 'filled' limit 1)",
        ("orders_equal_executions", "order_status_follows_events"),
    ),
    Corruption(
        "deleted execution",
        "delete from executions where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted", "fills_have_events", "positions_equal_executions"),
    ),
    Corruption(
        "execution at another price",
        "update executions set last_px_micros = last_px_micros + 10000 "
        "where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted", "fills_have_events"),
    ),
    Corruption(
        "execution on the other side",
        "update executions set side = case side when 'buy' then 'sell' else 'buy' end "
        "where ctid = (select ctid from executions limit 1)",
        ("orders_equal_executions", "fills_are_posted"),
    ),
    Corruption(
        "accepted order without its entry",
        """with victim as (select user_id, order_id from orders where status = 'routed' limit 1)
           update journal_entries e set order_id = null from victim v
            where e.user_id = v.user_id and e.order_id = v.order_id and e.kind = 'hold'""",
        ("orders_have_their_hold", "chain_verifies"),
    ),
    Corruption(
        "forgotten order",
        "delete from venue_instructions where action = 'submit'",
        ("open_orders_are_on_their_way",),
    ),
    Corruption(
        "overdraft without restriction",
        "update users set restricted = false",
        ("overdraft_only_if_restricted",),
    ),
    Corruption(
        "deposit nobody made",
        "update deposits set amount_micros = amount_micros + 1 where ctid = (select ctid from deposits limit 1)",
        ("transfers_equal_postings",),
    ),
    Corruption(
        "deleted share transfer",
        "delete from share_transfers where ctid = (select ctid from share_transfers limit 1)",
        ("transfers_equal_postings", "positions_equal_executions"),
    ),
)
