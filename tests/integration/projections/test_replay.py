"""Chosen rows are folded again, and nothing else moves."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from domains.handler import Handler, Request
from domains.orders import domain
from projections import commands, rebuild_commands
from projections.errors import EffectRefused, RebuildRefused
from projections.refolding.replay import Which, replay
from tests.integration.projections.conftest import LINE

DETAILS, COUNTRIES, CUSTOMERS = domain.views
POSITIONS = "SELECT ctid, xmin, * FROM positions ORDER BY partition"


@pytest.fixture
async def spoilt(system):
    """All orders have a wrong currency, and 7 also was returned."""
    back = {"returned_at": "2010-12-02T08:26:00Z", "currency": "GBP", "lines": [LINE | {"quantity": 1}]}
    await Handler(domain, system.store).handle(Request("7", "return", json.dumps(back).encode()))
    await system.project()
    system.execute("UPDATE order_details_v2 SET currency = 'EUR'")
    return system


async def replayed(system, which, view=DETAILS, **options):
    async with system.standing() as standing:
        return await replay(standing, view, system.store, which, **options)


@pytest.mark.parametrize(
    ("which", "rows"),
    [
        (Which(stream="orders-7"), 1),
        (Which(keys=("10", "12")), 23),
        (Which(type="orders.LinesReturned.v1"), 1),
        (Which(type="LinesReturned"), 1),
        (Which(since=datetime(2010, 12, 2, tzinfo=UTC)), 1),
        (Which(type="orders.OrderPlaced.v1", until=datetime(2010, 12, 1, tzinfo=UTC)), 0),
    ],
    ids=["stream", "keys", "type", "bare type", "since", "until"],
)
async def test_only_the_chosen_rows_are_written(spoilt, which, rows):
    before, positions = spoilt.dump(DETAILS), spoilt.execute(POSITIONS)
    dry = await replayed(spoilt, which, dry_run=True)
    assert (spoilt.dump(DETAILS), len(dry.changed), dry.written) == (before, rows, False)
    done = await replayed(spoilt, which)
    assert (done.chosen, done.changed) == (rows, dry.changed)
    others = [row for row in spoilt.dump(DETAILS) if row[3] not in done.changed]
    assert others == [row for row in before if row[3] not in done.changed]
    assert {one.key for one in await spoilt.drift()} == {row[3] for row in others}
    assert spoilt.execute(POSITIONS) == positions
    waiting = spoilt.execute("SELECT key FROM republish")
    assert sorted(key for (key,) in waiting) == sorted(done.changed)
    assert (await replayed(spoilt, which)).changed == []


async def test_a_row_that_gathers_streams_is_folded_from_all_of_them(system):
    system.execute("UPDATE sales_by_country_v1 SET orders = 1")
    done = await replayed(system, Which(stream="orders-0"), COUNTRIES)
    assert done.changed == ["France"]
    assert {one.key for one in await system.drift()} == {"EIRE", "United Kingdom"}


async def test_a_replay_is_refused_while_somebody_rebuilds_or_another_version_is_live(system):
    async with system.standing() as other, other.claimed(DETAILS):
        with pytest.raises(RebuildRefused, match="at this moment"):
            await replayed(system, Which(stream="orders-0"))
    with pytest.raises(RebuildRefused, match="version 3 of order-details is not live"):
        await replayed(system, Which(stream="orders-0"), replace(DETAILS, version=DETAILS.version + 1))


def test_a_range_of_keys_is_compared_byte_by_byte():
    which = Which(keys=("B", "b"))
    assert [key for key in ("A", "B", "Z", "a", "b", "ba", "ü") if which.takes_key(key)] == ["B", "Z", "a", "b"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["replay", "order-details"], 2),
        (["replay", "order-details", "--keys", "7"], 2),
        (["replay", "order-details", "--keys", "8..7"], 2),
        (["replay", "order-details", "--keys", "7.."], 2),
        (["replay", "order-details", "--type", "OrderTeleported"], 2),
        (["replay", "order-details", "--stream", "7"], 2),
        (["replay", "order-details", "--since", "2010-12-02", "--until", "2010-12-01"], 2),
        (["rebuild", "order-details", "--skip", "3", "--why", "\udcff"], 2),
        (["skip", "order-details", "7", "--why", "\udcff"], 2),
        (["skip", "order-details", "7", "--why", "wrong", "--who", "\udcff"], 2),
        (["replay", "nothing", "--stream", "orders-7"], 3),
        (["rebuild", "nothing"], 3),
        (["rollback", "nothing"], 3),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_opened(arguments, code):
    done = CliRunner().invoke(commands.app, ["projection", *arguments])
    assert (done.exit_code, "Traceback" in done.output) == (code, False)


@pytest.mark.parametrize(
    ("found", "said"),
    [(True, "yes"), (False, "no"), (1234, "1,234"), (0.25, "0.25"), ([], "none"), (["7", "8"], "7\n8")],
)
def test_what_was_done_is_said_for_people(found, said):
    assert rebuild_commands.said(found) == said


async def test_an_effect_of_a_key_is_refused_before_it_happens(system, tmp_path):
    def reaching(event):
        (tmp_path / "file").write_text("x")
        return event.order

    with pytest.raises(EffectRefused, match="open for writing"):
        await replayed(system, Which(stream="orders-7"), replace(DETAILS, key_of=reaching))
    assert list(tmp_path.iterdir()) == []
