-- Change a cell's state, weight or addresses, and add public keys of it. Saying what already holds makes no epoch. Keys
-- that are not named stay.
-- Result: the epoch that now holds. SQLSTATE RBC01 stale epoch, RBC04 unknown cell, RBC07 a key id names another key.
-- Lock: control.lineage, then the cell.
create or replace function update_cell_v1(
    p_expected bigint, p_cell_id text, p_state text, p_weight integer, p_api_urls text[], p_operator_urls text[],
    p_signing_keys jsonb, p_actor text, p_reason text
) returns bigint language plpgsql security definer set search_path from current as $$
declare
    held cells;
    added_keys text[];
    next_epoch bigint;
begin
    perform 1 from lineage for update;
    select * into held from cells where cell_id = p_cell_id;
    if not found then
        raise exception 'no cell %', p_cell_id using errcode = 'RBC04';
    end if;
    added_keys := add_cell_keys_v1(p_cell_id, p_signing_keys);
    if added_keys = '{}' and (held.state, held.weight, held.api_urls, held.operator_urls)
        is not distinct from (p_state, p_weight, p_api_urls, p_operator_urls) then
        return (select max(epoch) from epochs);
    end if;
    next_epoch := advance_epoch_v1(p_expected, p_actor, p_reason, jsonb_build_object(
        'kind', 'cell_updated', 'cell', p_cell_id, 'keys_added', to_jsonb(added_keys),
        'from', jsonb_build_object('state', held.state, 'weight', held.weight,
            'api_urls', held.api_urls, 'operator_urls', held.operator_urls),
        'to', jsonb_build_object('state', p_state, 'weight', p_weight,
            'api_urls', p_api_urls, 'operator_urls', p_operator_urls)));
    update cells set state = p_state, weight = p_weight, api_urls = p_api_urls, operator_urls = p_operator_urls,
        epoch = next_epoch
    where cell_id = p_cell_id;
    return next_epoch;
end $$;
revoke all on function update_cell_v1 from public;
grant execute on function update_cell_v1 to control_leader;
