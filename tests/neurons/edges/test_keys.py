"""Hotkeys, and signed requests: what bittensor signs is good, and nothing else."""

from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest
from bittensor import http_auth, wallets
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import (
    ConnectionClosed,
    HttpRequestReceived,
    RequestVerificationRequested,
    Scheme,
    SignatureChecked,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros
from bettensor.neurons.edges.keys import Keys, verify_request
from tests.support import make_hex32

VALIDATOR = Hotkey(Keypair.create_from_uri("//Validator", CRYPTO_SR25519).ss58_address)
MINERS: dict[Scheme, Keypair] = {
    "sr25519": Keypair.create_from_uri("//Miner", CRYPTO_SR25519),
    "ed25519": Keypair.create_from_uri("//Miner", CRYPTO_ED25519),
}
NOW = 1752076800000000000
"""Nanoseconds; the age of a request is not judged here."""


def signed(scheme: Scheme, body: bytes = b"", changes: dict[str, str] | None = None) -> HttpRequestReceived:
    """A request of the miner with this scheme, whose headers may be changed after it is signed."""
    target = "/predictions?netuid=30"
    headers = http_auth.sign(
        MINERS[scheme], method="POST", path=target, body=body, receiver_ss58=VALIDATOR, nonce_ns=NOW
    )
    named = tuple((name.lower(), value) for name, value in (headers | (changes or {})).items())
    digest = sha256(body).hexdigest()
    return HttpRequestReceived(ConnectionId(1), "POST", target, named, "10.0.0.1", True, make_hex32(), digest)


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256))])
@pytest.mark.parametrize("scheme", ["sr25519", "ed25519"])
@pytest.mark.parametrize("pinned", ["sr25519", "ed25519"])
def test_a_request_is_good_by_the_scheme_that_its_sender_is_known_for_alone(
    scheme: Scheme, pinned: Scheme, body: bytes
) -> None:
    assert verify_request(signed(scheme, body), VALIDATOR, pinned) == (scheme == pinned)


@pytest.mark.parametrize("pinned", ["sr25519", "ed25519"])
def test_a_request_that_was_changed_is_bad(pinned: Scheme) -> None:
    good, hotkey = signed(pinned), Hotkey(MINERS[pinned].ss58_address)
    assert verify_request(good, VALIDATOR, pinned)
    assert not verify_request(good, hotkey, pinned)
    assert not verify_request(good, VALIDATOR, pinned, target="/predictions?netuid=31")
    others = (
        replace(good, method="GET"),
        replace(good, target="/games?netuid=30"),
        replace(good, digest=sha256(b"{}").hexdigest()),
    )
    assert not any(verify_request(other, VALIDATOR, pinned) for other in others)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Bittensor-Nonce", str(NOW + 1)),
        ("X-Bittensor-Nonce", "now"),
        ("X-Bittensor-Nonce", "9" * 5000),
        ("X-Bittensor-Hotkey", "nobody"),
        ("X-Bittensor-Hotkey", VALIDATOR),
        ("X-Bittensor-Receiver", "nobody"),
        ("X-Bittensor-Version", "2"),
        ("X-Bittensor-Signature", "0x" + "zz" * 64),
        ("X-Bittensor-Signature", "0x" + "00" * 64),
        ("X-Bittensor-Crypto", "ed25519"),
        ("X-Bittensor-Crypto", "hashed"),
        ("X-Bittensor-Crypto", "mldsa"),
    ],
)
def test_a_request_whose_headers_were_changed_is_bad(name: str, value: str) -> None:
    assert not verify_request(signed("sr25519", changes={name: value}), VALIDATOR, "sr25519")


def test_a_request_without_headers_is_bad() -> None:
    assert not verify_request(replace(signed("sr25519"), headers=()), VALIDATOR, "sr25519")


def test_a_nonce_counts_as_a_number() -> None:
    assert verify_request(signed("sr25519", changes={"X-Bittensor-Nonce": f"0{NOW}"}), VALIDATOR, "sr25519")


def test_the_target_is_the_one_that_was_sent_as_long_as_its_connection_is_open() -> None:
    bus = EventBus(SystemClock())
    keys, checked = Keys(Keypair.create_from_uri("//Validator", CRYPTO_SR25519)), []
    keys.attach(bus)
    bus.subscribe(SignatureChecked, lambda event, _: checked.append(event.valid), "test")
    bus.subscribe(
        HttpRequestReceived,
        lambda event, _: bus.publish(RequestVerificationRequested(event.connection, event, Micros(0), "sr25519")),
        "test",
    )
    request = signed("sr25519")
    recorded = replace(request, target="/predictions?netuid=30&other=hidden", is_whole=False)
    keys.expect(request.connection, request.target)
    bus.publish(recorded)
    bus.publish(ConnectionClosed(request.connection, 0, ""))
    bus.publish(recorded)
    assert checked == [True, False]


OF_11_3_2: Any = SimpleNamespace(crypto_type=3, ss58_address="5" + "G" * 47)
"""A key of a scheme that bittensor has since 11.3.2, and no earlier one can make."""


@pytest.fixture
def _names_of_11_3_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wallets.CRYPTO_TYPE_NAMES, OF_11_3_2.crypto_type, "mldsa")


@pytest.mark.usefixtures("_names_of_11_3_2")
def test_a_hotkey_of_a_scheme_that_is_not_supported_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigurationError, match="the hotkey has the scheme mldsa; a neuron needs one of ed25519 or sr25519"
    ):
        Keys(OF_11_3_2)
