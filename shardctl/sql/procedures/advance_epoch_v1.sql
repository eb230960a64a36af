-- Take the writers' lock, compare the epoch the caller saw with the present one, and write the next into the history.
-- Result: the new epoch. SQLSTATE RBC01: the map has moved on, or has not been created. Lock: control.lineage.
create or replace function advance_epoch_v1(p_expected bigint, p_actor text, p_reason text, p_change jsonb)
returns bigint language plpgsql security definer set search_path from current as $$
declare
    present bigint;
begin
    perform 1 from lineage for update;
    if not found then
        raise exception 'the map has not been created' using errcode = 'RBC01';
    end if;
    select max(epoch) into present from epochs;
    if present <> p_expected then
        raise exception 'the map is at epoch %, not %', present, p_expected using errcode = 'RBC01';
    end if;
    insert into epochs (epoch, actor, reason, change) values (present + 1, p_actor, p_reason, p_change);
    return present + 1;
end $$;
revoke all on function advance_epoch_v1 from public;
