-- An attempt whose outcome is recorded begins nothing any more. Only other procedures call this, under the lock of
-- control.operations. SQLSTATE RBC17.
create or replace function refuse_ended_v1(p_attempt bigint) returns void
language plpgsql security definer set search_path from current as $$
begin
    if exists (select from audit a where a.ends = p_attempt) then
        raise exception 'the request was given up before it came: ask again' using errcode = 'RBC17';
    end if;
end $$;
revoke all on function refuse_ended_v1 from public;
