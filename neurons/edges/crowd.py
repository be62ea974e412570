"""The connections of a public port, and who of them has to leave if there is no room.

Anyone may open a connection, so those whose peers have not proven a registered hotkey are few: in all, and of one
network. If one more comes than there may be, the oldest of them leaves; an honest peer has its answer, or is
recognised, within milliseconds. In a storm of connections from many networks these are too many: then those from
networks at which registered hotkeys have proven themselves stay longest.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from bettensor.actors.settings import PortLimits
from bettensor.bus.addresses import network_of
from bettensor.bus.identifiers import Hotkey

SPARE_FILES: Final = 256
"""Open files that a neuron needs besides the connections of its public port."""
MAX_HOMES: Final = 256
"""Hotkeys whose network is remembered: as many as a subnet has neurons."""
_MOST_STRANGERS: Final = 1024
_MOST_OF_NETWORK: Final = 256
"""As many as a subnet has neurons: all of them may come at once through one proxy."""
_LEAST: Final = 16
"""Connections of any kind that there may be, however few files the system allows."""

Shed = Callable[[str, int, str], None]
"""Hears that a connection has to leave: the key of the limit in the section ``limits``, its value, and the network."""


class Room(NamedTuple):
    """How many connections there may be."""

    connections: int
    strangers: int
    strangers_per_network: int
    connections_per_hotkey: int
    handshakes: int
    handshakes_per_network: int
    unadmitted_bytes: int


def room_of(limits: PortLimits, files: int) -> Room:
    """The limits in force: those that are not configured follow from the open files that the system allows.

    Args:
        limits: as configured.
        files: open files that this process may have.
    """
    left = max(4 * _LEAST, files - SPARE_FILES)
    strangers = limits.strangers or min(_MOST_STRANGERS, max(1, min(limits.connections or left, left) // 4))
    of_network = limits.strangers_per_network or max(_LEAST, min(_MOST_OF_NETWORK, strangers // 2))
    handshakes = limits.handshakes or _handshakes(strangers)
    return Room(
        connections=min(limits.connections or left, max(_LEAST, left - handshakes)),
        strangers=strangers,
        strangers_per_network=of_network,
        connections_per_hotkey=limits.connections_per_hotkey,
        handshakes=handshakes,
        handshakes_per_network=limits.handshakes_per_network or max(_LEAST, of_network // 4),
        unadmitted_bytes=limits.unadmitted_bytes,
    )


def files_for(limits: PortLimits, sessions: int) -> int:
    """The open files with which a neuron has room for so many sessions, and for strangers beside them."""
    strangers = limits.strangers or _MOST_STRANGERS
    handshakes = limits.handshakes or _handshakes(strangers)
    return SPARE_FILES + handshakes + max(4 * strangers, strangers + sessions)


def _handshakes(strangers: int) -> int:
    return max(_LEAST, strangers // 4)


class Guest(Protocol):
    """One connection."""

    def abort(self) -> None:
        """End it at once, and leave the crowd."""


class Strangers:
    """Guests of whom nothing is known. The oldest leaves if there is no room, a preferred one last."""

    def __init__(self, name: str, most: int, most_of_network: int, shed: Shed) -> None:
        """
        Args:
            name: the key of the limit; that of the limit of one network ends in ``_per_network``.
            most: guests in all.
            most_of_network: guests of one network.
            shed: hears of each guest that has to leave.
        """
        self._name = name
        self._most = most
        self._most_of_network = most_of_network
        self._shed = shed
        self._networks: dict[Guest, str] = {}
        self._by_network: dict[str, dict[Guest, None]] = {}
        self._others: dict[Guest, None] = {}
        self._preferred: dict[Guest, None] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._networks

    def enter(self, guest: Guest, network: str, *, preferred: bool = False) -> None:
        """Let ``guest`` in. If there is no room, another one leaves.

        Args:
            guest: not here yet.
            network: as ``network_of`` has it.
            preferred: it leaves for a guest of another network only if there is no other guest.
        """
        neighbours = self._by_network.get(network, {})
        if len(neighbours) >= self._most_of_network:
            self.send_away(next(iter(neighbours)), f"{self._name}_per_network", self._most_of_network)
        elif len(self) >= self._most:
            self.send_oldest_away(self._name, self._most)
        self._networks[guest] = network
        self._by_network.setdefault(network, {})[guest] = None
        (self._preferred if preferred else self._others)[guest] = None

    def send_oldest_away(self, limit: str, most: int) -> bool:
        """Make one leave for ``limit``, which is ``most``; False if there is none."""
        oldest = next(iter(self._others), None) or next(iter(self._preferred), None)
        if oldest is None:
            return False
        self.send_away(oldest, limit, most)
        return True

    def send_away(self, guest: Guest, limit: str, most: int) -> None:
        """Make ``guest``, who is here, leave for ``limit``, which is ``most``."""
        self._shed(limit, most, self._networks[guest])
        self.leave(guest)
        guest.abort()

    def leave(self, guest: Guest) -> None:
        """Forget ``guest``, if it is here."""
        network = self._networks.pop(guest, None)
        if network is None:
            return
        neighbours = self._by_network[network]
        del neighbours[guest]
        if not neighbours:
            del self._by_network[network]
        self._others.pop(guest, None)
        self._preferred.pop(guest, None)


class Crowd:
    """All connections of a port."""

    def __init__(self, room: Room, shed: Shed) -> None:
        """
        Args:
            room: how many there may be.
            shed: hears of each guest that has to leave.
        """
        self._room = room
        self._shed = shed
        self._strangers = Strangers("strangers", room.strangers, room.strangers_per_network, shed)
        self._held: dict[Guest, int] = {}
        """The bytes that strangers make us hold; who holds some for longest is the first."""
        self._held_by_all = 0
        self._known: dict[Guest, Hotkey] = {}
        """Guests that have proven a hotkey, and have no session; the oldest first."""
        self._known_by_hotkey: dict[Hotkey, dict[Guest, None]] = {}
        self._sessions: set[Guest] = set()
        self._homes: dict[Hotkey, str] = {}
        """The network at which each hotkey has proven itself last; the one seen last is the last."""
        self._hotkeys_at: Counter[str] = Counter()
        self._networks: dict[Guest, str] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def enter(self, guest: Guest, remote: str) -> None:
        """A stranger comes in from the address ``remote``; others, or itself, leave if there is no room."""
        network = network_of(remote)
        if len(self) >= self._room.connections and not self._make_room():
            self._shed("connections", self._room.connections, network)
            guest.abort()
            return
        self._networks[guest] = network
        self._strangers.enter(guest, network, preferred=network in self._hotkeys_at)

    def move(self, guest: Guest, remote: str) -> None:
        """A proxy passes on what comes from the address ``remote`` now: somebody else, of whom nothing is known."""
        network = network_of(remote)
        if self._networks.get(guest, network) == network:
            return
        held = self._held.get(guest, 0)
        self._no_stranger(guest)
        self._forget_known(guest)
        self._networks[guest] = network
        self._strangers.enter(guest, network, preferred=network in self._hotkeys_at)
        if held:
            self.hold(guest, held)

    def hold(self, guest: Guest, size: int) -> None:
        """``guest`` makes us hold ``size`` bytes now. Who has held some for longest leaves if all hold too many."""
        if guest not in self._strangers:
            return
        self._held_by_all += size - self._held.get(guest, 0)
        self._held[guest] = size
        most = self._room.unadmitted_bytes
        while self._held_by_all > most:
            oldest = next(iter(self._held))
            self._forget_bytes(oldest)
            self._strangers.send_away(oldest, "unadmitted_bytes", most)

    def release(self, guest: Guest) -> None:
        """``guest`` makes us hold nothing any more."""
        self._forget_bytes(guest)

    def recognise(self, guest: Guest, hotkey: Hotkey) -> None:
        """``guest`` has proven a registered hotkey."""
        network = self._networks.get(guest)
        if network is None:
            return
        self._settle_home(hotkey, network)
        if guest not in self._strangers:
            return
        self._no_stranger(guest)
        of_hotkey = self._known_by_hotkey.setdefault(hotkey, {})
        if len(of_hotkey) >= self._room.connections_per_hotkey:
            self._shed("connections_per_hotkey", self._room.connections_per_hotkey, network)
            oldest = next(iter(of_hotkey))
            self._forget_known(oldest)
            oldest.abort()
        self._known[guest] = hotkey
        self._known_by_hotkey.setdefault(hotkey, {})[guest] = None

    def may_begin_session(self, guest: Guest) -> bool:
        """Whether a session of ``guest`` would leave room for strangers."""
        if len(self._sessions) < self._room.connections - self._room.strangers:
            return True
        self._shed("connections", self._room.connections, self._networks.get(guest, ""))
        return False

    def begin_session(self, guest: Guest) -> None:
        """``guest`` has a session from now on, and leaves for nobody."""
        if guest in self._networks:
            self._no_stranger(guest)
            self._forget_known(guest)
            self._sessions.add(guest)

    def leave(self, guest: Guest) -> None:
        """The connection has ended."""
        self._networks.pop(guest, None)
        self._no_stranger(guest)
        self._forget_known(guest)
        self._sessions.discard(guest)

    def _make_room(self) -> bool:
        most = self._room.connections
        if self._strangers.send_oldest_away("connections", most):
            return True
        oldest = next(iter(self._known), None)
        if oldest is None:
            return False
        self._shed("connections", most, self._networks[oldest])
        self._forget_known(oldest)
        oldest.abort()
        return True

    def _settle_home(self, hotkey: Hotkey, network: str) -> None:
        self._leave_home(hotkey)
        self._homes[hotkey] = network
        self._hotkeys_at[network] += 1
        if len(self._homes) > MAX_HOMES:
            self._leave_home(next(iter(self._homes)))

    def _leave_home(self, hotkey: Hotkey) -> None:
        network = self._homes.pop(hotkey, None)
        if network is None:
            return
        self._hotkeys_at[network] -= 1
        if not self._hotkeys_at[network]:
            del self._hotkeys_at[network]

    def _no_stranger(self, guest: Guest) -> None:
        self._strangers.leave(guest)
        self._forget_bytes(guest)

    def _forget_bytes(self, guest: Guest) -> None:
        self._held_by_all -= self._held.pop(guest, 0)

    def _forget_known(self, guest: Guest) -> None:
        hotkey = self._known.pop(guest, None)
        if hotkey is None:
            return
        of_hotkey = self._known_by_hotkey[hotkey]
        del of_hotkey[guest]
        if not of_hotkey:
            del self._known_by_hotkey[hotkey]
