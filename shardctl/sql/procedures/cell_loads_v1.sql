-- Users per cell by sign-up, for choosing the cell of a new user.
create or replace function cell_loads_v1()
returns table (cell_id text, users bigint)
language sql stable security definer set search_path from current as $$
    select l.cell_id, l.users from cell_loads l
$$;
revoke all on function cell_loads_v1 from public;
grant execute on function cell_loads_v1 to control_service, control_leader;
