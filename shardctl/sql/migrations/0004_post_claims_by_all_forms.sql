-- Why: claims are sought under every form that the email has had; the procedures that took one hash are called by nobody any
-- more. Lock: none of note. Undo: install the procedures of the release before.

drop function if exists control.claim_email_v1(bytea, text, bytea, uuid, text);
drop function if exists control.find_email_claim_v1(bytea);
