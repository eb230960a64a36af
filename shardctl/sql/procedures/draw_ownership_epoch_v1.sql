-- A new ownership epoch: above every one drawn so far and above the map's epoch of this moment. What is drawn and not
-- used is lost, which nobody minds.
-- Result: the epoch. Lock: the counter's row, until the end of the transaction.
create or replace function draw_ownership_epoch_v1() returns bigint
language sql volatile security definer set search_path from current as $$
    update ownership_counter set last_epoch = greatest(last_epoch, (select coalesce(max(epoch), 0) from epochs)) + 1
    returning last_epoch
$$;
revoke all on function draw_ownership_epoch_v1 from public;
grant execute on function draw_ownership_epoch_v1 to control_leader;
