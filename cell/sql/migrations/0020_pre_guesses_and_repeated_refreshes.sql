-- Why: guesses at a password are counted, so that they can be made to wait; and a refresh that is sent again within ten seconds
-- is answered as the first time, whichever app server it meets.
-- Lock: `refresh_families` is rewritten for the key of each family, exclusively, about 2 s per million rows: logins and
-- refreshes wait, orders do not. The table of guesses is new.
-- Undo: drop table login_sources; drop the three columns of refresh_families (living sessions go on without them).

set local search_path = brokerage;

-- A family's key makes its next secret from the one that is shown, and marks every secret that was ever given out; its
-- length is that of two random UUIDs, 244 bits of chance. Spent secrets: the newest first, by hash, and when each was first
-- used; at most sixteen are kept (refresh_session_v1).
alter table refresh_families
    add column family_key bytea not null
        default uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) check (octet_length(family_key) = 32),
    add column spent_hashes bytea[] not null default '{}',
    add column spent_at timestamptz[] not null default '{}';

-- Where logins of an account come from. A source is an address or a device, hashed together with the account; the empty one
-- stands for all sources from which nobody has ever logged in. Rows about unknown emails stand under an account that does not
-- exist, since both are answered alike. Bounded: a row that no guess and no login refreshes is pruned.
create table login_sources (
    user_id      uuid not null,
    source       bytea not null check (octet_length(source) <= 16),
    whole_at     timestamptz not null,             -- when its budget of guesses will be whole again
    logged_in_at timestamptz,                      -- the newest right password from here; null: never
    kept_until   timestamptz not null,
    primary key (user_id, source)
);
create index login_sources_kept_until on login_sources (kept_until);
