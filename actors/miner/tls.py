"""How a miner connects to each validator: plainly, or by TLS and with whose certificate.

Trusts a key that the operator has pinned; else the key that the validator's signed welcome names; else the system's
roots, if the welcome names none. A refusal, or an answer that is no validator's, is only a hint: it makes the miner try
TLS, and never give TLS up. So nobody in between can talk a miner out of the TLS that its validator offers.
"""

from dataclasses import dataclass, field

from bettensor.actors.actor import Actor, on
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError
from bettensor.bus.events import DialFailed, NeuronStarted, PostFailed, Tls, TlsLearned
from bettensor.bus.identifiers import Hotkey

UNKNOWN_KEY = Tls()
"""TLS with a validator whose key its next welcome has to name."""


class Untrusted(BettensorError):
    """A miner must not go on with a connection; the message says why."""


@dataclass(slots=True)
class TlsKnowledge:
    """What is known of each validator's TLS in this run."""

    learned: dict[Hotkey, Tls | None] = field(default_factory=dict)
    """None: the last welcome came plainly, and offered no TLS."""
    hinted: dict[Hotkey, None] = field(default_factory=dict)
    """Validators at whose endpoint a plain request found something that may expect TLS."""
    is_of_0_1: bool = False
    """The run is of release 0.1.0, which knew no TLS."""


class TlsFollower(Actor):
    """Base of actors that connect to validators: ``state.tls`` is what they know, ``settings.tls`` what they may do."""

    @on(NeuronStarted)
    def begin_tls(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.tls.is_of_0_1 = event.is_of_0_1

    @on(TlsLearned)
    def learn_tls(self, event: TlsLearned, _: Envelope) -> None:
        self.state.tls.learned[event.validator] = event.tls
        self.state.tls.hinted.pop(event.validator, None)

    @on(DialFailed, PostFailed)
    def learn_from_trouble(self, event: DialFailed | PostFailed, _: Envelope) -> None:
        tls: TlsKnowledge = self.state.tls
        if event.tls == "wanted":
            tls.hinted[event.hotkey] = None
        elif event.tls == "handshake":
            tls.hinted.pop(event.hotkey, None)
        elif event.tls == "other_key" and event.hotkey in tls.learned:
            tls.learned[event.hotkey] = UNKNOWN_KEY  # perhaps it has a new one

    def tls_with(self, validator: Hotkey) -> Tls | None:
        """How to connect to ``validator`` now; None: plainly."""
        tls: TlsKnowledge = self.state.tls
        pinned = self._pinned_key(validator)
        if pinned:
            return Tls(pinned)
        if not self._uses_tls():
            return None
        learned = tls.learned.get(validator)
        if learned is None and (self.settings.tls.mode == "required" or validator in tls.hinted):
            return UNKNOWN_KEY
        return learned

    def may_tell(self, validator: Hotkey) -> bool:
        """Whether a first request may carry predictions: it is known whose key to expect, or that there is no TLS."""
        tls = self.tls_with(validator)
        if tls is None:
            return not self._uses_tls() or validator in self.state.tls.learned
        return tls != UNKNOWN_KEY

    def may_go_on(self, validator: Hotkey, shown: str) -> bool:
        """Whether the settings allow a connection whose other side has ``shown`` this key; empty: a plain one."""
        pinned = self._pinned_key(validator)
        return shown == pinned if pinned else shown != "" or self.settings.tls.mode != "required"

    def conclude(self, validator: Hotkey, named: str, shown: str, *, vouched: bool) -> Tls | None:
        """How to connect to ``validator`` from now on, by a signed welcome that came by TLS or plainly.

        Args:
            validator: whose welcome it is.
            named: the key that the welcome names; empty: none.
            shown: the key that was seen in the TLS handshake; empty: the connection is plain.
            vouched: whether the system's roots vouch for the certificate.

        Raises:
            Untrusted: the certificate is not the validator's, or the connection has to be by TLS.
        """
        pinned = self._pinned_key(validator)
        if not self.may_go_on(validator, shown):
            raise Untrusted("tls.mode or tls.keys asks for another connection with this validator")
        if pinned:
            return Tls(pinned)
        if not shown:
            return Tls(named) if named and self._uses_tls() else None
        if named and named != shown:
            raise Untrusted(f"the certificate is not the validator's: its key is {_cut(shown)}, not {_cut(named)}")
        if not named and not vouched:
            raise Untrusted(f"no welcome and no authority vouches for the certificate with the key {_cut(shown)}")
        return Tls(named) if named else Tls(roots=True)

    def tell_learned(self, validator: Hotkey, tls: Tls | None) -> None:
        """Publish how to connect from now on, if that is news."""
        knowledge: TlsKnowledge = self.state.tls
        is_known = validator in knowledge.learned and knowledge.learned[validator] == tls
        if not is_known and self._uses_tls():
            self.publish(TlsLearned(validator, tls))

    def _pinned_key(self, validator: Hotkey) -> str:
        key: str = "" if self.state.tls.is_of_0_1 else self.settings.tls.keys.get(validator, "")
        return key

    def _uses_tls(self) -> bool:
        uses: bool = self.settings.tls.mode != "off" and not self.state.tls.is_of_0_1
        return uses


def _cut(key: str) -> str:
    """Enough of a key to tell it from others: a reason has 123 bytes."""
    return f"{key[:12]}..."
