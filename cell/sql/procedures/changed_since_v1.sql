-- Was this row written by a transaction that the snapshot does not see? A row keeps the transaction that wrote it
-- (xmin, 32 bits); of numbers that are equal in 32 bits the newest is meant. A row of four thousand million
-- transactions ago may so count as changed, which copies it once more; one that did change is never missed, as long as
-- the snapshot was taken while the user's row was locked: of a transaction in a subtransaction the snapshot knows the
-- outer one only.
create or replace function changed_since_v1(written_by xid, since pg_snapshot) returns boolean
language sql stable parallel safe
return not pg_visible_in_snapshot(
    (pg_snapshot_xmax(pg_current_snapshot())::text::bigint
     - ((pg_snapshot_xmax(pg_current_snapshot())::text::bigint - written_by::text::bigint) & 4294967295))::text::xid8,
    since);
