"""The connections of a public port whose peers have not proven who they are.

Everyone may open them, so they are few: in all, and of one network. If one more comes than there may be, the oldest
one leaves; an honest peer is recognised, or has its answer, within milliseconds.
"""

from typing import Protocol


class Guest(Protocol):
    """One connection."""

    def abort(self) -> None:
        """End it at once."""


class Strangers:
    """Guests of whom nothing is known. The oldest leaves if there is no room, a preferred one last."""

    def __init__(self, most: int, most_of_network: int) -> None:
        """
        Args:
            most: guests in all.
            most_of_network: guests of one network.
        """
        self._most = most
        self._most_of_network = most_of_network
        self._networks: dict[Guest, str] = {}
        self._by_network: dict[str, dict[Guest, None]] = {}
        self._others: dict[Guest, None] = {}
        self._preferred: dict[Guest, None] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, guest: Guest) -> bool:
        return guest in self._networks

    def enter(self, guest: Guest, network: str, *, preferred: bool = False) -> Guest | None:
        """Let ``guest`` in; returns the guest that has to leave for it, if any.

        Args:
            guest: not here yet.
            network: as ``network_of`` has it.
            preferred: it leaves for a guest of another network only if there is no other guest.
        """
        neighbours = self._by_network.get(network, {})
        leaving: Guest | None = None
        if len(neighbours) >= self._most_of_network:
            leaving = next(iter(neighbours))
        elif len(self) >= self._most:
            leaving = self.oldest()
        if leaving is not None:
            self.leave(leaving)
        self._networks[guest] = network
        self._by_network.setdefault(network, {})[guest] = None
        (self._preferred if preferred else self._others)[guest] = None
        return leaving

    def oldest(self) -> Guest | None:
        """The guest that is to leave next."""
        return next(iter(self._others), None) or next(iter(self._preferred), None)

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
