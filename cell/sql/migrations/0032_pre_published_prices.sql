-- Why: prices are published by the venue, and the word for it is the same everywhere. The old name stays as a view
-- until the old release's procedures are gone (0033).
-- Lock: `told_prices` exclusively for a moment. Undo: drop the view, rename the table and the column back.

set local search_path = brokerage;
set local lock_timeout = '10s';

alter table told_prices rename to published_prices;
alter table published_prices rename column told_at to published_at;
alter index told_prices_pkey rename to published_prices_pkey;
alter sequence told_prices_id_seq rename to published_prices_id_seq;
create view told_prices as select id, published_at as told_at, symbols, prices, numbers, looked_by
  from published_prices;
