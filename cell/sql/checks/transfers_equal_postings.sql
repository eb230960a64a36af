-- Deposits and accepted share transfers are each posted once, in full: what their entry took from `bank` or
-- `transfer_agent`, less what it gave back there.
select coalesce(t.user_id, p.user_id) as user_id, coalesce(t.id, p.entry_id) as id,
       coalesce(t.unit, p.unit) as unit, t.amount_micros, p.amount_micros as posted_micros
  from (
        select user_id, deposit_id as id, 'deposit' as kind, 'USD' as unit, amount_micros from brokerage.deposits
        union all
        select user_id, transfer_id, 'share_transfer', symbol, qty_micros from brokerage.share_transfers
         where status = 'accepted'
       ) t
  full join (
        select e.user_id, e.seq, e.entry_id, e.kind, l.unit,
               sum(case l.direction when 'debit' then l.amount_micros else -l.amount_micros end) as amount_micros
          from all_journal_entries e
          left join all_postings l on l.user_id = e.user_id and l.entry_seq = e.seq
                and l.account in ('bank', 'transfer_agent')
         where e.kind in ('deposit', 'share_transfer')
         group by e.user_id, e.seq, e.entry_id, e.kind, l.unit
       ) p on p.user_id = t.user_id and p.entry_id = t.id and p.kind = t.kind and p.unit = t.unit
 where t.amount_micros is distinct from p.amount_micros
