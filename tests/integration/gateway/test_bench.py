"""What the measurements of the gateway count, and what they make of it."""

import json
import os
from array import array

import pytest
from typer.testing import CliRunner

from gateway.bench import overload, place, proxying, visible
from gateway.bench.commands import app
from gateway.bench.load import NUMBER, Asker, Heard, Load
from infra.bench.figures import Round
from infra.bench.shown import bench, show
from infra.console import Exit

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def load(world):
    def load(headers, connections, seconds, **more):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        asked = f"GET /v1/parcels/on-the-way/{NUMBER.decode()} HTTP/1.1\r\nhost: localhost\r\n{lines}\r\n"
        own = (os.getpid(),)
        return Load(
            world.settings.api_port, asked.encode(), world.settings.ca_file, connections, seconds, processes=own, **more
        )

    return load


async def test_each_answer_is_counted_once(world, load):
    heard = await Asker(load(world.bearer(), 4, 0.1, first=7)).run()
    found = heard.round()
    assert found.events == len(world.seen) - 4
    assert min(path for _, path, *_ in world.seen) == b"/v1/parcels/on-the-way/00000007"
    assert len({path for _, path, *_ in world.seen}) == len(world.seen)
    assert found.busy > 0
    assert all(0 < latency < found.seconds for latency in found.latencies)


async def test_a_rate_is_kept(world, load):
    heard = await Asker(load(world.bearer(), 4, 0.2, rate=50)).run()
    assert 5 <= len(heard.latencies) <= 10


async def test_what_was_refused_is_no_figure(load):
    heard = await Asker(load({}, 1, 0.01)).run()
    assert heard.accepted() == []
    with pytest.raises(ConnectionError, match="401"):
        heard.round()


async def test_ratios_are_those_of_the_medians(capsys):
    def rounds(rate, busy, latency):
        return [Round(rate, 1.0, [latency], busy * rate), Round(rate, 1.0, [latency], busy * rate), Round(1, 1.0, [9])]

    many = {"gateway": rounds(500, 240e-6, 0.002), "nginx": rounds(1000, 100e-6, 0.001)}
    one = {"gateway": rounds(1, 0, 0.0015), "nginx": rounds(1, 0, 0.0012), "direct": rounds(1, 0, 0.001)}
    show("gateway", proxying.compared(many, one), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["ratio_processor_to_nginx"], told["ratio_requests_to_nginx"]) == (2.4, 0.5)
    assert told["added_p50_microseconds"] == {"gateway": 500.0, "nginx": 200.0}


async def test_what_came_late_is_no_goodput_and_normal_begins_when_all_is_well():
    def heard(seconds, *answers):
        sent, statuses, latencies = zip(*answers, strict=True)
        return Heard(array("d", sent), array("H", statuses), array("d", latencies), seconds)

    usual = heard(1.0, *((n / 10, 200, 0.1) for n in range(10)))
    much = heard(1.0, *((n / 10, 200, 0.2) for n in range(10)), (0.5, 503, 0.001))
    again = heard(2.0, (0.1, 503, 0.001), (0.6, 200, 0.4), (1.1, 200, 0.1), (1.6, 200, 0.1))
    told = overload.compared(usual, much, again)
    assert told["ratio_goodput_to_usual"] == pytest.approx(0.9)
    assert told["ratio_p99_to_usual"] == pytest.approx(2.0)
    assert told["overload"]["refused"] == {"503": pytest.approx(1 / 11)}
    assert told["normal_after_seconds"] == 1.0


async def test_the_time_until_a_row_is_seen_is_told_for_both_in_milliseconds():
    idle = [visible.Probe(0.004, 0.02, 0.001)] * 3
    load = Heard(array("d", [0.1, 0.2]), array("H", [201, 201]), array("d", [0.01, 0.01]), 0.5)
    told = visible.compared(idle, [visible.Probe(0.01, 0.05, 0.002), visible.Probe(0.01, 0.25, 0.002)], load)
    assert (told["idle"]["visible_p50_ms"], told["idle"]["question_p99_ms"]) == (20.0, 1.0)
    assert (told["under_load"]["probes"], told["under_load"]["visible_p99_ms"]) == (2, 250.0)
    assert told["commands_per_second"] == 4.0


async def test_without_nginx_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(place, "SBIN", str(tmp_path))
    assert app is not None
    done = CliRunner().invoke(bench, ["gateway", "--json"])
    assert (done.exit_code, done.stdout) == (Exit.DEPENDENCY_DOWN, "")
    assert "apt-get install nginx-light" in done.stderr


async def test_proxies_are_told_whom_to_believe():
    where = {"port": 1, "upstream": 2, "folder": "/f", "own": "/own", "name": "parcels-write"}
    for template, check in (("nginx.conf", "proxy_ssl_verify on;"), ("Caddyfile", "tls_trusted_ca_certs /own/ca.pem")):
        told = place.TEMPLATES.get_template(template).render(where)
        assert check in told
        assert "parcels-write" in told
