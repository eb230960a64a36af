-- Why: a sign-up's idempotency key belongs to the person who signs up, that is to the email; two strangers may use the same.
-- Lock: the claims, exclusively, for a moment. Undo: put the unique key back, once no two claims have the same key.

alter table control.email_claims drop constraint email_claims_idempotency_key_key;
