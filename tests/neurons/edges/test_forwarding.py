"""Whom a proxy speaks for: the last address that no trusted proxy has. The PROXY protocol is in test_acceptor."""

import pytest

from bettensor.bus.addresses import Networks
from bettensor.neurons.edges.forwarding import MAX_HOPS, NOBODY_IN_FRONT, Client, Forwarding

PROXIES = Forwarding(Networks(["10.0.0.0/8", "2001:db8:1::/48"]))


@pytest.mark.parametrize(
    ("forwarded", "origin"),
    [
        ([], "10.0.0.1"),
        ([""], "10.0.0.1"),
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.9, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.9", "203.0.113.7"], "203.0.113.7"),
        (["203.0.113.7, 10.1.2.3,  10.1.2.4"], "203.0.113.7"),
        (["203.0.113.7", "2001:db8:1::5"], "203.0.113.7"),
        (["10.1.2.3, 10.1.2.4"], "10.1.2.3"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:DB8::7"], "2001:db8::7"),
        (["203.0.113.7, unknown"], "10.0.0.1"),
        (["203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
        (["203.0.113.7, " + ", ".join(["10.1.2.3"] * (MAX_HOPS - 1))], "203.0.113.7"),
        (["203.0.113.7, " + ", ".join(["10.1.2.3"] * MAX_HOPS)], "10.1.2.3"),
    ],
)
def test_the_origin_of_a_request(forwarded: list[str], origin: str) -> None:
    assert PROXIES.origin_of("10.0.0.1", forwarded) == origin


def test_nobody_else_is_believed() -> None:
    assert PROXIES.origin_of("203.0.113.1", ["203.0.113.7"]) == "203.0.113.1"
    assert NOBODY_IN_FRONT.origin_of("10.0.0.1", ["203.0.113.7"]) == "10.0.0.1"


def test_a_proxy_uses_the_way_that_is_configured() -> None:
    announced = PROXIES._replace(by_proxy_protocol=True)
    for remote, is_trusted in (
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("203.0.113.1", False),
        ("a name", False),
    ):
        assert PROXIES.names_in_requests(remote) is is_trusted
        assert announced.begins_connection(remote) is is_trusted
        assert not PROXIES.begins_connection(remote)
        assert not announced.names_in_requests(remote)


def test_connections_of_a_proxy_are_of_different_parties_until_it_says_for_whom_it_comes() -> None:
    assert PROXIES.party_of(Client("10.0.0.1", 1)) != PROXIES.party_of(Client("10.0.0.1", 2))
    assert PROXIES.party_of(Client("203.0.113.7", 1)) == PROXIES.party_of(Client("203.0.113.7", 2)) == "203.0.113.7"
