-- Who uses a release's code: the service calls it, the service and the auditor read its views. Runs after everything
-- else, on the path of the release's schema.
do $$
begin
    execute format('revoke execute on all functions in schema %I from public', current_schema());
    execute format('grant usage on schema %I to cell_service, cell_auditor', current_schema());
    execute format('grant execute on all functions in schema %I to cell_service', current_schema());
    execute format('grant select on all tables in schema %I to cell_service, cell_auditor', current_schema());
end $$;
