"""What stands in X-Forwarded-For is believed only of proxies that are configured."""

from ipaddress import ip_network

import pytest

from infra.web.address import address_of

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def found(client, *forwarded, proxies=PROXIES):
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return address_of({"client": (client, 1), "headers": headers}, proxies)


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.5"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["evil, 203.0.113.5, 10.9.9.9"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.7", "203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["not an address"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, nonsense, 10.9.9.9"], "10.9.9.9"),
        ("::ffff:10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("2001:db8::1", [], "2001:db8::/64"),
        ("2001:db8::ffff:1", [], "2001:db8::/64"),
        ("fd00::1", ["2001:db8:0:1::5"], "2001:db8:0:1::/64"),
    ],
)
def test_the_address_is_the_farthest_that_can_be_believed(client, forwarded, address):
    assert found(client, *forwarded) == address


def test_without_proxies_nothing_is_believed():
    assert found("10.0.0.1", "203.0.113.5", proxies=[]) == "10.0.0.1"


def test_a_connection_without_an_address_has_a_name_all_the_same():
    assert address_of({"client": None, "headers": []}, PROXIES) == "unknown"
