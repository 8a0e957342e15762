"""A worker to be killed: lane_process.py <faust|direct> <domain>."""

import asyncio
import signal
import sys

from infra.health import Health
from infra.logs import Lines
from infra.postgres import conninfo
from infra.settings import load
from projections.__main__ import LANES
from projections.plan import read_database
from projections.postgres import PostgresDatabase
from projections.publish import KafkaPublisher
from projections.worker import Worker
from tests.integration.projections.counting import counting


async def main(lane: str, name: str) -> None:
    settings, domain = load(), counting(name)
    place = conninfo(settings, read_database(domain))
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with KafkaPublisher.open(settings, domain) as publisher:
        worker = Worker(domain, PostgresDatabase(place, domain), publisher, Lines("lane"), lambda: None)
        async with LANES[lane](settings, domain, worker, PostgresDatabase(place, domain)).running(Health()):
            await over.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
