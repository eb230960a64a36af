-- What is wrong with a reported bust or correction itself (judge_reports_v1); null: nothing. p_taken: the execution
-- that it takes back is there, of kind p_taken_kind; p_superseded_by: the kind of what took that back before. Inlined.
create or replace function fault_of_revision_v1(
    p_kind text, p_is_known boolean, p_is_same boolean, p_qty bigint, p_order_qty bigint,
    p_taken boolean, p_taken_kind text, p_superseded_by text
) returns text
language sql immutable
as $$
    select case
        when p_is_known and p_is_same then null
        when p_is_known then 'exec id seen with other content'
        when p_kind = 'correct' and p_qty > p_order_qty then 'fill beyond the order''s quantity'
        when not p_taken then null
        when p_taken_kind = 'bust' then 'takes back a bust'
        when p_kind = 'bust' and p_superseded_by = 'bust' then null
        when p_superseded_by is not null then 'takes back an execution that was taken back before'
    end
$$;
