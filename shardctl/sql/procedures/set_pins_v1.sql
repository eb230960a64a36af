-- Pin users to cells, or take pins away (cell null), in one map epoch. Arrays run in parallel.
-- p_ownership_epochs: since when each is the owner, drawn before (`draw_ownership_epoch_v1`). Null, or null for one:
-- drawn here for a pin that is new or goes to another cell, kept for one that stays. A pin is refused unless its
-- ownership epoch is above the last one that the user was ever pinned with, also when that pin is gone; so a flip that
-- comes late does not undo a later one. A pin that stands already, to this cell since this ownership epoch, is left
-- alone: whoever lost the answer asks again. When nothing is left to do there is no new map epoch.
-- p_expected: the map epoch that the caller saw; null if only the ownership epochs are to be compared.
-- Result: the map epoch that has the pins. SQLSTATE RBC01 stale epoch, RBC04 unknown cell, RBC06 an ownership epoch
-- that is not above the user's last, or was never drawn. Lock: control.lineage, the counter, then pins.
create or replace function set_pins_v1(
    p_expected bigint, p_user_ids uuid[], p_cell_ids text[], p_actor text, p_reason text,
    p_ownership_epochs bigint[] default null
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    next_epoch bigint;
    drawn bigint;
    users uuid[];
    wanted_cells text[];
    wanted_epochs bigint[];
begin
    if cardinality(p_user_ids) <> cardinality(p_cell_ids)
       or cardinality(p_user_ids) <> cardinality(p_ownership_epochs) then
        raise exception 'users, cells and ownership epochs differ in number' using errcode = 'RBC04';
    end if;
    perform 1 from lineage for update;   -- what stands now is read after whoever pins at the same time
    select array_agg(w.user_id), array_agg(w.cell_id), array_agg(w.epoch) into users, wanted_cells, wanted_epochs
      from unnest(p_user_ids, p_cell_ids, p_ownership_epochs) as w(user_id, cell_id, epoch)
      left join pins p on p.user_id = w.user_id
     where (p.cell_id = w.cell_id and p.ownership_epoch = w.epoch) is not true;
    if users is null then
        return (select max(epoch) from epochs);
    end if;
    next_epoch := advance_epoch_v1(p_expected, p_actor, p_reason, jsonb_build_object(
        'kind', 'pins_set', 'count', cardinality(users),
        'users', to_jsonb(users[1:100]), 'cells', to_jsonb(wanted_cells[1:100])));
    if exists (select 1 from unnest(wanted_cells) as wanted(cell_id)
               where wanted.cell_id is not null and not exists (select 1 from cells c where c.cell_id = wanted.cell_id))
                   then
        raise exception 'a pin names an unknown cell' using errcode = 'RBC04';
    end if;
    if exists (select 1 from unnest(users, wanted_epochs) as wanted(user_id, epoch)
               left join last_pins l on l.user_id = wanted.user_id
               where wanted.epoch <= l.ownership_epoch
                  or wanted.epoch > (select c.last_epoch from ownership_counter c)) then
        raise exception 'an ownership epoch is not above the last one of its user, or was never drawn'
            using errcode = 'RBC06';
    end if;
    if array_position(wanted_epochs, null) is not null then
        drawn := draw_ownership_epoch_v1();   -- one for all: they change hands in the same moment
    end if;
    delete from pins using unnest(users, wanted_cells) as wanted(user_id, cell_id)
    where pins.user_id = wanted.user_id and wanted.cell_id is null;
    with wanted as (
        select w.user_id, w.cell_id,
               coalesce(w.epoch, case when p.cell_id = w.cell_id then p.ownership_epoch end, drawn) as ownership_epoch
          from unnest(users, wanted_cells, wanted_epochs) as w(user_id, cell_id, epoch)
          left join pins p on p.user_id = w.user_id
         where w.cell_id is not null
    ),
    pinned as (
        insert into pins (user_id, cell_id, epoch, ownership_epoch)
        select user_id, cell_id, next_epoch, ownership_epoch from wanted
        on conflict (user_id) do update
           set cell_id = excluded.cell_id, epoch = excluded.epoch, ownership_epoch = excluded.ownership_epoch
        returning user_id, ownership_epoch
    )
    insert into last_pins (user_id, ownership_epoch) select user_id, ownership_epoch from pinned
    on conflict (user_id) do update set ownership_epoch = excluded.ownership_epoch;
    return next_epoch;
end $$;
revoke all on function set_pins_v1 from public;
grant execute on function set_pins_v1 to control_leader;
