-- Begin this stack's map at epoch 1, once. Result: the lineage, which is an older one if it existed already.
-- Lock: control.lineage through its key.
create or replace function create_lineage_v1(p_lineage uuid, p_actor text, p_reason text)
returns uuid language plpgsql security definer set search_path from current as $$
begin
    insert into lineage (lineage) values (p_lineage) on conflict do nothing;
    if found then
        insert into epochs (epoch, actor, reason, change)
        values (1, p_actor, p_reason, jsonb_build_object('kind', 'lineage_created', 'lineage', p_lineage));
    end if;
    return (select l.lineage from lineage l);
end $$;
revoke all on function create_lineage_v1 from public;
grant execute on function create_lineage_v1 to control_leader;
