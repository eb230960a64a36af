-- Numbers of events that a restore has lost and that Kafka holds: they are never given out again. One row for each
-- stream of a user who was released after a restore with such numbers (`release_restored_user_v1`).
create or replace view lost_sequences as
    select a.user_id, s.stream, (a.details -> s.stream ->> 0)::bigint as first_seq,
           (a.details -> s.stream ->> 1)::bigint as last_seq
      from brokerage.privileged_acts a
      cross join (values ('orders'), ('ledger')) as s (stream)
     where a.act = 'release_restored_user' and jsonb_typeof(a.details -> s.stream) = 'array';
