"""A process that rebuilds, to be killed: rebuild_process.py <view>, with the two connection strings on stdin."""

import asyncio
import sys

from domains.orders import domain
from eventstore.postgres import PostgresStore
from projections.refolding.beside import Standing
from projections.refolding.rebuild import rebuild


async def main(name: str) -> None:
    read, events = sys.stdin.read().splitlines()
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    async with PostgresStore.open(events) as store, Standing.open(read, domain) as standing:
        await rebuild(standing, domain.view(name), store)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
