-- Why: what is left in `brokerage` are trigger functions, which nobody calls. One that a `pre` migration made before
-- 0050 had the service's right by default, one that came after it had not; now none has it, whichever way a database
-- came.
-- Lock: none. Undo: grant execute on them to cell_service.

revoke execute on all functions in schema brokerage from cell_service;
