"""Hotkeys, and signed requests, by the ``http_auth.verify`` that is installed and by that of bittensor 11.3.2."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from bittensor import http_auth, wallets
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import HttpRequestReceived, Scheme
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros
from bettensor.neurons.edges.keys import CRYPTO_TYPES, Keys, verify_request
from tests.support import make_hex32

VALIDATOR = Hotkey(Keypair.create_from_uri("//Validator", CRYPTO_SR25519).ss58_address)
MINERS: dict[Scheme, Keypair] = {
    "sr25519": Keypair.create_from_uri("//Miner", CRYPTO_SR25519),
    "ed25519": Keypair.create_from_uri("//Miner", CRYPTO_ED25519),
}
NOW = Micros(time.time_ns() // 1000)
Verify = Callable[..., http_auth.Caller]
as_installed: Verify = http_auth.verify


def as_of_11_3_2(headers: dict[str, str], body: bytes, *, expected_crypto_type: int | None = None, **rest: Any) -> Any:
    """As the release does: it refuses unless it is told the sender's scheme, and if the header names another."""
    if expected_crypto_type is None:
        raise http_auth.MalformedAuth("the trusted crypto type of the sender is required")
    lowered = {name.lower(): value for name, value in headers.items()}
    if lowered.get("x-bittensor-crypto", "sr25519") not in [
        name for name, number in CRYPTO_TYPES.items() if number == expected_crypto_type
    ]:
        raise http_auth.BadSignature("the signature scheme is not the trusted sender scheme")
    return as_installed(headers, body, **rest)


@pytest.fixture(params=[as_installed, as_of_11_3_2], ids=["installed", "11.3.2"])
def _bittensor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_auth, "verify", request.param)


def signed(scheme: Scheme, **changes: str) -> HttpRequestReceived:
    """A handshake of the miner with this scheme, whose headers may be changed after it is signed."""
    target = "/ws?netuid=30"
    headers = http_auth.sign(
        MINERS[scheme], method="GET", path=target, receiver_ss58=VALIDATOR, nonce_ns=NOW * 1000 + len(changes)
    )
    named = tuple((name.lower(), value) for name, value in (headers | changes).items())
    return HttpRequestReceived(ConnectionId(1), "GET", target, named, b"", "10.0.0.1", True, make_hex32())


@pytest.mark.usefixtures("_bittensor")
@pytest.mark.parametrize("scheme", ["sr25519", "ed25519"])
@pytest.mark.parametrize("pinned", ["sr25519", "ed25519"])
def test_a_request_is_good_by_the_scheme_that_its_sender_is_known_for_alone(scheme: Scheme, pinned: Scheme) -> None:
    assert verify_request(signed(scheme), VALIDATOR, NOW, pinned) == (scheme == pinned)


@pytest.mark.usefixtures("_bittensor")
@pytest.mark.parametrize("pinned", ["sr25519", "ed25519"])
def test_a_request_that_was_changed_is_bad(pinned: Scheme) -> None:
    assert not verify_request(signed(pinned, **{"X-Bittensor-Nonce": str(NOW * 1000)}), VALIDATOR, NOW, pinned)
    assert not verify_request(signed(pinned), Hotkey(MINERS[pinned].ss58_address), NOW, pinned)


@pytest.mark.parametrize("scheme", ["hashed", "mldsa", "ecdsa"])
@pytest.mark.usefixtures("_bittensor")
def test_a_request_by_a_scheme_that_is_not_known_is_bad(scheme: str) -> None:
    assert not verify_request(signed("sr25519", **{"X-Bittensor-Crypto": scheme}), VALIDATOR, NOW, "sr25519")


def test_the_stand_in_refuses_everybody_if_it_is_not_told_a_scheme() -> None:
    request = signed("sr25519")
    with pytest.raises(http_auth.AuthError):
        as_of_11_3_2(dict(request.headers), b"", method="GET", path=request.target, self_hotkey_ss58=VALIDATOR)


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
