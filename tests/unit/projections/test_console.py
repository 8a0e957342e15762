"""The console's pages and sessions, without servers: what hostile events, keys, forms and addresses come to."""

import re
import zipfile
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from time import time
from uuid import UUID

import pytest
from fastapi import Request

from domains.orders import domain
from eventstore.memory import MemoryStore
from eventstore.records import Metadata, RecordedEvent
from infra.errors import StartFailed
from infra.oidc import Identity
from infra.web import Problem
from projections.console import assets, feeds
from projections.console.front import Front, fields, here
from projections.console.pages import HEIGHT, WIDTH, Pages, event, lasts, points, value
from projections.console.sessions import COOKIE, MOST, Granted, Session, Sessions, check_form
from projections.console.watching import Place, Seen
from projections.parking import Parked, Spot
from projections.serving.tail import Change
from projections.watch import Watched

AT = datetime(2026, 11, 25, 8, 26, 0, 123000, UTC)
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
ADDRESS = "https://127.0.0.1:8443"
VIEW = domain.views[0]


@pytest.fixture
def pages():
    return Pages({})


@pytest.fixture
def seen():
    found = Seen(Place(domain, MemoryStore(), None, None, None), VIEW)
    found.problem = None
    found.now = Watched("orders", VIEW.name, 1234567, 1234570, 3, 4.24, 12.0, 0.3, 1, EVIL, None)
    found.behind, found.rate = deque([0, 5, 3]), deque([12.0])
    return found


def harmless(html):
    return "<script" not in html and "<img" not in html and "&lt;script&gt;" in html


def test_what_an_error_says_is_text(pages, seen):
    assert harmless(pages.part("error", seen))


def test_a_parked_key_can_write_neither_into_the_page_nor_into_an_address(pages, seen):
    parked = Parked(Spot(EVIL), 7, f"orders-{EVIL}", 1, EVIL, EVIL, AT, 2, 3)
    html = pages.part("spots", seen, [parked], 50)
    assert harmless(html)
    assert all(re.fullmatch(r"[\w/?=&;.%-]+", link) for link in re.findall(r'href="([^"]*)"', html))


def test_a_row_is_text_and_short_however_large_it_is(pages, seen):
    hostile = b'{"order": "<script>", "status": "%s"}' % (b"x" * 100_000)
    huge = b'{"order": "a", "status": "%s"}' % (b"x" * 400_000)
    rows = [
        Change(0, 1, EVIL, hostile),
        Change(0, 2, "huge", huge),
        Change(0, 3, "gone", None),
        Change(0, 4, "no", b"{"),
    ]
    html = pages.part("rows", seen, rows, None)
    assert harmless(html)
    assert html.count("bytes that are not shown") == 2
    assert "removed" in html
    assert len(html) < 20_000


DEEP = b"[" * 300 + b"]" * 300


@pytest.mark.parametrize(
    "data", [b'{"note": "<script>"}', b"<script>", b"\xff" * 10, b"[" * 100_000, DEEP, b"9" * 500_000]
)
def test_an_event_is_text_and_short_whatever_it_holds(pages, data):
    told = Metadata(actor=EVIL, request_id=EVIL)
    recorded = RecordedEvent(1, f"orders-{EVIL}", 1, UUID(int=1), EVIL, AT, AT, data, told)
    html = pages.part("timeline", [recorded], True)
    assert harmless(html)
    assert len(html) < 80_000


def test_sealed_texts_are_named_and_not_shown(pages):
    sealed = b'{"recipient": "sealed:v1:abc", "lines": [{"note": "sealed:v1:def"}]}'
    html = pages.part("timeline", [RecordedEvent(1, "orders-1", 1, UUID(int=1), "T", AT, AT, sealed, Metadata())], True)
    assert "sealed:v1" not in html
    assert html.count("sealed") == 2


def test_an_event_of_a_stream_is_one_however_many_lines_its_html_has():
    assert event("rows", "<p>\nid: 7\r\nevent: x</p>") == b"event: rows\ndata: <p>\ndata: id: 7\ndata: event: x</p>\n\n"


def test_a_text_that_is_gone_is_told_too():
    # HTML, section 9.2.6: an event whose data is empty is not dispatched, unless a line of data says so.
    assert event("error", "") == b"event: error\ndata: \n\n"


def test_only_what_has_changed_is_told():
    changes = feeds.Changes()
    assert changes.of([("a", "1"), ("b", "2")]).count(b"event: ") == 2
    assert changes.of([("a", "1"), ("b", "2")]) == b""
    assert changes.of([("a", "1"), ("b", "3")]) == event("b", "3")


def test_a_sparkline_fills_its_box_and_ends_at_its_right_edge():
    line = [tuple(map(float, point.split(","))) for point in points([0, 10, 5]).split()]
    assert [x for x, _ in line] == [0, WIDTH / 2, WIDTH]
    assert line[0][1] == HEIGHT - 1
    assert line[1][1] < line[2][1] < line[0][1]
    assert points([]) == ""


def test_figures_are_aligned_and_say_their_unit(pages, seen):
    told = dict(pages.figures(seen))
    assert "1\u202f234\u202f567" in told["orders/order-details/position"]
    assert (lasts(None), lasts(0), lasts(4.24), lasts(300)) == ("–", "0 s", "4.2 s", "5 min")
    assert [value(one) for one in (None, True, [1], {}, "x")] == ["–", "yes", "1 item", "0 fields", "x"]


def test_rows_that_differ_from_the_store_catch_the_eye(pages, seen):
    assert dict(pages.figures(seen))["orders/order-details/drift"] == "0"
    seen.now = replace(seen.now, drift=1234)
    assert dict(pages.figures(seen))["orders/order-details/drift"] == '<strong class="bad">1\u202f234</strong>'


def granted(seconds=900, scopes=("console:read",)):
    return Granted(Identity("ann", "issuer", frozenset(scopes), time() + seconds), "token", None)


def request(**headers):
    told = [(name.replace("_", "-").encode(), given.encode()) for name, given in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": told, "query_string": b""})


class LoggedIn:
    """An issuer that lets in whoever comes back, to go on to a page."""

    def __init__(self, to="/"):
        self._to = to

    async def finish(self, _, __):
        return granted(), self._to

    async def renew(self, _):
        pass


def test_a_session_is_found_by_its_secret_and_by_nothing_else():
    sessions = Sessions()
    secret = sessions.begin(granted())
    mine = request(cookie=f"{COOKIE}={secret}")
    assert sessions.find(mine).name == "ann"
    assert sessions.find(request()) is sessions.find(request(cookie=f"{COOKIE}={secret}x")) is None
    sessions.end(mine)
    assert sessions.find(mine) is None


async def test_who_logs_out_hears_no_more_on_the_pages_that_he_has_left_open():
    sessions, ended = Sessions(), []
    mine = request(cookie=f"{COOKIE}={sessions.begin(granted())}", host="127.0.0.1:8443")

    async def tells(_, __):
        try:
            while True:
                yield b": here\n\n"
        finally:
            ended.append(True)

    answer = await Front(ADDRESS, sessions, LoggedIn(), Pages({}), None).told(tells)(mine)
    assert await anext(answer.body_iterator) == b": here\n\n"
    sessions.end(mine)
    assert await anext(answer.body_iterator, None) is None
    assert ended


def test_sessions_take_bounded_memory():
    sessions = Sessions()
    first, *_, last = [sessions.begin(granted()) for _ in range(MOST + 1)]
    assert sessions.find(request(cookie=f"{COOKIE}={first}")) is None
    assert sessions.find(request(cookie=f"{COOKIE}={last}"))


def test_a_form_acts_only_from_a_page_of_its_session():
    session = Session(granted())
    good = {"csrf": session.csrf}
    check_form(request(), good, session, ADDRESS)
    check_form(request(origin=ADDRESS, sec_fetch_site="same-origin"), good, session, ADDRESS)
    for sent, form in (
        (request(), {}),
        (request(), {"csrf": Session(granted()).csrf}),
        (request(), {"csrf": "ü"}),
        (request(origin="https://127.0.0.1:9999"), good),
        (request(origin="null"), good),
        (request(sec_fetch_site="cross-site"), good),
        (request(sec_fetch_site="same-site"), good),
    ):
        with pytest.raises(Problem) as refused:
            check_form(sent, form, session, ADDRESS)
        assert (refused.value.status_code, refused.value.type) == (403, "not-from-here")


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "",
        "/\r\nset-cookie: a=b",
        "/€",
        "/ü",
        f"/{'x' * 2000}",
    ],
)
def test_a_login_leads_to_no_foreign_page(to):
    assert not here(to)


async def test_a_login_that_was_asked_to_lead_to_no_page_leads_to_the_first():
    login = LoggedIn("/projections/orders/€")
    answer = await Front(ADDRESS, Sessions(), login, Pages({}), None).back(request())
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("body", [b"\xff=1", b"a", b"&".join(b"a%d=1" % place for place in range(30))])
def test_what_is_no_form_is_refused(body):
    with pytest.raises(Problem):
        fields(body)


def test_a_script_that_is_not_what_it_must_be_is_not_served(tmp_path):
    with zipfile.ZipFile(tmp_path / "htmx.jar", "w") as jar:
        jar.writestr("META-INF/htmx.org/dist/htmx.min.js", "alert(1)")
    with pytest.raises(StartFailed, match="is not what it must be"):
        assets.vendored(tmp_path)
