-- The cash that a user's open buys of one symbol hold, for the position limit. p_cash_held is what all his open buys hold.
-- It looks at his orders from the newest on, until it has seen holds of that much: what is open is mostly recent, and no
-- index has to follow an order's status (that would end its HOT updates). Called only where all holds together could matter.
-- Lock: none of its own; the caller has the user's row.
create or replace function brokerage.held_by_buys_v1(p_user_id uuid, p_symbol text, p_cash_held bigint) returns bigint
language plpgsql stable
set search_path = brokerage, pg_temp
as $$
declare
    unseen bigint := p_cash_held;
    total bigint := 0;
    held record;
begin
    if unseen > 0 then
        for held in
            select o.symbol, o.held_cash_micros as amount from orders o
             where o.user_id = p_user_id and o.held_cash_micros > 0 order by o.order_id desc
        loop
            total := total + case when held.symbol = p_symbol then held.amount else 0 end;
            unseen := unseen - held.amount;
            exit when unseen <= 0;
        end loop;
    end if;
    return total;
end $$;
