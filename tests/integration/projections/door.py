"""A way to a server that a test closes and blocks."""

import asyncio


class Door:
    """Before a server: who connects is turned away until it is opened.

    While it is not `passing`, the server seems to be stopped: connections are taken, and what comes on one stays there.
    """

    def __init__(self, behind, *, opened=False):
        self._behind, self.opened = behind, opened
        self.passing = asyncio.Event()
        self.passing.set()
        self._knocks = asyncio.Semaphore(0)
        self._writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._come, "127.0.0.1", 0)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def knocked_at(self, times):
        for _ in range(times):
            await self._knocks.acquire()

    async def _come(self, reader, writer):
        self._knocks.release()
        if self.opened:
            far_reader, far_writer = await asyncio.open_connection(*self._behind.split(":"))
            self._writers += [writer, far_writer]
            ways = (reader, far_writer), (far_reader, writer)
            await asyncio.gather(*(self._pass_on(*way) for way in ways), return_exceptions=True)
        writer.close()

    async def _pass_on(self, source, sink):
        while chunk := await source.read(65536):
            await self.passing.wait()
            sink.write(chunk)
            await sink.drain()
        sink.close()
