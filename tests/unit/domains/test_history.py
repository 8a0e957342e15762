"""Recorded streams, held against today's code, and against code that was changed on purpose."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from domains import history_commands
from domains.discovery import discover
from domains.errors import UnreadableEvent
from domains.history import Mask, check, chosen, outcome, record, recorded
from domains.history_commands import read, write
from domains.kernel import Decider, Upcaster
from domains.orders import domain
from domains.orders.events import OrderPlaced
from domains.orders.model import evolve, initial
from domains.promises import changes

FOLDER = Path(__file__).parents[2] / "history"
KEPT, PROMISED = read(FOLDER, domain)


def differences(changed):
    return [difference for kept in KEPT for difference in check(changed, kept)]


@pytest.mark.parametrize("known", discover().values(), ids=lambda known: known.name)
def test_each_domain_makes_of_its_history_what_it_made_then(known):
    kept, promised = read(FOLDER, known)
    assert [difference for one in kept for difference in check(known, one)] == []
    assert [change for change in changes(promised, known) if change.breaking] == []


def test_the_history_holds_every_event_type_and_every_kind_of_decision():
    assert {event["type"] for kept in KEPT for event in kept["events"]} == set(domain.events)
    decided = [one for kept in KEPT for state in kept["decisions"] for one in state]
    assert {one.get("refused") for one in decided} > {None, "already-placed", "order-cancelled", "not-ordered"}
    assert {len(one["events"]) for one in decided if "events" in one} == {0, 1}


def test_a_changed_evolve_is_named_with_the_version_from_which_the_state_differs():
    def changed(order, event):
        after = evolve(order, event)
        return after.model_copy(update={"credited": order.credited}) if after.status == "cancelled" else after

    found = differences(replace(domain, decider=replace(domain.decider, evolve=changed)))
    assert {difference.place for difference in found} == {
        "state from version 2.credited",
        "state from version 3.credited",
    }
    assert all(difference.was != difference.now for difference in found)


def test_a_state_that_differs_only_on_the_way_is_found_too():
    def changed(order, event):
        after = evolve(order, event)
        return after.model_copy(update={"country": "nowhere"}) if after.status == "partly-returned" else after

    found = differences(replace(domain, decider=Decider(initial, changed, domain.decider.decide)))
    assert {difference.place for difference in found} >= {"state from version 2.country"}


def test_a_changed_view_is_named_with_the_row_and_the_column():
    view = domain.view("sales-by-country")

    def changed(row, event):
        after = view.project(row, event)
        return after.model_copy(update={"returns": 0})

    others = tuple(each for each in domain.views if each is not view)
    found = differences(replace(domain, views=(*others, replace(view, project=changed))))
    assert {difference.place.rpartition(".")[2] for difference in found} == {"returns"}
    assert all(difference.place.startswith("rows.sales-by-country v1.") for difference in found)


def test_a_changed_decision_is_named():
    def changed(order, command):
        return [] if order.status == "cancelled" else domain.decider.decide(order, command)

    found = differences(replace(domain, decider=replace(domain.decider, decide=changed)))
    assert {difference.place.partition("[")[0] for difference in found} == {"decisions"}
    assert any(difference.was == "order-cancelled" for difference in found)


class OrderPlacedInRegion(OrderPlaced):
    """The next version: a country has a name that was changed."""

    region: str


def second_version(change):
    """Orders whose `OrderPlaced` has a second version, what brings the first to it, and no decisions."""
    events = {name: model for name, model in domain.events.items() if model is not OrderPlaced}
    events["orders.OrderPlaced.v2"] = OrderPlacedInRegion
    silent = replace(domain.decider, decide=lambda _state, _command: [])
    return replace(domain, decider=silent, events=events, upcasters=(Upcaster("orders.OrderPlaced.v1", change),))


def test_a_good_upcaster_leaves_states_and_rows_as_they_were():
    changed = second_version(lambda data: {**data, "region": data["country"]})
    assert {difference.place.partition("[")[0] for difference in differences(changed)} == {"decisions"}
    assert [change.what for change in changes(PROMISED, changed) if change.path == "orders.OrderPlaced.v1"] == [
        "is brought to its next version by an upcaster"
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda data: {**data, "region": data["land"]}, "the upcaster of orders.OrderPlaced.v1 failed: KeyError"),
        (lambda data: data, "region: Field required"),
        (lambda _data: None, "Input should be an object"),
    ],
)
def test_a_broken_upcaster_is_named(change, named):
    unread = [each for each in differences(second_version(change)) if not each.place.startswith("decisions")]
    assert {difference.place for difference in unread} == {"events[1]"}
    assert all(named in difference.now for difference in unread)


def test_an_upcaster_that_changes_a_fact_is_caught():
    found = differences(second_version(lambda data: {**data, "region": "", "total": "0.00"}))
    assert any(difference.place == "state from version 1.total" for difference in found)


def test_a_pure_refactoring_passes():
    def unrolled(order, event):
        if isinstance(event, OrderPlaced):
            fields = event.model_dump(exclude={"occurred_at", "lines"})
            return initial.model_copy(
                update={
                    **fields,
                    "status": "placed",
                    "lines": event.lines,
                    "placed_at": event.occurred_at,
                    "changed_at": event.occurred_at,
                }
            )
        return evolve(order, event)

    assert differences(replace(domain, decider=replace(domain.decider, evolve=unrolled))) == []


def test_a_fold_that_fails_is_a_difference_and_not_an_end():
    def broken(_order, _event):
        raise KeyError("lines")

    found = differences(replace(domain, decider=replace(domain.decider, evolve=broken)))
    assert {difference.now for difference in found} == {"KeyError: 'lines'"}


def test_masked_text_is_the_same_pseudonym_wherever_it_stands():
    (stream,) = [[recorded(kept["stream"], event) for event in kept["events"]] for kept in KEPT[4:5]]
    masked = record(domain, stream, Mask(["customer", "order", "description"], b"secret"))
    text = json.dumps(masked)
    assert stream[0].stream.removeprefix("orders-") not in text
    assert not any(f'"{event["data"]["customer"]}"' in json.dumps(masked["events"]) for event in KEPT[4]["events"])
    assert masked["stream"] == f"orders-{masked['state']['order']}"
    assert masked["state"]["total"] == KEPT[4]["state"]["total"]
    assert list(check(domain, masked)) == []


def test_some_streams_of_each_shape_are_chosen():
    streams = [[recorded(kept["stream"], event) for event in kept["events"]] for kept in KEPT]
    shapes = {tuple(event.type for event in stream) for stream in streams}
    assert len(list(chosen(streams, 1))) == len(shapes)


def test_a_newer_version_of_a_known_event_stops_with_its_name():
    event = {**KEPT[0]["events"][0], "type": "orders.OrderPlaced.v7"}
    with pytest.raises(
        UnreadableEvent, match=r"'orders.OrderPlaced.v7' is newer than this code, which knows version 1"
    ):
        outcome(domain, {**KEPT[0], "events": [event]})


@pytest.fixture
def headrace(monkeypatch, tmp_path):
    def run(changed):
        monkeypatch.setattr(history_commands, "discover", lambda: {"orders": changed})
        write(tmp_path, domain, KEPT)
        return CliRunner().invoke(history_commands.app, ["history", "check", "--folder", str(tmp_path), "--json"])

    return run


def test_the_command_ends_with_0_when_nothing_differs_and_with_5_when_something_does(headrace):
    same = headrace(domain)
    assert (same.exit_code, json.loads(same.stdout)["differences"]) == (0, [])
    gone = {name: model for name, model in domain.events.items() if not name.startswith("orders.Lines")}
    other = headrace(replace(domain, events=gone))
    told = json.loads(other.stdout)
    assert other.exit_code == 5
    assert {"orders.LinesReturned.v1"} == {each["path"] for each in told["promises"] if each["breaking"]}


def test_a_history_that_is_cut_or_missing_is_said(tmp_path):
    missing = CliRunner().invoke(history_commands.app, ["history", "check", "--folder", str(tmp_path)])
    assert (missing.exit_code, "Traceback" in missing.output) == (3, False)
    write(tmp_path, domain, KEPT)
    file = tmp_path / "orders.streams.jsonl"
    file.write_bytes(file.read_bytes()[:-100])
    cut = CliRunner().invoke(history_commands.app, ["history", "check", "--folder", str(tmp_path)])
    assert (cut.exit_code, "Traceback" in cut.output) == (1, False)
