"""An access line names the client that a limit would count, as far as proxies of ours vouch for it."""

import json
import tracemalloc
from ipaddress import ip_network

import pytest

from infra.telemetry import begin
from infra.web.access import AccessLog

PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("proxies", "client", "told", "found"),
    [
        (PROXIES, "10.0.0.1", [b"192.0.2.1", b"192.0.2.2, 10.0.0.9"], "192.0.2.2"),
        (PROXIES, "192.0.2.9", [b"192.0.2.1"], "192.0.2.9"),
        (PROXIES, "10.0.0.1", [b'x"}'], "10.0.0.1"),
        ((), "10.0.0.1", [b"192.0.2.1"], "10.0.0.1"),
        ((), "2001:db8::1", [], "2001:db8::1"),
        ((), "::ffff:192.0.2.1", [], "192.0.2.1"),
        ((), "nobody", [], None),
        ((), None, [], None),
    ],
)
async def test_the_client_is_who_a_proxy_of_ours_speaks_for(capsys, proxies, client, told, found):
    headers = [(b"x-forwarded-for", one) for one in told]
    log = AccessLog("gateway", proxies)
    scope = {"method": "GET", "raw_path": b"/", "headers": headers, "sent": dict(headers), "route_template": "/"}
    log.record(scope | {"client": client and (client, 1)}, "/", begin(None, None), 200, 0, 0.001)
    log.flush()
    line = json.loads(capsys.readouterr().err)
    assert line.get("client") == (found and {"ip": found})


@pytest.mark.parametrize("name", [b"user-agent", b"x-forwarded-for"])
async def test_long_headers_of_many_clients_are_not_kept(capsys, name):
    log = AccessLog("gateway", PROXIES)
    tracemalloc.start()
    try:
        for number in range(200):
            headers = [(name, b"%d, " % number + b"x" * 20_000)]
            scope = {"method": "GET", "raw_path": b"/", "headers": headers, "sent": dict(headers)}
            log.record(scope | {"client": ("10.0.0.1", 1)}, "/", begin(None, None), 401, 0, 0.001)
            log.flush()
            capsys.readouterr()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000
