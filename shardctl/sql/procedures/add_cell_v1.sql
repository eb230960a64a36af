-- Put a new cell into the directory and give it a lot of buckets that nobody uses: nothing moves.
-- Result: the new epoch. SQLSTATE RBC01 stale epoch, RBC02 the cell exists, RBC03 too few free buckets. Its public keys
-- (`add_cell_keys_v1`) are known to whoever knows the cell.
-- Lock: control.lineage, the counter of ownership epochs, then the rows it adds.
create or replace function add_cell_v1(
    p_expected bigint, p_cell_id text, p_state text, p_weight integer, p_api_urls text[], p_operator_urls text[],
    p_signing_keys jsonb, p_lot integer, p_actor text, p_reason text
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    next_epoch bigint;
    given integer;
    drawn bigint;   -- since when the cell owns its lot
begin
    next_epoch := advance_epoch_v1(p_expected, p_actor, p_reason,
        jsonb_build_object('kind', 'cell_added', 'cell', p_cell_id, 'lot', p_lot));
    if exists (select 1 from cells where cell_id = p_cell_id) then
        raise exception 'cell % exists', p_cell_id using errcode = 'RBC02';
    end if;
    insert into cells (cell_id, state, weight, api_urls, operator_urls, epoch)
    values (p_cell_id, p_state, p_weight, p_api_urls, p_operator_urls, next_epoch);
    perform add_cell_keys_v1(p_cell_id, p_signing_keys);
    insert into cell_loads (cell_id) values (p_cell_id);
    drawn := draw_ownership_epoch_v1();
    insert into buckets (bucket, cell_id, epoch, ownership_epoch)
    select free.bucket, p_cell_id, next_epoch, drawn
    from generate_series(0, 65535) as free(bucket)
    where not exists (select 1 from buckets b where b.bucket = free.bucket)
    order by free.bucket
    limit p_lot;
    get diagnostics given = row_count;
    if given < p_lot then
        raise exception 'only % of % buckets are free', given, p_lot using errcode = 'RBC03';
    end if;
    return next_epoch;
end $$;
revoke all on function add_cell_v1 from public;
grant execute on function add_cell_v1 to control_leader;
