"""The door: who is barred is turned away without an event, and who has signed passes, whoever else is there."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from bittensor import http_auth
from bittensor_core import CRYPTO_ED25519, CRYPTO_SR25519, Keypair

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.events import (
    Decided,
    Event,
    HotkeyBarred,
    HttpAnswered,
    HttpRequestReceived,
    MetagraphSynced,
    NetworkBarred,
    NeuronInfo,
    RequestsTurnedAway,
    SettingsReloaded,
)
from bettensor.bus.identifiers import SECOND, ConnectionId, Hotkey, Micros, Uid
from bettensor.neurons.edges import turnstile as edge
from bettensor.neurons.edges.edge import Identity
from bettensor.neurons.edges.turnstile import CHECKS_AT_ONCE, PASSES_AT_ONCE, Turnstile
from tests.support import NETUID, Injected, make_hex32

VALIDATOR = Hotkey(Keypair.create_from_uri("//Validator", CRYPTO_SR25519).ss58_address)
MINER, OTHER = (
    Keypair.create_from_uri("//Miner", CRYPTO_SR25519),
    Keypair.create_from_uri("//Other", CRYPTO_ED25519),
)
STRANGER = Keypair.create_from_uri("//Stranger", CRYPTO_SR25519)
HOTKEY = Hotkey(MINER.ss58_address)
TARGET = "/ws?netuid=30"
ADDRESS, NEIGHBOUR, ELSEWHERE = "2001:db8::1", "2001:db8::2", "10.0.0.1"


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(Micros(time.time_ns() // 1000))
        self.bus = EventBus(self.clock)
        self.told: list[RequestsTurnedAway] = []
        self.bus.subscribe(Injected, lambda event, _: self.bus.publish(event.decision), "test")
        self.bus.subscribe(RequestsTurnedAway, lambda event, _: self.told.append(event), "test")
        self.turnstile = Turnstile(Identity("validator", NETUID, VALIDATOR, "sr25519"), self.clock)
        self.turnstile.attach(self.bus)
        self.know(MINER, OTHER)
        self.nonce = self.clock.wall() * 1000

    def observe(self, event: Event) -> None:
        self.bus.publish(Injected(event) if isinstance(event, Decided) else event)

    def know(self, *members: Keypair) -> None:
        rows = (NeuronInfo(Uid(uid), Hotkey(keypair.ss58_address)) for uid, keypair in enumerate(members))
        self.observe(MetagraphSynced(tuple(rows)))

    def bar(self, network: str | None = "2001:db8::/64", seconds: float = 5.0) -> None:
        self.observe(NetworkBarred(network, Micros(self.clock.mono() + round(seconds * SECOND)), "too many failures"))

    def cause(self, remote: str = ADDRESS, claimed: Hotkey | None = None) -> str | None:
        barrier = self.turnstile.bar(remote, claimed)
        return None if barrier is None else barrier.cause

    def request(self, keypair: Keypair = MINER, **changes: Any) -> HttpRequestReceived:
        self.nonce += 1
        signed: dict[str, Any] = {
            "method": "GET",
            "path": TARGET,
            "receiver_ss58": VALIDATOR,
            "nonce_ns": self.nonce,
        } | changes
        headers = tuple((name.lower(), value) for name, value in http_auth.sign(keypair, **signed).items())
        return HttpRequestReceived(ConnectionId(1), "GET", TARGET, headers, ADDRESS, True, make_hex32())

    def proves(self, request: HttpRequestReceived, target: str = TARGET) -> bool:
        return self.turnstile.proves(request, target)

    def turn_away(self, remote: str = ADDRESS, claimed: Hotkey | None = None) -> int:
        barrier = self.turnstile.bar(remote, claimed)
        assert barrier is not None
        return self.turnstile.turn_away(barrier)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.turnstile.close()


async def test_who_is_not_barred_passes(bench: Bench) -> None:
    assert bench.cause() is None
    bench.bar()
    assert bench.cause(ELSEWHERE) is None


async def test_a_network_is_barred_for_a_time_with_all_its_addresses(bench: Bench) -> None:
    bench.bar()
    barrier = bench.turnstile.bar(NEIGHBOUR, HOTKEY)
    assert barrier is not None
    assert (barrier.cause, barrier.network, barrier.reason) == ("network", "2001:db8::/64", "too many failures")
    bench.clock.advance(Micros(5 * SECOND))
    assert bench.cause(NEIGHBOUR) is None


async def test_all_networks_can_be_barred(bench: Bench) -> None:
    bench.bar(None)
    bench.bar("10.0.0.9")
    assert (bench.cause(), bench.cause("10.0.0.9")) == ("everybody", "network")


async def test_a_hotkey_is_barred_wherever_it_comes_from_and_no_signature_opens_that(bench: Bench) -> None:
    bench.observe(HotkeyBarred(HOTKEY, Micros(bench.clock.mono() + SECOND), "too many requests"))
    assert (bench.cause(ELSEWHERE, HOTKEY), bench.cause(ELSEWHERE)) == ("hotkey", None)
    barrier = bench.turnstile.bar(ELSEWHERE, HOTKEY)
    assert barrier is not None
    assert not barrier.lets_members_in
    bench.bar()
    bench.clock.advance(Micros(SECOND))
    barrier = bench.turnstile.bar(ADDRESS, HOTKEY)
    assert barrier is not None
    assert barrier.lets_members_in


async def test_bars_that_are_over_are_forgotten(bench: Bench) -> None:
    for number in range(100):
        bench.bar(f"10.0.0.{number}", seconds=1)
        bench.clock.advance(Micros(SECOND))
    assert len(bench.turnstile._networks) == 1  # noqa: SLF001


async def test_other_limits_open_the_door_again(bench: Bench) -> None:
    bench.bar()
    bench.observe(HotkeyBarred(HOTKEY, Micros(bench.clock.mono() + SECOND), "too many requests"))
    bench.observe(SettingsReloaded({}, (), ()))
    assert (bench.cause(), bench.cause(claimed=HOTKEY)) == (None, None)


# --- who has signed


async def test_a_request_that_a_hotkey_of_the_subnet_has_signed_passes_once(bench: Bench) -> None:
    assert bench.turnstile.is_member(HOTKEY)
    for keypair in (MINER, OTHER):
        request = bench.request(keypair)
        assert bench.proves(request)
        assert not bench.proves(request)


async def test_the_target_that_was_sent_is_what_is_signed(bench: Bench) -> None:
    sent = f"{TARGET}&token=x"
    assert bench.proves(replace(bench.request(path=sent), target=f"{TARGET}&other=hidden"), sent)


async def test_no_other_request_passes(bench: Bench) -> None:
    stranger = Hotkey(STRANGER.ss58_address)
    assert not bench.turnstile.is_member(stranger)
    assert not bench.turnstile.is_member(None)
    forged = bench.request(STRANGER)
    named = dict(forged.headers) | {"x-bittensor-hotkey": HOTKEY}
    requests = {
        "a stranger's": bench.request(STRANGER),
        "forged": replace(forged, headers=tuple(named.items())),
        "for another validator": bench.request(receiver_ss58=HOTKEY),
        "for another target": bench.request(path="/games?netuid=30"),
        "old": bench.request(nonce_ns=bench.nonce - 11_000_000_000),
        "from the future": bench.request(nonce_ns=bench.nonce + 3_000_000_000),
        "without headers": replace(forged, headers=()),
        "of no scheme": replace(forged, headers=tuple((named | {"x-bittensor-crypto": "mldsa"}).items())),
    }
    assert [name for name, request in requests.items() if bench.proves(request)] == []
    assert bench.proves(bench.request())


async def test_a_hotkey_passes_so_often_and_others_cannot_use_that_up(bench: Bench) -> None:
    forged = bench.request(receiver_ss58=HOTKEY)
    for _ in range(round(PASSES_AT_ONCE)):
        assert not bench.proves(forged)
        assert bench.proves(bench.request())
    assert not bench.proves(bench.request())
    assert bench.proves(bench.request(OTHER))
    bench.clock.advance(Micros(SECOND))
    assert bench.proves(bench.request())


async def test_nothing_is_kept_of_hotkeys_that_are_gone(bench: Bench) -> None:
    assert bench.proves(bench.request())
    bench.clock.advance(Micros(100 * SECOND))
    bench.know(OTHER)
    assert (bench.turnstile._passes, bench.turnstile._nonces) == ({}, {})  # noqa: SLF001
    assert not bench.proves(bench.request(nonce_ns=bench.clock.wall() * 1000))


# --- what is told


async def test_requests_that_are_turned_away_are_told_together(bench: Bench) -> None:
    bench.bar()
    bench.bar("10.0.0.9", seconds=2.5)
    bench.observe(HotkeyBarred(HOTKEY, Micros(bench.clock.mono() + SECOND // 2), "too many requests"))
    assert [bench.turn_away() for _ in range(3)] == [5, 5, 5]
    assert bench.turn_away("10.0.0.9") == 3
    assert bench.turn_away(claimed=HOTKEY) == 1
    bench.clock.advance(Micros(SECOND))
    assert bench.told == []
    await bench.turnstile.pause()
    assert bench.told == [RequestsTurnedAway({"network": 4, "hotkey": 1}, 1.0, "2001:db8::/64", 4)]
    await bench.turnstile.pause()
    assert len(bench.told) == 1


async def test_they_are_told_soon(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "SUMMARY", 0.0)
    bench.bar()
    bench.turn_away()
    async with asyncio.timeout(5):
        while not bench.told:  # noqa: ASYNC110 - the timer has no event
            await asyncio.sleep(0)
    bench.turn_away()
    assert sum(bench.told[0].counts.values()) == 1


async def test_networks_are_counted_without_bound_by_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "MAX_REMOTES", 3)
    bench.bar(None)
    for number in range(9):
        bench.turn_away(f"10.0.0.{number}")
    assert len(bench.turnstile._by_network) == 3  # noqa: SLF001
    await bench.turnstile.pause()
    assert bench.told[0].counts == {"everybody": 9}


async def test_who_asks_for_the_health_too_often_gets_the_last_answer(bench: Bench) -> None:
    known = HttpAnswered(ConnectionId(1), 200, "{}")
    assert bench.turnstile.known_health() is None
    bench.turnstile.remember_health(known)
    answers = [bench.turnstile.known_health() for _ in range(round(CHECKS_AT_ONCE) + 5)]
    assert answers.count(None) == CHECKS_AT_ONCE - 1
    assert answers[-6:] == [known] * 6
    bench.clock.advance(Micros(SECOND))
    assert bench.turnstile.known_health() is None
