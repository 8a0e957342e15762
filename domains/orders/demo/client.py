"""A small HTTP/1.1 client, so that the load does not cost more than what it measures."""

import asyncio
import ssl
from urllib.parse import urlsplit

KEPT_SECONDS = 30.0  # the other side closes what is idle for longer, perhaps while we send
HEAD_LIMIT = 64 * 1024

Answer = tuple[int, bytes, dict[str, str]]
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Client:
    """Keeps its connections. One exchange at a time on each; as many as there are callers."""

    def __init__(self, address: str, tls: ssl.SSLContext | None, seconds: float) -> None:
        place = urlsplit(address)
        self._host, self._port = place.hostname, place.port or 443
        self._common = f" HTTP/1.1\r\nhost: {place.netloc}\r\n"
        self._tls, self._seconds = tls, seconds
        self._idle: list[tuple[float, Connection]] = []

    async def exchange(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Status, body and headers. Raises `OSError` or `EOFError` when there is no whole answer in time."""
        loop = asyncio.get_running_loop()
        reader, writer = await self._connection(loop.time() - KEPT_SECONDS)
        told = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        late = loop.call_later(self._seconds, writer.transport.abort)
        try:
            writer.write(f"{method} {path}{self._common}{told}content-length: {len(body)}\r\n\r\n".encode() + body)
            status, found = parsed(await reader.readuntil(b"\r\n\r\n"))
            content = await reader.readexactly(length(found))
        except BaseException:
            writer.transport.abort()
            raise
        finally:
            late.cancel()
        if found.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((loop.time(), (reader, writer)))
        return status, content, found

    async def _connection(self, oldest: float) -> Connection:
        while self._idle:
            since, (reader, writer) = self._idle.pop()
            if since > oldest and not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=HEAD_LIMIT)

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[1][1].close()


def parsed(head: bytes) -> tuple[int, dict[str, str]]:
    line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    return int(line.split(" ", 2)[1]), headers


def length(headers: dict[str, str]) -> int:
    """The gateway says it of all but endless answers, which nobody asks for here. Raises `OSError`."""
    try:
        return int(headers["content-length"])
    except (KeyError, ValueError):
        raise OSError("the answer does not say how long it is") from None
