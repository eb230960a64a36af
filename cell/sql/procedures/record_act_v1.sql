-- Keep that an operator did something. What a procedure does for an operator, it records itself, in its own
-- transaction.
-- Result: the act's number. Lock: none.
create or replace function record_act_v1(p_actor text, p_act text, p_user_id uuid, p_reason text,
                                                   p_details jsonb)
returns bigint language sql security definer
set search_path from current
as $$
    insert into privileged_acts (at, actor, act, user_id, reason, details)
    values (clock_v1(), p_actor, p_act, p_user_id, p_reason, p_details)
    returning act_id
$$;
