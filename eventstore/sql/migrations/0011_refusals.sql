-- What was refused under a key stays refused under it. Such a row has `position` -1, as `append_batch` answers with it.
ALTER TABLE idempotency ADD COLUMN refusal bytea;
