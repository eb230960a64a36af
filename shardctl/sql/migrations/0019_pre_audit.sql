-- Why: who did what becomes one chain of hashed rows. A row that is edited, deleted or moved shows by the chain, and a
-- tail that was written anew shows by the chain's head, which is published to Kafka each hour.
-- Lock: `operations` for a moment (a column without a value); the tables are new. Undo: drop tables control.audit and
-- control.audit_lock, function control.chain_audit_row, column control.operations.attempt.

-- An attempt is a row without `ends`. How it ended is a further row, which names it. An attempt without one: it still
-- runs, or whoever made it was killed or could not reach this database.
create table control.audit (
    number bigint primary key check (number > 0),              -- dense: the trigger gives it
    at timestamptz not null,                                   -- never goes back, also if the clock is put back
    ends bigint unique check (ends < number),
    subject text check (length(subject) between 1 and 200),
    role text check (role ~ '^[a-z_]{1,40}$'),
    way text check (way ~ '^[a-z_]{1,40}$'),                   -- how it was known who it is
    act text check (act ~ '^[a-z][a-z_.]{0,99}$'),
    target text check (length(target) between 1 and 200),
    arguments json,                                            -- never a secret; not jsonb: its very bytes are hashed
    reason text check (length(reason) between 1 and 2000),
    outcome text check (outcome in ('done', 'refused', 'failed', 'interrupted')),
    detail text check (length(detail) <= 2000),
    previous_hash bytea not null check (length(previous_hash) = 32),
    hash bytea not null check (length(hash) = 32),
    check (ends is null and num_nulls(subject, role, way, act, target, arguments) = 0
            and num_nonnulls(outcome, detail) = 0
        or ends is not null and num_nonnulls(subject, role, way, act, target, arguments, reason) = 0
            and outcome is not null)
);
create index audit_at on control.audit (at);

-- Whoever appends holds this row until the transaction ends: the rows stand in the order of their commits. A row lock
-- and not one of the table, so that vacuum and appending never wait for each other.
create table control.audit_lock (only_row boolean primary key default true check (only_row));
insert into control.audit_lock default values;

-- The one place that makes a row's number, place in the chain and hash, whoever inserts. Form 1: SHA-256 of the fields
-- in this order, each as `<octets>:<UTF-8>,` or, if null, `-,`. `shardctl/audit/row.py` computes the same by itself.
create function control.chain_audit_row() returns trigger language plpgsql set search_path = control, pg_temp as $$
declare
    last audit;
begin
    perform 1 from audit_lock for update;
    select * into last from audit order by number desc limit 1;
    new.number := coalesce(last.number, 0) + 1;
    new.at := greatest(new.at, last.at);
    new.previous_hash := coalesce(last.hash, decode(repeat('00', 32), 'hex'));
    new.hash := sha256(convert_to((
        select string_agg(coalesce(octet_length(field) || ':' || field, '-') || ',', '' order by place)
          from unnest(array[
              'audit/1', new.number::text, encode(new.previous_hash, 'hex'),
              to_char(new.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), new.ends::text, new.subject,
              new.role, new.way, new.act, new.target, new.arguments::text, new.reason, new.outcome, new.detail
          ]) with ordinality as fields(field, place)), 'UTF8'));
    return new;
end $$;
create trigger chain before insert on control.audit for each row execute function control.chain_audit_row();

-- Append-only by privilege, for the owner too (who is `shardctl` where the service is not asked).
revoke update, delete, truncate on control.audit from control_owner;
grant select on control.audit to control_leader, control_auditor;
grant select on control.audit_lock to control_auditor;

-- The row whose outcome the end of an operation is. Null: an older release made it, and `act_id` says which.
alter table control.operations add column attempt bigint;
