INSERT INTO operations (id, owner, fingerprint) VALUES (%(id)s, %(owner)s, %(fingerprint)s) ON CONFLICT (id) DO NOTHING
