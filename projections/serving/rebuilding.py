"""Tells in metrics how far rebuilds are, whoever rebuilds: the read database says it."""

import asyncio
import logging
from typing import NoReturn

from domains.kernel import Domain
from projections.errors import ReadUnavailable
from projections.metrics import REBUILD_PROGRESS
from projections.serving.views import Views

log = logging.getLogger(__name__)
SECONDS = 1.0


async def tell(domain: Domain, views: Views) -> NoReturn:
    """Looks until it is cancelled."""
    while True:
        try:
            await look(domain, views)
        except ReadUnavailable as error:
            log.debug("no look at rebuilds: %s", error)
        await asyncio.sleep(SECONDS)


async def look(domain: Domain, views: Views) -> None:
    """Of a view that nobody rebuilds nothing is told."""
    going, _ = await views.rebuilds()
    for view in domain.views:
        found = going.get(view.name)
        if found is not None and found.goes_on:
            REBUILD_PROGRESS.labels(domain.name, view.name).set(found.done / max(1, found.total))
        else:
            REBUILD_PROGRESS.remove(domain.name, view.name)
