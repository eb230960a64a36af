-- Who finds a release's code; each routine's own file says who may call it. Runs after everything else, on the path
-- of the release's schema.
do $$
begin
    execute format('grant usage on schema %I to control_service, control_leader, control_auditor', current_schema());
end $$;
