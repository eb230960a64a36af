-- Every entry balances in every unit: debits = credits. Violation: user, entry, unit and both sums.
select user_id, entry_seq, unit, debits, credits
  from (
        select user_id, entry_seq, unit,
               sum(case direction when 'debit' then amount_micros else 0 end) as debits,
               sum(case direction when 'credit' then amount_micros else 0 end) as credits
          from all_postings
         group by user_id, entry_seq, unit
       ) sums
 where debits <> credits
