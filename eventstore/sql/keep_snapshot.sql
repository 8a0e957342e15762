WITH older AS (DELETE FROM snapshots WHERE stream = %(stream)s AND version < %(version)s)
INSERT INTO snapshots (stream, version, type, data)
VALUES (%(stream)s, %(version)s, %(type)s, %(data)s)
    ON CONFLICT (stream, version) DO UPDATE SET type = excluded.type, data = excluded.data
RETURNING version
