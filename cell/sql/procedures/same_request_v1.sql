-- Is the request that comes now the one that its key was first used for? Fingerprints are 33 bytes
-- (cell/commands/fingerprint.py): a version, the form of that version, and the form of the release before. Two of one
-- version are compared by that; if either side knows only the older form (16 bytes, the last of the 33), by the older
-- one.
create or replace function same_request_v1(stored bytea, asked bytea) returns boolean
language sql immutable parallel safe
return case when octet_length(stored) = 33 and octet_length(asked) = 33
            then substr(stored, 1, 17) = substr(asked, 1, 17)
            else substr(stored, greatest(1, octet_length(stored) - 15))
                = substr(asked, greatest(1, octet_length(asked) - 15)) end;
