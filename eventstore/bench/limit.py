"""What the server can do at most: `COPY` of rows that are encoded already, and reading rows that are not decoded."""

from datetime import UTC, datetime
from struct import pack
from time import perf_counter
from uuid import uuid4

import psycopg

from eventstore import sql
from eventstore.batch import MICROSECOND, Y2K
from eventstore.bench.ours import STREAM_APPENDS, TYPE, body
from infra.bench.figures import Clock, Round

READ_LOG = sql.statement("read_log")
SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + pack("!ii", 0, 0)
TRAILER = pack("!h", -1)
PIECE = 256 * 1024


def rows(count: int, payload: int) -> bytes:
    """The rows of `events` in the order of its columns, as binary COPY takes them."""
    data, pieces, now = body(payload), [SIGNATURE], (datetime.now(UTC) - Y2K) // MICROSECOND
    moment = pack("!q", now)
    stream = b""
    for number in range(count):
        if number % STREAM_APPENDS == 0:
            stream = f"bench-{uuid4().hex}".encode()
        version = pack("!q", number % STREAM_APPENDS + 1)
        fields = (pack("!q", number + 1), version, moment, moment, uuid4().bytes, stream, TYPE.encode(), data, b"{}")
        pieces.append(pack("!h", len(fields)) + b"".join(pack("!i", len(field)) + field for field in fields))
    return b"".join([*pieces, TRAILER])


def copies(conninfo: str, encoded: bytes, count: int) -> Round:
    """One transaction into an empty table with the same columns and indexes."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE bound (LIKE events_1 INCLUDING ALL)")
        try:
            began = perf_counter()
            with connection.cursor() as cursor, cursor.copy("COPY bound FROM STDIN (FORMAT BINARY)") as copy:
                for start in range(0, len(encoded), PIECE):
                    copy.write(encoded[start : start + PIECE])
            return Round(count, perf_counter() - began)
        finally:
            connection.execute("DROP TABLE bound")


def reads(conninfo: str, page: int) -> Round:
    """The whole log in pages, as tuples."""
    with psycopg.connect(conninfo, autocommit=True) as connection, connection.cursor(binary=True) as cursor:
        cursor.execute(READ_LOG, {"after": 0, "limit": page}, prepare=True).fetchall()
        position, count, clock = 0, 0, Clock()
        clock.begin()
        while found := cursor.execute(READ_LOG, {"after": position, "limit": page}, prepare=True).fetchall():
            position, count = found[-1][0], count + len(found)
        return clock.round(count)
