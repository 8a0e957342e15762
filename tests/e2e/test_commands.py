"""What a person sees at a terminal: the ports, the projections, the doctor."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE
from dataclasses import astuple

import psycopg

from infra.native.listeners import listeners
from infra.postgres import conninfo

PROBES = "none, probes and metrics only"
SIDES = ("read", "write", "rebuild")
WANTED = {
    **{("gateway", port): "access token" for port in ("api", "admin")},
    ("issuer", "api"): "client id and secret",
    ("kafka", "api"): "SCRAM-SHA-512",
    ("kafka", "controller"): "certificate",
    ("postgres", "api"): "certificate and SCRAM-SHA-256",
    ("console", "api"): "login, code and PKCE",
    **{(f"{domain}-{side}", "api"): "certificate" for domain in ("accounts", "orders") for side in SIDES},
}


async def test_every_port_speaks_tls_and_refuses_plaintext(system):
    told = json.loads(system.headrace("status", "--ports", "--json").stdout)
    assert {(port["tls"], port["plaintext"]) for port in told} == {("TLSv1.3", "refused")}
    found = {(port["owner"], port["serves"]): port["client_authentication"] for port in told}
    assert {place: how for place, how in found.items() if place[1] != "health"} == WANTED
    assert {how for place, how in found.items() if place[1] == "health"} == {PROBES}
    assert [astuple(each)[:3] for each in listeners(system.state, system.ca_file)] == [
        (port["owner"], port["serves"], port["port"]) for port in told
    ]


async def test_no_component_listens_anywhere_else(system):
    known = set(system.state.ports.values())
    for name in system.state.known():
        process = system.state.running(name)
        for member in (process, *process.children(recursive=True)):
            heard = {place.laddr for place in member.net_connections("tcp") if place.status == "LISTEN"}
            assert {address.ip for address in heard} <= {"127.0.0.1", "::ffff:127.0.0.1"}
            assert {address.port for address in heard} <= known


async def seen(client, path):
    async with asyncio.timeout(60):
        while (await client.get(path)).status != 200:
            continue


async def test_watch_shows_each_view_with_the_row_that_changed_last(system, client, number):
    body = {"owner": f"o{number}", "at": "2010-12-01T08:26:00Z"}
    opened = await client.post(f"/v1/accounts/{number}/open", data=json.dumps(body))
    assert opened.status == 201
    await seen(client, f"/v1/accounts/account/{number}")
    told = json.loads(system.headrace("watch", "--once", "--json").stdout)["projections"]
    views = {f"{line['domain']}/{line['view']}": line for line in told}
    assert set(views) == {
        "accounts/account",
        "accounts/owner-balance",
        "orders/customer-history",
        "orders/order-details",
        "orders/sales-by-country",
    }
    line = views["accounts/account"]
    assert (line["events_behind"], line["seconds_behind"]) == (0, 0.0)
    assert line["position"] == line["head"]
    assert line["last_row"] == {"account": number, "owner": f"o{number}", "balance": 0}
    shown = system.headrace("watch").stdout
    assert "orders/order-details" in shown
    assert "\x1b" not in shown


def problems(system):
    """What `watch` says of each projection that does not go on."""
    told = json.loads(system.headrace("watch", "--once", "--json").stdout)["projections"]
    return {f"{line['domain']}/{line['view']}": line["problem"] for line in told if line["problem"] is not None}


async def test_watch_says_why_a_projection_does_not_go_on(system):
    orders = {"orders/customer-history", "orders/order-details", "orders/sales-by-country"}
    assert problems(system) == {}
    try:
        system.kill("orders-read")
        found = problems(system)
        assert (set(found), set(found.values())) == (orders, {"orders-read does not run: headrace up"})
        await asyncio.to_thread(system.up)
        system.kill("kafka")
        async with asyncio.timeout(60):
            while not (await asyncio.to_thread(problems, system)).keys() >= {*orders, "accounts/account"}:
                continue
        assert all("topic" in why or "Kafka" in why for why in problems(system).values())
    finally:
        await asyncio.to_thread(system.up)
    async with asyncio.timeout(60):
        while await asyncio.to_thread(problems, system):
            continue


async def test_the_doctor_finds_nothing_wrong_and_names_what_is(system):
    assert system.headrace("doctor").returncode == 0
    secret = system.credentials / "gateway" / "key.pem"
    secret.chmod(0o644)
    try:
        found = system.headrace("doctor", "--json")
    finally:
        secret.chmod(0o600)
    assert found.returncode == 1
    [wrong] = [finding for finding in json.loads(found.stdout) if not finding["well"]]
    assert (wrong["name"], wrong["mend"]) == ("secret", f"chmod 600 {secret}")


def test_any_command_and_view_can_be_called(system, number, tmp_path):
    file, line = tmp_path / "order.json", {"sku": "85123A", "quantity": 6}
    order = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z"}
    file.write_text(json.dumps({**order, "lines": [{**line, "price": {"amount": "2.55", "currency": "GBP"}}]}))
    placed = system.headrace("call", "orders", "place", f"c{number}", "-f", str(file))
    assert (placed.returncode, json.loads(placed.stdout)["version"]) == (0, 1)
    stale = system.headrace("call", "orders", "place", f"c{number}", "-f", str(file), "--if-match", "7")
    assert (stale.returncode, stale.stdout) == (4, "")
    assert "Precondition failed" in stale.stderr
    malformed = system.headrace("call", "orders", "place", f"c{number}", "-f", str(file), "--api", "1")
    assert malformed.returncode == 2
    assert "currency" in malformed.stderr
    events = json.loads(system.headrace("call", "orders", "events", f"c{number}").stdout)["events"]
    assert [event["actor"] for event in events] == ["operator"]
    accepted = system.headrace(
        *("call", "orders", "place", f"d{number}", "-f", str(file), "--key", f"d{number}", "--later")
    )
    operation = json.loads(accepted.stdout)["id"]
    found = json.loads(system.headrace("call", "operations", operation).stdout)
    assert (found["id"], found["status"] in ("accepted", "succeeded")) == (operation, True)
    overview = json.loads(system.headrace("call", "customers", "overview", "17850").stdout)
    assert (overview["key"], overview["parts"].keys()) == ("17850", {"history", "orders"})
    unknown = system.headrace("call", "operations", "orders-0", "--json")
    assert (unknown.returncode, json.loads(unknown.stdout)["status"]) == (3, 404)
    assert system.headrace("call", "orders", "order-details", "nobody").returncode == 3
    assert system.headrace("call", "orders", "sales-by-country", "--where", "color=red").returncode == 2


async def test_a_replay_goes_on_with_its_stream_until_somebody_ends_it(system, client, number):
    body = {"owner": f"o{number}", "at": "2010-12-01T08:26:00Z"}
    assert (await client.post(f"/v1/accounts/{number}/open", data=json.dumps(body))).status == 201
    running = await system.begun("replay", f"accounts-{number}", "--follow", "--json", stdout=PIPE)
    async with asyncio.timeout(60):
        assert json.loads(await running.stdout.readline())["version"] == 1
        deposit = {"cents": 5, "at": "2010-12-02T08:26:00Z"}
        assert (await client.post(f"/v1/accounts/{number}/deposit", data=json.dumps(deposit))).status == 201
        assert json.loads(await running.stdout.readline())["data"]["cents"] == 5
        running.send_signal(signal.SIGINT)
        assert await running.wait() == 0
    told = json.loads(system.headrace("replay", f"accounts-{number}", "--diff", "1", "--json").stdout)
    assert (told["from"], told["to"]) == (1, 2)
    assert told["changes"] == [{"field": "balance", "was": 0, "became": 5}]


async def test_rows_that_are_wrong_are_shown_until_they_are_right(system, client, number):
    order = {"customer": "17850", "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP"}
    lines = [{"sku": "85123A", "description": "", "quantity": 6, "unit_price": "2.55"}]
    placed = await client.post(f"/v1/orders/{number}/place", data=json.dumps({**order, "lines": lines}))
    token = {"consistency-token": placed.headers["consistency-token"]}
    assert (await client.get(f"/v1/orders/order-details/{number}", headers=token)).status == 200
    with psycopg.connect(conninfo(system.settings("orders-read"), "orders_read")) as connection:
        connection.execute('UPDATE order_details_v2 SET total = 1 WHERE "order" = %s', [number])

    def drift():
        told = json.loads(system.headrace("watch", "--once", "--json").stdout)["projections"]
        return {line["view"]: line["drift"] for line in told}["order-details"]

    assert system.headrace("projection", "verify", "order-details", "--json").returncode == 5
    assert drift() == 1
    repaired = system.headrace("projection", "replay", "order-details", "--keys", f"{number}..{number}", "--json")
    assert json.loads(repaired.stdout)["changed"] == [number]
    async with asyncio.timeout(60):
        while await asyncio.to_thread(drift):
            continue
