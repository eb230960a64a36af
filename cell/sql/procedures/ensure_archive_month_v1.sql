-- Make the archive's partitions of one month, if they are not there. Attached, not created in place: that lets reads of
-- the archive go on. Not for callers outside: the procedure that archives calls it, and the service role may create
-- nothing.
-- Lock: the archive's postings against others who make a month, not against who reads or archives: one makes it, the
-- next one finds it there. It is the lock that attaching takes anyway, and the owner's alone.
create or replace function ensure_archive_month_v1(p_month date) returns void
language plpgsql
set search_path from current
as $$
declare
    parent text;
    part text;
begin
    if to_regclass(format('archive.postings_%s', to_char(p_month, 'YYYY_MM'))) is not null then
        return;
    end if;
    lock table only archive.postings in share update exclusive mode;
    -- the table that is looked for is made last: if it is there, the others are
    foreach parent in array array['order_events', 'executions', 'journal_entries', 'postings'] loop
        part := format('%s_%s', parent, to_char(p_month, 'YYYY_MM'));
        if to_regclass('archive.' || part) is null then
            execute format('create table archive.%I (like archive.%I including defaults including constraints)', part,
                           parent);
            execute format('alter table archive.%I attach partition archive.%I for values from (%L) to (%L)',
                           parent, part, p_month, (p_month + interval '1 month')::date);
        end if;
    end loop;
end $$;
