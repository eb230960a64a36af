"""What goes with the books: outbox, keys, times, lots, instructions; changed by somebody with every privilege."""

from tests.support.corruption import Corruption

IN_THE_RECORDS = (
    Corruption(
        "outbox row of an event that is not there",
        "update outbox set order_event_seq = 99 "
        "where id = (select min(id) from outbox where order_event_seq is not null)",
        ("outbox_refers_to_rows",),
    ),
    Corruption(
        "outbox row lost in the middle",
        "delete from outbox where id = (select min(id) + (max(id) - min(id)) / 2 from outbox)",
        ("outbox_has_no_gaps",),
    ),
    Corruption(
        "replacement that its order does not know",
        "update orders set replaced_by = null where ctid = (select ctid from orders where status = 'replaced' limit 1)",
        ("replacements_are_linked",),
    ),
    Corruption(
        "bust forgotten",
        """delete from executions where ctid = (select ctid from executions where kind = 'bust' limit 1)""",
        ("orders_equal_executions", "fills_are_posted", "positions_equal_executions", "fills_have_events"),
    ),
    Corruption(
        "hold of a pending replacement lowered",
        """update orders set held_cash_micros = held_cash_micros / 2
            where ctid = (select ctid from orders where status = 'pending_replace' and held_cash_micros > 0 limit 1)""",
        ("open_orders_keep_their_hold", "holds_equal_open_orders", "holds_equal_postings"),
    ),
    Corruption(
        "write without an outbox row",
        """with last as (select distinct on (user_id) id from outbox order by user_id, id desc)
           delete from outbox o using last where o.id = last.id""",
        ("outbox_has_no_gaps",),
    ),
    Corruption(
        "deleted idempotency key",
        "delete from idempotency_keys "
        "where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "acceptance turned into a refusal",
        """update idempotency_keys set outcome = 'INSUFFICIENT_BUYING_POWER', resource_id = null
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "key that will be forgotten too early",
        "update idempotency_keys set at = at - interval '3 days' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "first answer lost",
        """update idempotency_keys set figures = '{}' where ctid = (
               select k.ctid from idempotency_keys k join orders o on o.order_id = k.resource_id
                where o.side = 'sell' and o.replaces is null and k.outcome = 'accepted' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "first answer with another hold",
        """update idempotency_keys set figures = figures || '{"held": 1}' where ctid = (
               select k.ctid from idempotency_keys k join orders o on o.order_id = k.resource_id
                where o.side = 'buy' and o.replaces is null and k.outcome = 'accepted' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "cancel turned into a refusal",
        "update idempotency_keys set outcome = 'ORDER_NOT_OPEN' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'pending_cancel' limit 1)",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "pending cancel reported as done",
        "update idempotency_keys set outcome = 'cancelled' "
        "where ctid = (select ctid from idempotency_keys where outcome = 'pending_cancel' limit 1)",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "refused replacement of nobody's order",
        "update orders set replaces = gen_random_uuid() "
        "where ctid = (select ctid from orders where replaces is not null and status = 'rejected' limit 1)",
        ("replacements_are_linked",),
    ),
    Corruption(
        "key that names somebody else's order",
        """update idempotency_keys k
              set resource_id = (select order_id from orders o where o.user_id <> k.user_id limit 1)
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "key given to another user",
        """update idempotency_keys k set user_id = (select user_id from users u where u.user_id <> k.user_id limit 1)
            where ctid = (select ctid from idempotency_keys where outcome = 'accepted' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "limit price of a resting sale",
        """update orders set limit_px_micros = limit_px_micros + 10000
            where ctid = (select ctid from orders where side = 'sell' and status = 'routed' limit 1)""",
        ("keys_name_their_effects",),
    ),
    Corruption(
        "limit price of a resting purchase",
        """update orders set limit_px_micros = limit_px_micros - 10000
            where ctid = (select ctid from orders where side = 'buy' and status = 'routed' limit 1)""",
        ("orders_keep_their_terms",),
    ),
    Corruption(
        "another type of order",
        "update orders set type = 'market' where ctid = (select ctid from orders where status = 'routed' limit 1)",
        ("orders_keep_their_terms",),
    ),
    Corruption(
        "forgotten writes",
        "update users set write_seq = 1 where user_id = (select min(user_id::text)::uuid from users)",
        ("orders_keep_their_terms", "outbox_is_in_order"),
    ),
    Corruption(
        "moved time of an order's first step",
        "update order_events set at = at - interval '1 hour' "
        "where ctid = (select ctid from order_events where seq = 3 limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "moved time of a fill",
        "update order_events set at = at - interval '1 hour' "
        "where ctid = (select ctid from order_events where exec_id is not null limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "order dated back",
        "update orders set created_at = created_at - interval '1 day' where ctid = (select ctid from orders limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "deposit dated back",
        "update deposits set at = at - interval '1 day' where ctid = (select ctid from deposits limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "share transfer dated back",
        "update share_transfers set at = at - interval '1 day' where ctid = (select ctid from share_transfers limit 1)",
        ("times_agree",),
    ),
    Corruption(
        "outbox row dated back",
        "update outbox set occurred_at = occurred_at - interval '1 day' where id = (select max(id) from outbox)",
        ("times_agree",),
    ),
    Corruption(
        "filled quantity reported wrong on the way",
        """update order_events set cum_qty_micros = cum_qty_micros + 1 where ctid = (
               select e.ctid from order_events e
                 join order_events n on n.user_id = e.user_id and n.order_id = e.order_id and n.seq = e.seq + 1
                  and n.cum_qty_micros > e.cum_qty_micros limit 1)""",
        ("events_add_up",),
    ),
    Corruption(
        "posted cost reported wrong on the way",
        """update order_events set cum_cost_micros = cum_cost_micros + 1 where ctid = (
               select e.ctid from order_events e
                 join order_events n on n.user_id = e.user_id and n.order_id = e.order_id and n.seq = e.seq + 1
                  and n.cum_cost_micros > e.cum_cost_micros limit 1)""",
        ("events_add_up",),
    ),
    Corruption(
        "unsettled lot lowered",
        "update unsettled_lots set amount_micros = amount_micros - 1 "
        "where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "unsettled lot deleted",
        "delete from unsettled_lots where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "unsettled lot that settles sooner",
        "update unsettled_lots set settles_on = settles_on - 3 where ctid = (select ctid from unsettled_lots limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "sale that settles sooner",
        "update executions set settles_on = settles_on - 3 "
        "where ctid = (select ctid from executions where settles_on is not null limit 1)",
        ("lots_equal_sales",),
    ),
    Corruption(
        "instruction to send what has ended",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'submit', now() from orders where status = 'filled' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "instruction to send again what rests",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'submit', now() from orders where status = 'routed' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "cancel that nobody asked for",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           select user_id, order_id, 'cancel', now() from orders where status = 'routed' limit 1""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "instruction of nobody",
        """insert into venue_instructions (user_id, order_id, action, created_at)
           values (gen_random_uuid(), gen_random_uuid(), 'submit', now())""",
        ("instructions_have_their_order",),
    ),
    Corruption(
        "outbox rows of a user swapped",
        """with own as (select id, row_number() over (order by id) as place from outbox
                         where user_id = (select user_id from outbox group by 1 having count(*) > 2 limit 1)),
                two as (select (select id from own where place = 1) as a, (select id from own where place = 2) as b)
           update outbox o set order_id = s.order_id, order_event_seq = s.order_event_seq, write_seq = s.write_seq,
                  order_stream_seq = s.order_stream_seq, entry_seq = s.entry_seq, occurred_at = s.occurred_at
             from outbox s, two where (o.id, s.id) in ((two.a, two.b), (two.b, two.a))""",
        ("outbox_is_in_order",),
    ),
    Corruption(
        "outbox row published twice",
        """insert into outbox (user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq,
                               occurred_at)
           select user_id, write_seq, epoch, order_id, order_event_seq, order_stream_seq, entry_seq, occurred_at
             from outbox order by id desc limit 1""",
        ("outbox_has_no_gaps", "outbox_is_in_order"),
    ),
    Corruption(
        "postings of two users swapped",
        """with a as (select * from postings where account = 'cash' order by user_id limit 1),
                b as (select p.* from postings p, a where p.account = 'cash' and p.user_id <> a.user_id
                         and p.amount_micros <> a.amount_micros limit 1)
           update postings p
              set amount_micros = case when p.user_id = a.user_id then b.amount_micros else a.amount_micros end
             from a, b where (p.user_id, p.entry_seq, p.line) in ((a.user_id, a.entry_seq, a.line),
                                                                  (b.user_id, b.entry_seq, b.line))""",
        ("cash_equals_postings", "chain_verifies", "entries_balance"),
    ),
    Corruption(
        "order deleted with its events",
        """with gone as (delete from orders where ctid = (select ctid from orders where status = 'cancelled' limit 1)
                      returning order_id)
           delete from order_events e using gone where e.order_id = gone.order_id""",
        ("orders_have_their_hold", "sequences_have_no_gaps", "keys_name_their_effects"),
    ),
    Corruption(
        "a report waits although its execution is here",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                      body, received_at, waits_until)
           select user_id, 1, order_id, venue, session, 1, trade_date, exec_id, '{}', now(), now()
             from executions limit 1""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a report waits although there is room for it",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date,
                                      room_qty_micros, body, received_at, waits_until)
           select user_id, 1, order_id, 'exchange', 'cell-1', 1, '2026-11-20', 1, '{"exec_id": "none"}', now(), now()
             from orders where status = 'partially_filled' and order_qty_micros > cum_qty_micros limit 1""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a report waits although there is room for its amount",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date,
                                      room_cost_exact, body, received_at, waits_until)
           select user_id, 1, order_id, 'exchange', 'cell-1', 1, '2026-11-20', 1, '{"exec_id": "none"}', now(), now()
             from orders where status = 'partially_filled' and notional_micros > cum_cost_micros limit 1""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a report waits although it was applied",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date,
                                      room_qty_micros, body, received_at, waits_until)
           select user_id, 1, order_id, venue, session, 1, trade_date, 1000000000000000,
                  jsonb_build_object('exec_id', exec_id), now(), now()
             from executions where kind = 'fill' limit 1""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a correction waits although its execution was taken back",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                      room_qty_micros, body, received_at, waits_until)
           select user_id, 1, order_id, venue, session, 1, trade_date, ref_exec_id, 1000000000000000,
                  '{"exec_id": "none"}', now(), now()
             from executions where kind = 'bust' limit 1""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a fill waits although its bust waits too",
        """insert into early_reports (user_id, inbox_id, order_id, venue, session, venue_seq, trade_date, ref_exec_id,
                                      room_qty_micros, body, received_at, waits_until)
           select user_id, id, order_id, 'exchange', 'cell-1', id, '2026-11-20', ref, room,
                  jsonb_build_object('exec_id', name), now(), now()
             from (select * from orders where status = 'filled' limit 1) o,
                  (values (1, 'A', null, 1000000000000000), (2, 'bust of A', 'A', null)) r (id, name, ref, room)""",
        ("early_reports_wait",),
    ),
    Corruption(
        "a fill is superseded although nobody takes it back",
        """update executions set stands_qty_micros = 0, stands_px_micros = last_px_micros
            where ctid = (select x.ctid from executions x
                           where kind = 'fill' and not exists (
                               select from executions y where y.order_id = x.order_id and y.ref_exec_id = x.exec_id)
                           limit 1)""",
        ("superseded_executions_were_taken_back", "orders_equal_executions", "fills_are_posted"),
    ),
    Corruption(
        "a superseded fill counts",
        """update executions set stands_qty_micros = null, stands_px_micros = null
            where ctid = (select ctid from executions where kind = 'fill' and stands_qty_micros = 0 limit 1)""",
        ("fills_are_posted",),
    ),
    Corruption(
        "a superseded fill has a cost basis",
        """update executions set basis_micros = 1
            where ctid = (select ctid from executions where stands_qty_micros = 0 limit 1)""",
        ("superseded_executions_were_taken_back",),
    ),
    Corruption(
        "what supersedes a fill is gone",
        """delete from executions x using executions t
            where t.stands_qty_micros = 0 and x.ref_exec_id = t.exec_id and x.order_id = t.order_id""",
        ("superseded_executions_were_taken_back", "orders_equal_executions", "fills_are_posted", "fills_have_events"),
    ),
    Corruption(
        "shares are said to stand of a superseded fill",
        """update executions set stands_qty_micros = 1000000
            where ctid = (select ctid from executions where stands_qty_micros = 0 and kind = 'fill' limit 1)""",
        ("superseded_executions_were_taken_back", "fills_are_posted"),
    ),
)
