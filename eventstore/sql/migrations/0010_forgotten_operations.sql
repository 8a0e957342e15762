-- What a sealed command is recognised by when nobody can open it any more: what stands outside of the seal, and the keys
-- under which it was sealed. A command that says nothing about persons has no keys.
ALTER TABLE operations
  ADD COLUMN outside bytea NOT NULL DEFAULT '',
  ADD COLUMN keys uuid[] NOT NULL DEFAULT '{}';
