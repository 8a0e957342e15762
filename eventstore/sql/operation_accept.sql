INSERT INTO operations (id, owner, fingerprint, outside, keys)
VALUES (%(id)s, %(owner)s, %(fingerprint)s, %(outside)s, %(keys)s)
    ON CONFLICT (id) DO NOTHING
