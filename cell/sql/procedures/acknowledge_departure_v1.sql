-- Somebody else knows of the departure now: the next cell (`activated`), or the control service (`pinned`).
-- Result: whether there was such a departure. Lock: the row.
create or replace function acknowledge_departure_v1(p_user_id uuid, p_move_id uuid, p_what text) returns boolean
language plpgsql security definer
set search_path from current
as $$
begin
    update departures
       set activated_at = case when p_what = 'activated' then coalesce(activated_at, clock_v1()) else activated_at end,
           pinned_at = case when p_what = 'pinned' then coalesce(pinned_at, clock_v1()) else pinned_at end
     where user_id = p_user_id and move_id = p_move_id and departed_at is not null;
    return found;
end $$;
