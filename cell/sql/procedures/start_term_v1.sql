-- The secret of a leadership, told once: to the first who asks for it, which is the process that leads. What only the
-- leader may do asks for the secret (`delete_outbox_v1`).
-- Result: null, p_leader is not the session that leads the task, or somebody was told already. Lock: the task's row.
create or replace function start_term_v1(p_task text, p_leader integer) returns uuid
language sql security definer
set search_path from current
as $$
    insert into leadership_terms as t (task, leader_pid, virtual_transaction, secret)
    select p_task, l.pid, l.virtual_transaction, gen_random_uuid()
      from leading_session_v1(p_task) l
     where l.pid = p_leader
        on conflict (task) do update
       set leader_pid = excluded.leader_pid, virtual_transaction = excluded.virtual_transaction,
           secret = excluded.secret
     where (t.leader_pid, t.virtual_transaction) is distinct from (excluded.leader_pid, excluded.virtual_transaction)
    returning secret
$$;
