-- Who uses a release's code: the service calls it, the service and the auditor read its views. Runs after everything
-- else, on the path of the release's schema. What decides who owns a moving user is called by `cell_mover` alone.
do $$
begin
    execute format('revoke execute on all functions in schema %I from public', current_schema());
    execute format('grant usage on schema %I to cell_service, cell_auditor, cell_mover', current_schema());
    execute format('grant execute on all functions in schema %I to cell_service', current_schema());
    execute format('grant select on all tables in schema %I to cell_service, cell_auditor, cell_mover',
                   current_schema());
end $$;
revoke execute on function
    begin_move_v1, halt_user_v1, release_move_v1, depart_v1, acknowledge_departure_v1, arrive_v1, take_head_v1,
    activate_v1, discard_arrival_v1, prepare_archive_months_v1, meet_move_request_v1,
    purge_copy_v1
    from cell_service;
grant execute on function
    begin_move_v1, halt_user_v1, release_move_v1, depart_v1, acknowledge_departure_v1, arrive_v1, take_head_v1,
    activate_v1, discard_arrival_v1, prepare_archive_months_v1, meet_move_request_v1,
    lock_users_v1, changed_since_v1, unfinished_business_v1, clock_v1, ownership_v1
    to cell_mover;
