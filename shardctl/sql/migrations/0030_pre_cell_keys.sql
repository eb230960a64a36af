-- Why: each cell signs certificates with a key of its own, and who verifies one finds the public half in the map's
-- directory. Rows are only ever added: what a key has signed is valid for ever.
-- Lock: none of note, the table is new. Undo: drop the table; the keys stand in the stack's key files too.
create table control.cell_keys (
    cell_id text collate "C" not null references control.cells,
    key_id text collate "C" not null check (key_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    public_key text not null check (public_key ~ '^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$'),   -- Ed25519: 32 bytes
    added_at timestamptz not null default clock_timestamp(),
    primary key (cell_id, key_id)
);
grant select on control.cell_keys to control_auditor;
