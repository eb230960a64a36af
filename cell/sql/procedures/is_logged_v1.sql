-- Whether an order leaves a line in the log at each of its steps: the choice of `cell/order_log.py`, by the random end
-- of its id. p_one_in null: none does.
create or replace function is_logged_v1(p_order_id uuid, p_one_in integer) returns boolean
language sql immutable
as $$
    select ('x' || right(p_order_id::text, 8))::bit(32)::bigint % p_one_in = 0
$$;
