-- Keep one sample of several processes' counters. p_samples: [{process, cell, release, started_at_s, counters}]. The
-- first of a process in a minute is kept long. SQLSTATE RBC10. Lock: control.leadership, shared.
create or replace function record_samples_v1(p_lease bigint, p_samples jsonb) returns void
language plpgsql security definer set search_path from current as $$
declare
    taken_at constant timestamptz := clock_v1();
begin
    perform check_lease_v1(p_lease);
    insert into counter_samples (sampled_at, process, cell, release, started_at_s, is_kept_long, counters)
    select taken_at, s.process, s.cell, s.release, s.started_at_s,
        not exists (select from counter_samples k where k.process = s.process and k.is_kept_long
                     and k.sampled_at >= date_trunc('minute', taken_at)),
        s.counters
      from jsonb_to_recordset(p_samples)
        as s(process text, cell text, release text, started_at_s double precision, counters jsonb)
    on conflict do nothing;
end $$;
revoke all on function record_samples_v1 from public;
grant execute on function record_samples_v1 to control_leader;
