-- One posting as the hash of its entry has it (entry_hash_v1).
create or replace function posting_line_v1(line integer, account text, unit text, direction text,
                                                     amount_micros bigint)
returns text
language sql stable parallel safe
return line || ',' || account || ',' || unit || ',' || direction || ',' || amount_micros;
