WITH
    lanes AS (
        INSERT INTO parked (view, name, of_stream, position, stream, version, type, error, first_at, attempts)
        SELECT %(new)s, name, of_stream, position, stream, version, type, error, first_at, attempts
        FROM parked WHERE view = %(old)s
    ),
    events AS (
        INSERT INTO parked_events (view, name, of_stream, position, stream, event)
        SELECT %(new)s, name, of_stream, position, stream, event FROM parked_events WHERE view = %(old)s
    )
DELETE FROM parked WHERE view = %(old)s
