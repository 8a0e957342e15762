-- What was refused under a key stays refused under it. The fingerprint of such a row is another than a command's, so that
-- who does not know of refusals is told of a conflict, and never that it was done.
ALTER TABLE idempotency ADD COLUMN refusal bytea;
