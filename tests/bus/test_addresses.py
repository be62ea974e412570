"""Addresses that strangers name: which of them lead to the public internet, and which are in a network."""

import pytest

from bettensor.bus.addresses import Networks, host_of, is_public, network_of, split_endpoint


@pytest.mark.parametrize(
    ("endpoint", "parts"),
    [
        ("203.0.113.7:8091", ("203.0.113.7", 8091)),
        ("[2001:db8::7]:1", ("2001:db8::7", 1)),
        ("localhost:65535", ("localhost", 65535)),
    ],
)
def test_an_endpoint_has_a_host_and_a_port(endpoint: str, parts: tuple[str, int]) -> None:
    assert split_endpoint(endpoint) == parts


@pytest.mark.parametrize(
    "endpoint",
    ["", "5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX", ":80", "1.2.3.4:", "1.2.3.4:a", "1.2.3.4:65536"],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match="expected ip:port"):
        split_endpoint(endpoint)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(host: str) -> None:
    assert is_public(host)


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "64:ff9b::a00:1",
        "localhost",
        "example.com",
        "127.1",
        "0x7f000001",
    ],
)
def test_addresses_that_a_stranger_may_not_name(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize(
    ("host", "network", "within"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "10.0.0.0/8", False),
        ("a-unix-socket", "0.0.0.0/0", False),
    ],
)
def test_networks(host: str, network: str, *, within: bool) -> None:
    assert (host in Networks([network])) is within


def test_addresses_in_one_of_several_networks() -> None:
    networks = Networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])
    inside = ["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::1"]
    outside = ["11.1.2.3", "192.0.2.2", "2001:db9::1", "a-unix-socket", ""]
    assert [host for host in inside + outside if host in networks] == inside
    assert "10.1.2.3" not in Networks(())
    with pytest.raises(ValueError, match="has host bits set"):
        Networks(["10.0.0.1/8"])


def test_what_has_no_port_is_a_host() -> None:
    assert host_of("[2001:db8::7]:1") == "2001:db8::7"
    assert host_of("a-simulated-neuron") == "a-simulated-neuron"


@pytest.mark.parametrize(
    ("remote", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:DB8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("miner-1", "miner-1"),
        ("", ""),
    ],
)
def test_an_ipv4_address_is_one_party_and_so_are_64_bits_of_ipv6(remote: str, network: str) -> None:
    assert network_of(remote) == network
