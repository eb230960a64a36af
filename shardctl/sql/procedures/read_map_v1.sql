-- The whole map as one row, in the form that readers hold it: sorted fixed-width arrays, big-endian, cells by number.
-- One statement, hence one moment. No row: the map has not been created.
create or replace function read_map_v1(
    out lineage uuid, out epoch bigint, out directory jsonb, out owners bytea, out pinned bytea, out pin_owners bytea
) returns setof record language sql stable security definer set search_path from current as $$
    with numbered as (
        select c.*, row_number() over (order by c.cell_id)::smallint as number from cells c
    )
    select
        l.lineage,
        (select max(e.epoch) from epochs e),
        (select coalesce(jsonb_agg(jsonb_build_object('cell_id', n.cell_id, 'state', n.state, 'weight', n.weight,
            'api_urls', n.api_urls, 'operator_urls', n.operator_urls) order by n.number), '[]') from numbered n),
        (select string_agg(int2send(coalesce(n.number, 0::smallint)), ''::bytea order by every.bucket)
         from generate_series(0, 65535) as every(bucket)
         left join buckets b on b.bucket = every.bucket
         left join numbered n on n.cell_id = b.cell_id),
        (select coalesce(string_agg(uuid_send(p.user_id), ''::bytea order by p.user_id), '') from pins p),
        (select coalesce(string_agg(int2send(n.number), ''::bytea order by p.user_id), '')
         from pins p join numbered n on n.cell_id = p.cell_id)
    from lineage l
$$;
revoke all on function read_map_v1 from public;
grant execute on function read_map_v1 to control_service, control_leader;
