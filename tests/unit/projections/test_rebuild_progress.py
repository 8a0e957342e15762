"""The metrics of the read side tell how far a rebuild is, for as long as one goes on."""

import pytest
from prometheus_client import REGISTRY

from domains.orders import domain
from projections.serving.rebuilding import look
from projections.serving.views import SILENT_SECONDS, Rebuild

VIEW = domain.views[0].name


class Rebuilding:
    def __init__(self, *rebuild):
        self.going = {VIEW: Rebuild(*rebuild)} if rebuild else {}

    async def rebuilds(self):
        return self.going, {}


def told():
    name = "headrace_projection_rebuild_progress"
    return [REGISTRY.get_sample_value(name, {"domain": domain.name, "view": view.name}) for view in domain.views]


@pytest.mark.parametrize(
    "over",
    [(), (30, 100, "no space left", 9.0, 0.1), (30, 100, None, 9.0, SILENT_SECONDS)],
    ids=["ended", "failed", "killed"],
)
async def test_a_rebuild_is_told_while_it_goes_on(over):
    for going, part in (((0, 0, None, 0.1, 0.1), 0.0), ((25, 100, None, 3.0, 0.4), 0.25)):
        await look(domain, Rebuilding(*going))
        assert told() == [part, None, None]
    await look(domain, Rebuilding(*over))
    assert told() == [None, None, None]
