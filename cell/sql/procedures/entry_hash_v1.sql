-- The hash of a journal entry, which chains it to the user's previous one. Nothing else writes the canonical form.
-- Form 1: sha256(previous_hash || utf8 of '1|user|seq|entry_id|kind|order_id or -|occurred_at in microseconds|lines'),
-- a line as posting_line_v1 writes it, ';' between lines, in the order of their numbers.
-- The check chain_verifies spells the form out a second time, on purpose: if it called this function, it could not find
-- a fault of it. So a changed form gets a new form number, here and there.
-- A stable function of one expression: the planner puts it into the calling statement, a call costs nothing.
create or replace function entry_hash_v1(
    previous_hash bytea, user_id uuid, seq bigint, entry_id uuid, kind text, order_id uuid, occurred_at timestamptz,
    variadic lines text[]
) returns bytea
language sql stable parallel safe
return sha256(previous_hash || convert_to(
    '1|' || user_id || '|' || seq || '|' || entry_id || '|' || kind || '|' || coalesce(order_id::text, '-') || '|'
    || (extract(epoch from occurred_at) * 1000000)::bigint || '|' || array_to_string(lines, ';'), 'UTF8'));
