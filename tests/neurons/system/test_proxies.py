"""Which proxies the chain's connection uses: those of websockets, and none to this machine."""

import os

import pytest
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from bettensor.neurons.system.proxies import is_loopback, proxy_of, spare_loopback

NAMES = ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "ws_proxy", "wss_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")  # what a test or the code sets is undone
        monkeypatch.delenv(name)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("url", ["wss://chain.example:443", "ws://chain.example:9944", "wss://me:word@10.0.0.1/path"])
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HTTP_PROXY": "http://a:1"},
        {"HTTPS_PROXY": "http://b:2"},
        {"http_proxy": "http://a:1", "https_proxy": "http://b:2"},
        {"ALL_PROXY": "http://c:3"},
        {"WS_PROXY": "http://d:4", "WSS_PROXY": "http://e:5", "SOCKS_PROXY": "socks5h://f:6"},
        {"SOCKS_PROXY": "socks5h://f:6", "HTTPS_PROXY": "http://b:2"},
        {"HTTPS_PROXY": "http://b:2", "NO_PROXY": "example,10.0.0.1"},
    ],
)
def test_the_proxy_that_is_told_is_the_one_that_is_used(
    url: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == get_proxy(parse_uri(url))


def test_a_proxys_password_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    assert proxy_of("wss://chain.example") == "http://proxy:3128"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "node.localhost"])
@pytest.mark.parametrize("spared", ["", "a.example, .b.example", "127.0.0.1,localhost", "*"])
def test_this_machine_is_never_reached_through_a_proxy(host: str, spared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    if spared:
        monkeypatch.setenv("NO_PROXY", spared)
    for _ in range(2):
        spare_loopback(f"ws://{host}:9944")
        assert proxy_of(f"ws://{host}:9944") is None
    assert (proxy_of("ws://chain.example") is None) == (spared == "*")
    if spared.startswith("a"):
        assert proxy_of("ws://x.b.example") is None
        assert os.environ["no_proxy"].count(",") == 2


def test_another_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    spare_loopback("ws://10.0.0.1:9944")
    assert proxy_of("ws://10.0.0.1:9944") == "http://proxy:3128"
    assert "no_proxy" not in os.environ


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "a.localhost"])
def test_this_machine_is_known_by_its_addresses_and_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "localhost.example", "", "::2"])  # noqa: S104 - no address to bind
def test_no_other_host_is_taken_for_this_machine(host: str) -> None:
    assert not is_loopback(host)
