"""Turns requests away at the door, without an event for each: a flood of them may cost neither the log nor the neuron.

Knows whom the auth actor has barred, and who is in the subnet. Bars nobody by itself. A request of a barred network
passes if a hotkey of the subnet has signed it: behind one address there may be honest miners too.
"""

import asyncio
from collections import Counter
from typing import Final, NamedTuple, TypeVar

from bettensor.actors.budget import MAX_REMOTES, Budget, budget_of
from bettensor.actors.nonces import Nonces, accept_nonce, forget_past_nonces
from bettensor.actors.schemes import DEFAULT, SCHEMES
from bettensor.actors.validator.auth import CLAIMED, MAX_AGE, MAX_SKEW, age_of
from bettensor.bus.addresses import network_of
from bettensor.bus.clock import Clock
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    BarCause,
    HotkeyBarred,
    HttpAnswered,
    HttpRequestReceived,
    MetagraphSynced,
    NetworkBarred,
    RequestsTurnedAway,
    SettingsReloaded,
)
from bettensor.bus.identifiers import SECOND, Hotkey, Micros
from bettensor.neurons.edges.edge import Edge, Identity, on
from bettensor.neurons.edges.keys import verify_request

SUMMARY: Final = 1.0
"""Seconds of which one event tells the requests that were turned away."""
PASSES_PER_SECOND: Final = 20.0
PASSES_AT_ONCE: Final = 100.0
"""Signed requests of one hotkey that pass a barred door: each becomes an event, whatever is decided about it."""
CHECKS_PER_SECOND: Final = 10.0
CHECKS_AT_ONCE: Final = 20.0
"""Requests for the health of this validator that become events; further ones get the last answer."""
Party = TypeVar("Party")


class Barrier(NamedTuple):
    """Why a request is turned away, unless it proves that it need not be."""

    cause: BarCause
    network: str
    until: Micros
    reason: str

    @property
    def lets_members_in(self) -> bool:
        """Whether the signature of a hotkey of the subnet opens it."""
        return self.cause != "hotkey"


class _Ban(NamedTuple):
    until: Micros
    reason: str


class Turnstile(Edge):
    """The listener asks it about each request before it publishes one."""

    name = "turnstile"

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock
        self._networks: dict[str | None, _Ban] = {}
        """None: the ban of all networks."""
        self._hotkeys: dict[Hotkey, _Ban] = {}
        self._members: frozenset[Hotkey] = frozenset()
        self._nonces: dict[Hotkey, Nonces] = {}
        """Of requests that have passed a barred door."""
        self._passes: dict[Hotkey, Budget] = {}
        self._checks = Budget(CHECKS_AT_ONCE, clock.mono())
        self._health: HttpAnswered | None = None
        self._counts: Counter[BarCause] = Counter()
        self._by_network: Counter[str] = Counter()
        self._began = Micros(0)
        self._timer: asyncio.TimerHandle | None = None

    # --- what is known

    @on(NetworkBarred)
    def bar_network(self, event: NetworkBarred, envelope: Envelope) -> None:
        _add(self._networks, event.network, _Ban(event.until, event.reason), envelope.mono)

    @on(HotkeyBarred)
    def bar_hotkey(self, event: HotkeyBarred, envelope: Envelope) -> None:
        _add(self._hotkeys, event.hotkey, _Ban(event.until, event.reason), envelope.mono)

    @on(SettingsReloaded)
    def open_again(self, _: SettingsReloaded, __: Envelope) -> None:
        """The limits may be others now: the actor bars again whom they bar."""
        self._networks.clear()
        self._hotkeys.clear()

    @on(MetagraphSynced)
    def know_members(self, event: MetagraphSynced, envelope: Envelope) -> None:
        self._members = frozenset(neuron.hotkey for neuron in event.neurons)
        self._passes = {hotkey: budget for hotkey, budget in self._passes.items() if hotkey in self._members}
        forget_past_nonces(self._nonces, envelope.at, envelope.mono, MAX_AGE)

    # --- what the listener asks

    def bar(self, remote: str, claimed: Hotkey | None) -> Barrier | None:
        """What stands in the way of a request from ``remote`` that says it is ``claimed``'s; None for most."""
        if not self._networks and not self._hotkeys:
            return None
        now = self._clock.mono()
        network = network_of(remote)
        of_hotkey = None if claimed is None else self._hotkeys.get(claimed)
        if of_hotkey is not None and now < of_hotkey.until:
            return Barrier("hotkey", network, *of_hotkey)
        of_network, of_all = self._networks.get(network), self._networks.get(None)
        if of_network is not None and now < of_network.until:
            return Barrier("network", network, *of_network)
        if of_all is not None and now < of_all.until:
            return Barrier("everybody", network, *of_all)
        return None

    def is_member(self, claimed: Hotkey | None) -> bool:
        """Whether a hotkey of the subnet is claimed, so that it is worth while to look at the signature."""
        return claimed in self._members

    def proves(self, request: HttpRequestReceived, target: str) -> bool:
        """Whether a hotkey of the subnet has signed this request just now, and has passed a barred door with no other
        of the same nonce, nor with too many.

        Args:
            request: of any form.
            target: as it was sent.
        """
        header = dict(request.headers)
        hotkey = Hotkey(header.get(CLAIMED, ""))
        scheme = SCHEMES.get(header.get("x-bittensor-crypto", DEFAULT))
        at, now = self._clock.wall(), self._clock.mono()
        if hotkey not in self._members or scheme is None:
            return False
        passes = budget_of(self._passes, hotkey, now, PASSES_AT_ONCE, MAX_REMOTES)
        if passes.refill(now, PASSES_PER_SECOND, PASSES_AT_ONCE) < 1:
            return False
        if not verify_request(request, self._identity.hotkey, scheme, target):
            return False
        nonce = header["x-bittensor-nonce"]  # which is a number, if the request is signed
        if not -MAX_SKEW <= age_of(nonce, at) <= MAX_AGE:
            return False
        passes.spend(now, PASSES_PER_SECOND, PASSES_AT_ONCE)
        return accept_nonce(self._nonces, hotkey, nonce, at, now, MAX_AGE)

    def turn_away(self, bar: Barrier) -> int:
        """Count a request that is turned away; returns the seconds after which its sender may come again."""
        now = self._clock.mono()
        self._counts[bar.cause] += 1
        if bar.network in self._by_network or len(self._by_network) < MAX_REMOTES:
            self._by_network[bar.network] += 1
        if self._timer is None:
            self._began = now
            self._timer = asyncio.get_running_loop().call_later(SUMMARY, self._tell)
        return max(1, -(-(bar.until - now) // SECOND))

    def known_health(self) -> HttpAnswered | None:
        """The last answer about the health of this validator; None if it is to be asked for another one."""
        if self._checks.spend(self._clock.mono(), CHECKS_PER_SECOND, CHECKS_AT_ONCE):
            return None
        return self._health

    def remember_health(self, answer: HttpAnswered) -> None:
        """Keep an answer for those who ask too often."""
        self._health = answer

    async def pause(self) -> None:
        """Tell what has not been told."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell()

    async def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        counts, self._counts = dict(self._counts), Counter()
        ((network, most),) = self._by_network.most_common(1)
        self._by_network.clear()
        self._bus.publish(RequestsTurnedAway(counts, (self._clock.mono() - self._began) / SECOND, network, most))


def _add(bans: dict[Party, _Ban], party: Party, ban: _Ban, now: Micros) -> None:
    """Add a ban, and drop those that are over, as far as they are the oldest."""
    bans.pop(party, None)
    bans[party] = ban
    while (oldest := next(iter(bans))) != party and bans[oldest].until <= now:
        del bans[oldest]
