-- Why: a release is judged by counts against its own past, so every process's counters are kept while they are young.
-- Lock: none, the table is new. Undo: drop table control.counter_samples.

-- One row per process and sample: cumulative counters by their series, as the process showed them. A process that was
-- restarted begins at zero again, and says so by its start.
create table control.counter_samples (
    sampled_at timestamptz not null,
    process text not null check (length(process) between 1 and 100),
    cell text,
    release text not null check (length(release) between 1 and 100),
    started_at_s double precision not null,     -- process_start_time_seconds
    is_kept_long boolean not null,              -- the first of its process in each minute
    counters jsonb not null,                    -- {series: value}
    primary key (process, sampled_at)
);
create index counter_samples_by_age on control.counter_samples (sampled_at) where not is_kept_long;
create index counter_samples_kept_long on control.counter_samples (sampled_at) where is_kept_long;
grant select on control.counter_samples to control_leader, control_auditor;
