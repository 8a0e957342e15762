"""What is written in one turn of the loop leaves in one piece, and nothing is lost or held for long."""

import asyncio

import pytest

from infra.web.joined import MOST_HELD, Joined


class Recording(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written, self.closed = [], False

    def write(self, data):
        self.written.append(data)

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed


async def turn():
    """Returns when the loop has done what waits now."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(done.set)
    await done.wait()


@pytest.fixture
def transport():
    return Recording()


async def test_a_head_and_its_body_are_one_piece(transport):
    joined = Joined(transport, asyncio.get_running_loop())
    joined.write(b"head")
    joined.write(b"body")
    assert transport.written == []
    await turn()
    assert transport.written == [b"headbody"]
    joined.write(b"next")
    await turn()
    assert transport.written == [b"headbody", b"next"]


async def test_closing_loses_nothing(transport):
    joined = Joined(transport, asyncio.get_running_loop())
    joined.write(b"last")
    joined.close()
    await turn()
    assert (transport.written, joined.is_closing()) == ([b"last"], True)


async def test_what_is_large_is_not_held(transport):
    joined = Joined(transport, asyncio.get_running_loop())
    joined.write(b"x" * (MOST_HELD + 1))
    assert transport.written == [b"x" * (MOST_HELD + 1)]
    await turn()
    assert len(transport.written) == 1
