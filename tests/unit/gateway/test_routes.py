"""Where requests go. Whatever a client sends, it meets a declared address or none."""

from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from domains.discovery import discover
from domains.kernel import Command, Composition, Decider, Domain, Event, Part, Row, Version, View
from gateway import admin_openapi, openapi
from gateway.routes import Routes
from infra.web import Problem


class Send(Command):
    parcel: str


class Sent(Event):
    parcel: str


class Parcel(Row):
    parcel: str


DOMAIN = Domain(
    name="parcels",
    identity="parcel",
    commands={"send": Send, "events": Send},
    events={"parcels.Sent.v1": Sent},
    decider=Decider(None, lambda state, _: state, lambda _, __: []),
    views=(View("on-the-way", Parcel, "parcel", lambda event: event.parcel, lambda row, _: row),),
)
ROUTES = Routes({"parcels": DOMAIN})


def found(method, path):
    target = ROUTES.find(method, path.encode())
    return target.side, target.scope, target.template


@pytest.mark.parametrize(
    ("method", "path", "target"),
    [
        ("POST", "/v1/parcels/1/send", ("write", "parcels:write", "/v1/parcels/{id}/send")),
        ("GET", "/v1/parcels/1/events", ("write", "streams:read", "/v1/parcels/{id}/events")),
        ("POST", "/v1/parcels/1/events", ("write", "parcels:write", "/v1/parcels/{id}/events")),
        ("GET", "/v1/parcels/on-the-way", ("read", "parcels:read", "/v1/parcels/on-the-way")),
        ("GET", "/v1/parcels/on-the-way/1", ("read", "parcels:read", "/v1/parcels/on-the-way/{key}")),
        ("GET", "/v1/parcels/on-the-way/events", ("read", "parcels:read", "/v1/parcels/on-the-way/{key}")),
        ("GET", "/v1/parcels/on-the-way/stream", ("read", "parcels:read", "/v1/parcels/on-the-way/stream")),
        ("POST", "/v1/parcels/on-the-way/send", ("write", "parcels:write", "/v1/parcels/{id}/send")),
    ],
)
def test_each_address_has_one_target(method, path, target):
    assert found(method, path) == target


def test_a_wrong_method_is_told_the_right_ones():
    with pytest.raises(Problem) as refused:
        found("PUT", "/v1/parcels/on-the-way/send")
    assert (refused.value.status_code, refused.value.headers) == (405, {"allow": "GET, HEAD, POST"})


def test_a_command_for_operators_has_its_address_at_their_port_only():
    declared = {"parcels": replace(DOMAIN, admin={"send": "parcels:admin"})}
    target = Routes(declared, admin=True).find("POST", b"/v1/parcels/1/send")
    assert (target.side, target.scope, target.kind) == ("write", "parcels:admin", "admin")
    with pytest.raises(Problem, match="404"):
        Routes(declared).find("POST", b"/v1/parcels/1/send")
    with pytest.raises(Problem, match="404"):
        Routes(discover(), admin=True).find("GET", b"/v1/customers/1/overview")
    documents = admin_openapi.document(declared), openapi.document(declared)
    assert ["/v1/parcels/{id}/send" in one["paths"] for one in documents] == [True, False]
    assert [*OpenAPIV31SpecValidator(documents[0]).iter_errors()] == []


def test_a_verb_of_a_version_that_goes_names_its_successor_and_no_page_that_is_not_at_its_port():
    path = b"/v1/orders/projections/order-details/retry"
    notes = dict(Routes(discover(), admin=True).find("POST", path).notes(path))
    assert notes[b"link"] == b'</v2/orders/projections/order-details/retry>; rel="successor-version"'
    assert b"deprecation" in notes


PARTS = (Part("parcel", "parcels", "on-the-way"), Part("letter", "letters", "on-the-way"), Part("gone", "gone", "x"))
FIRST_GOES = replace(
    DOMAIN,
    compositions=(Composition("customers", "overview", PARTS),),
    versions=(
        Version(1, deprecated=datetime(2026, 5, 1, tzinfo=UTC), sunset=datetime(2027, 5, 1, tzinfo=UTC)),
        Version(3),
    ),
)


def overview(number, **letters):
    declared = {"parcels": FIRST_GOES, "letters": replace(DOMAIN, name="letters", events={}, **letters)}
    path = b"/v%d/customers/a%%20b/overview" % number
    target = Routes(declared).find("GET", path)
    assert (target.scope, target.key) == ("parcels:read", "a b")
    return target.template, target.served.forms, dict(target.notes(path))


def test_a_composition_is_served_in_each_version_of_its_domains_and_each_part_in_its_own_form_of_then():
    letters = (Version(2),)
    assert [overview(number, versions=letters)[:2] for number in (1, 2, 3)] == [
        ("/v1/customers/{key}/overview", [1, None, None]),
        ("/v2/customers/{key}/overview", [1, 2, None]),
        ("/v3/customers/{key}/overview", [3, 2, None]),
    ]
    with pytest.raises(Problem, match="404"):
        overview(4, versions=letters)


def test_a_composition_goes_with_the_first_of_its_parts():
    earlier = Version(1, deprecated=datetime(2026, 1, 1, tzinfo=UTC), sunset=datetime(2028, 1, 1, tzinfo=UTC))
    *_, first = overview(1, versions=(earlier,))
    assert first[b"deprecation"] == b"@%d" % earlier.deprecated.timestamp()
    assert first[b"sunset"] == b"Sat, 01 May 2027 00:00:00 GMT"
    assert b'</v3/customers/a%20b/overview>; rel="successor-version"' in first[b"link"]
    assert overview(3, versions=(earlier,))[2] == {}


@pytest.mark.parametrize(
    "path", [b"/", b"*", b"/v1/", b"/v1//", b"/v1/%ff/x", b"/v1/operations/orders-7", b"/v2/orders/x"]
)
def test_nothing_is_said_where_no_version_goes(path):
    assert Routes(discover()).notes(path) == []


ascii_paths = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60)
fragments = st.sampled_from(
    ["parcels", "on-the-way", "send", "events", "/", "//", "..", ".", "%2f", "%2e", "%00", "%25", "%", "\\", "%5c", "a"]
)


@given(st.sampled_from(["GET", "POST", "PUT"]), st.one_of(ascii_paths, st.lists(fragments, max_size=8).map("".join)))
def test_what_is_passed_on_means_the_same_to_whoever_decodes_it(method, rest):
    try:
        side, _, template = found(method, f"/v1/{rest}")
    except Problem:
        return
    segments = unquote(f"/v1/{rest}").split("/")
    declared = template.split("/")
    assert len(segments) == len(declared)
    assert all(real == said or said in ("{id}", "{key}") for real, said in zip(segments, declared, strict=True))
    assert not {"", ".", ".."} & set(segments[1:])
    assert (side == "read") == (method == "GET" and segments[3] == "on-the-way")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1))
def test_any_name_can_be_asked_for(key):
    if key not in (".", ".."):
        assert found("GET", f"/v1/parcels/on-the-way/{quote(key, safe='')}")[0] == "read"
