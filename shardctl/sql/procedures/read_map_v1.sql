-- The whole map as one row, in the form that readers hold it: sorted fixed-width arrays, big-endian, cells by number.
-- bucket_epochs and pin_epochs: since when each owner is the owner (8 bytes each, in the order of owners and pins; 0:
-- the bucket is nobody's). What a release without ownership epochs has assigned has none of its own: there the map
-- epoch of that change stands for it, which is below every one that is drawn later.
-- One statement, hence one moment. No row: the map has not been created.
create or replace function read_map_v1(
    out lineage uuid, out epoch bigint, out directory jsonb, out owners bytea, out pinned bytea, out pin_owners bytea,
    out bucket_epochs bytea, out pin_epochs bytea
) returns setof record language sql stable security definer set search_path from current as $$
    with numbered as (
        select c.*, row_number() over (order by c.cell_id)::smallint as number,
               (select coalesce(jsonb_object_agg(k.key_id, k.public_key), '{}')
                  from cell_keys k where k.cell_id = c.cell_id) as signing_keys
          from cells c
    )
    select
        l.lineage,
        (select max(e.epoch) from epochs e),
        (select coalesce(jsonb_agg(jsonb_build_object('cell_id', n.cell_id, 'state', n.state, 'weight', n.weight,
            'api_urls', n.api_urls, 'operator_urls', n.operator_urls, 'signing_keys', n.signing_keys)
            order by n.number), '[]') from numbered n),
        every_bucket.owners,
        coalesce(every_pin.users, ''),
        coalesce(every_pin.owners, ''),
        every_bucket.epochs,
        coalesce(every_pin.epochs, '')
    from lineage l
    cross join (
        select string_agg(int2send(coalesce(n.number, 0::smallint)), ''::bytea order by every.bucket) as owners,
               string_agg(int8send(coalesce(b.ownership_epoch, b.epoch, 0)), ''::bytea order by every.bucket) as epochs
          from generate_series(0, 65535) as every(bucket)
          left join buckets b on b.bucket = every.bucket
          left join numbered n on n.cell_id = b.cell_id
    ) as every_bucket
    cross join (
        select string_agg(uuid_send(p.user_id), ''::bytea order by p.user_id) as users,
               string_agg(int2send(n.number), ''::bytea order by p.user_id) as owners,
               string_agg(int8send(coalesce(p.ownership_epoch, p.epoch)), ''::bytea order by p.user_id) as epochs
          from pins p join numbered n on n.cell_id = p.cell_id
    ) as every_pin
$$;
revoke all on function read_map_v1 from public;
grant execute on function read_map_v1 to control_service, control_leader;
