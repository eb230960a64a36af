"""Two errors at a time, made so that sums and counts stay as they were; changed by somebody with every privilege.

Across lines of an entry, entries, orders, symbols, days and users, and between what is archived and what is not.
"""

from tests.support.corruption import Corruption

IN_PAIRS = (
    Corruption(
        "two deposits of a user, one larger and one smaller",
        """with two as (select d.user_id, d.deposit_id, e.seq, row_number() over (order by e.seq) as place
                       from deposits d join journal_entries e on e.user_id = d.user_id and e.entry_id = d.deposit_id
                      where d.user_id = (select user_id from deposits group by 1 order by count(*) desc, 1 limit 1)
                      order by e.seq limit 2)
           update postings p set amount_micros = amount_micros + case place when 1 then 1 else -1 end
             from two where p.user_id = two.user_id and p.entry_seq = two.seq""",
        ("transfers_equal_postings", "chain_verifies"),
    ),
    Corruption(
        "a deposit's cash goes back by a second pair of lines",
        """with one as (select e.user_id, e.seq from journal_entries e where e.kind = 'deposit'
                         order by e.user_id, e.seq limit 1),
                poorer as (update users u set cash_micros = cash_micros - 5 from one where u.user_id = one.user_id)
           insert into postings (user_id, entry_seq, line, account, unit, direction, amount_micros)
           select user_id, seq, l.line, l.account, 'USD', l.direction, 5
             from one cross join (values (3::smallint, 'cash', 'debit'), (4::smallint, 'bank', 'credit'))
                  l (line, account, direction)""",
        ("transfers_equal_postings", "chain_verifies"),
    ),
    Corruption(
        "cash moved from one customer to another",
        """with two as (select user_id, row_number() over (order by user_id) as place from users
                         where cash_micros > 1000 order by user_id limit 2)
           update users u set cash_micros = cash_micros + case place when 1 then 1000 else -1000 end
             from two where u.user_id = two.user_id""",
        ("cash_equals_postings",),
    ),
    Corruption(
        "shares of one symbol for shares of another",
        """with two as (select user_id, symbol, row_number() over (order by symbol) as place from positions
                         where user_id = (select user_id from positions group by 1 having count(*) > 1
                                           order by user_id limit 1) order by symbol limit 2)
           update positions p set qty_micros = qty_micros + case place when 1 then 1 else -1 end
             from two where p.user_id = two.user_id and p.symbol = two.symbol""",
        ("shares_equal_postings", "positions_equal_executions"),
    ),
    Corruption(
        "two open orders of a user, one holds more and one less",
        """with two as (select user_id, order_id, row_number() over (order by order_id) as place from orders
                         where user_id = (select user_id from orders where is_open and held_cash_micros > 1
                                           group by 1 having count(*) > 1 order by user_id limit 1)
                           and is_open and held_cash_micros > 1 order by order_id limit 2)
           update orders o set held_cash_micros = held_cash_micros + case place when 1 then 1 else -1 end
             from two where o.user_id = two.user_id and o.order_id = two.order_id""",
        ("holds_equal_postings",),
    ),
    Corruption(
        "two fills of an order, one larger and one smaller",
        """with two as (select user_id, order_id, exec_id, row_number() over (order by entry_seq) as place
                          from executions where order_id = (
                               select order_id from executions group by 1
                               having count(*) filter (where kind = 'fill' and stands_qty_micros is null) = 2
                                  and count(*) = 2 order by order_id limit 1))
           update executions x set last_qty_micros = last_qty_micros + case place when 1 then 1 else -1 end
             from two where x.user_id = two.user_id and x.order_id = two.order_id and x.exec_id = two.exec_id""",
        ("fills_are_posted", "fills_have_events"),
    ),
    Corruption(
        "two fills of one name, reported with more and with less",
        """with one as (select user_id, order_id, exec_id from order_events
                         where order_id = (select order_id from executions group by 1
                                           having count(*) = 2 and count(distinct last_px_micros) = 1
                                              and bool_and(kind = 'fill') order by order_id limit 1)
                           and exec_id is not null),
                first as (select min(exec_id) as exec_id from one),
                named as (update executions x set exec_id = f.exec_id, trade_date = trade_date - 1 from one, first f
                           where x.user_id = one.user_id and x.order_id = one.order_id and x.exec_id = one.exec_id
                             and one.exec_id <> f.exec_id)
           update order_events v set exec_id = f.exec_id,
                  last_qty_micros = last_qty_micros + case v.exec_id when f.exec_id then 9 else -9 end
             from one, first f
            where v.user_id = one.user_id and v.order_id = one.order_id and v.exec_id = one.exec_id""",
        ("fills_have_events",),
    ),
    Corruption(
        "a fill reported twice and another one not at all",
        """with two as (select e.user_id, e.order_id, e.seq, e.exec_id, e.last_px_micros, e.last_qty_micros,
                               row_number() over (order by e.seq) as place from order_events e
                         where order_id = (select order_id from order_events where exec_id is not null group by 1
                                           having count(*) > 1 order by order_id limit 1) and exec_id is not null)
           update order_events v set exec_id = a.exec_id, last_px_micros = a.last_px_micros,
                  last_qty_micros = a.last_qty_micros
             from two a, two b where a.place = 1 and b.place = 2 and v.user_id = b.user_id and v.order_id = b.order_id
              and v.seq = b.seq""",
        ("fills_have_events",),
    ),
    Corruption(
        "a sale that settles on the day of its trade, its lot with it",
        """with one as (select user_id, order_id, exec_id, trade_date, settles_on, cost_micros from executions
                         where side = 'sell' and kind = 'fill' and cost_micros > 0
                           and not exists (select from executions y where y.ref_exec_id = executions.exec_id)
                         order by user_id, entry_seq limit 1),
                less as (update unsettled_lots l set amount_micros = amount_micros - one.cost_micros from one
                          where l.user_id = one.user_id and l.settles_on = one.settles_on),
                more as (insert into unsettled_lots (user_id, settles_on, amount_micros)
                         select user_id, trade_date, cost_micros from one)
           update executions x set settles_on = one.trade_date from one
            where x.user_id = one.user_id and x.order_id = one.order_id and x.exec_id = one.exec_id""",
        ("lots_equal_sales",),
    ),
    Corruption(
        "a bust that settles on another day than its sale, the lots with it",
        """with one as (select user_id, order_id, exec_id, settles_on, cost_micros from executions
                         where side = 'sell' and kind = 'bust' and cost_micros <> 0
                         order by user_id, entry_seq limit 1),
                less as (update unsettled_lots l set amount_micros = amount_micros - one.cost_micros from one
                          where l.user_id = one.user_id and l.settles_on = one.settles_on),
                more as (insert into unsettled_lots (user_id, settles_on, amount_micros)
                         select user_id, settles_on + 1, cost_micros from one)
           update executions x set settles_on = one.settles_on + 1 from one
            where x.user_id = one.user_id and x.order_id = one.order_id and x.exec_id = one.exec_id""",
        ("lots_equal_sales",),
    ),
    Corruption(
        "an outbox row published twice in the place of another",
        """with own as (select id, row_number() over (order by id) as place from outbox
                         where user_id = (select user_id from outbox where order_stream_seq is not null group by 1
                                           having count(*) > 3 order by user_id limit 1)
                           and order_stream_seq is not null)
           update outbox o set order_id = s.order_id, order_event_seq = s.order_event_seq,
                  order_stream_seq = s.order_stream_seq
             from outbox s, own a, own b where a.place = 1 and b.place = 2 and s.id = a.id and o.id = b.id""",
        ("outbox_has_no_gaps", "outbox_is_in_order"),
    ),
    Corruption(
        "an event lost, another one in the archive too",
        """select ensure_archive_month_v1('2026-11-01');
           with own as (select *, row_number() over (order by stream_seq) as place, count(*) over () as n
                          from order_events where user_id = (select user_id from order_events order by 1 limit 1)),
                gone as (delete from order_events e using own where own.place = 3 and e.user_id = own.user_id
                            and e.order_id = own.order_id and e.seq = own.seq)
           insert into archive.order_events (user_id, order_id, seq, stream_seq, from_status, to_status, reason, at,
                  exec_id, last_qty_micros, last_px_micros, cum_qty_micros, cum_cost_micros, order_qty_micros, month)
           select user_id, order_id, seq, stream_seq, from_status, to_status, reason, at, exec_id, last_qty_micros,
                  last_px_micros, cum_qty_micros, cum_cost_micros, order_qty_micros, '2026-11-01' from own
            where place = n""",
        ("sequences_have_no_gaps", "order_status_follows_events"),
    ),
    Corruption(
        "a line lost, another one in the archive too",
        """select ensure_archive_month_v1('2026-11-01');
           with one as (select user_id, entry_seq from postings group by 1, 2 having count(*) > 2
                         order by 1, 2 limit 1),
                gone as (delete from postings p using one where p.user_id = one.user_id and p.entry_seq = one.entry_seq
                            and p.line = 2)
           insert into archive.postings (user_id, entry_seq, line, account, unit, direction, amount_micros, month)
           select p.user_id, p.entry_seq, p.line, p.account, p.unit, p.direction, p.amount_micros, '2026-11-01'
             from postings p join one using (user_id, entry_seq) where p.line = 1""",
        ("entries_have_postings", "chain_verifies"),
    ),
    Corruption(
        "the keys of two orders changed places",
        """with two as (select k.user_id, k.key, k.resource_id, row_number() over (order by k.key) as place
                          from idempotency_keys k join orders o on o.user_id = k.user_id and o.order_id = k.resource_id
                         where k.outcome = 'accepted' and o.replaces is null
                           and k.user_id = (select user_id from orders where replaces is null group by 1
                                             having count(*) > 1 order by 1 limit 1) order by k.key limit 2)
           update idempotency_keys k set resource_id = b.resource_id from two a, two b
            where a.place <> b.place and k.user_id = a.user_id and k.key = a.key""",
        ("keys_name_their_effects",),
    ),
)
