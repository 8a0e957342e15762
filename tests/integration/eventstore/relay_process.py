"""A process that relays, to be killed: relay_process.py <connection options> <database> <topic> <partitions>."""

import asyncio
import sys

from psycopg.conninfo import make_conninfo

from eventstore.kafka import KafkaTopic
from eventstore.lead import PostgresLead
from eventstore.postgres import PostgresStore
from eventstore.relay import Relay
from infra.postgres import conninfo
from infra.settings import load


async def main(options: str, database: str, name: str, partitions: str) -> None:
    settings = load()
    place = make_conninfo(conninfo(settings, database), options=options)
    async with PostgresStore.open(place) as store, KafkaTopic.open(settings, name, int(partitions)) as topic:
        await Relay(store, topic, PostgresLead(place), "/crash").run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
