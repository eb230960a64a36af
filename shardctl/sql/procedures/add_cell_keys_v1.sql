-- Note the public keys with which a cell signs: key id -> public key. Those that are known are left alone.
-- Result: the key ids that were new. SQLSTATE RBC07: the id names another key of the cell. Lock: control.lineage, which
-- the caller holds, then the rows it adds.
create or replace function add_cell_keys_v1(p_cell_id text, p_signing_keys jsonb) returns text[]
language plpgsql security definer set search_path from current as $$
declare
    added text[];
begin
    if exists (select 1 from jsonb_each_text(p_signing_keys) as given(key_id, public_key)
               join cell_keys known on known.cell_id = p_cell_id and known.key_id = given.key_id
               where known.public_key <> given.public_key) then
        raise exception 'a key id of cell % names another key', p_cell_id using errcode = 'RBC07';
    end if;
    with fresh as (
        insert into cell_keys (cell_id, key_id, public_key)
        select p_cell_id, given.key_id, given.public_key
          from jsonb_each_text(p_signing_keys) as given(key_id, public_key)
        on conflict (cell_id, key_id) do nothing
        returning key_id
    )
    select coalesce(array_agg(key_id order by key_id), '{}') into added from fresh;
    return added;
end $$;
revoke all on function add_cell_keys_v1 from public;
