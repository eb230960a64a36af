-- Cash accounts hold USD, share accounts hold a symbol; only `clearing` sees both.
select user_id, entry_seq, line, account, unit
  from all_postings
 where (account in ('cash', 'cash_held', 'bank', 'fees') and unit <> 'USD')
    or (account in ('shares', 'shares_held', 'transfer_agent') and unit = 'USD')
