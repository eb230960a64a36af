-- Pin users to cells, or take pins away (cell null), in one epoch. Arrays run in parallel.
-- Result: the new epoch. SQLSTATE RBC01 stale epoch, RBC04 unknown cell. Lock: control.lineage, then pins.
create or replace function set_pins_v1(
    p_expected bigint, p_user_ids uuid[], p_cell_ids text[], p_actor text, p_reason text
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    next_epoch bigint;
begin
    if cardinality(p_user_ids) <> cardinality(p_cell_ids) then
        raise exception 'users and cells differ in number' using errcode = 'RBC04';
    end if;
    next_epoch := advance_epoch_v1(p_expected, p_actor, p_reason, jsonb_build_object(
        'kind', 'pins_set', 'count', cardinality(p_user_ids),
        'users', to_jsonb(p_user_ids[1:100]), 'cells', to_jsonb(p_cell_ids[1:100])));
    if exists (select 1 from unnest(p_cell_ids) as wanted(cell_id)
               where wanted.cell_id is not null and not exists (select 1 from cells c where c.cell_id = wanted.cell_id))
                   then
        raise exception 'a pin names an unknown cell' using errcode = 'RBC04';
    end if;
    delete from pins using unnest(p_user_ids, p_cell_ids) as wanted(user_id, cell_id)
    where pins.user_id = wanted.user_id and wanted.cell_id is null;
    insert into pins (user_id, cell_id, epoch)
    select wanted.user_id, wanted.cell_id, next_epoch
    from unnest(p_user_ids, p_cell_ids) as wanted(user_id, cell_id)
    where wanted.cell_id is not null
    on conflict (user_id) do update set cell_id = excluded.cell_id, epoch = excluded.epoch;
    return next_epoch;
end $$;
revoke all on function set_pins_v1 from public;
grant execute on function set_pins_v1 to control_leader;
