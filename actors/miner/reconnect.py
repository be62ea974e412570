"""When a miner dials (protocol, "Closing").

Knows each validator's endpoint, whether there is a session with it, and when the next try is due. Closes and refusals
are unsigned hints: none of them stops a miner for ever. Says so if there is no validator to dial.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

from bettensor.actors.actor import on, on_timer
from bettensor.actors.existing import LONGEST_WAIT, Existing, ExistingFollower
from bettensor.actors.miner.patience import PASSING, hinted_wait, longest_wait
from bettensor.actors.miner.targets import is_wanted, lack_of, wanted
from bettensor.actors.miner.tls import TlsFollower, TlsKnowledge
from bettensor.actors.settings import ChosenValidators, MinerTlsSettings, WebSocketSettings, settings_class
from bettensor.actors.stream import StreamFollower
from bettensor.bus.backoff import backoff, full_jitter
from bettensor.bus.codes import CloseCode, RefusalCode
from bettensor.bus.envelope import Envelope
from bettensor.bus.events import (
    ClockStepped,
    CloseRequested,
    ConnectionClosed,
    DialFailed,
    DialRequested,
    MetagraphSynced,
    NeuronStarted,
    NeuronStopping,
    Position,
    PostAnswered,
    ReconnectScheduled,
    SessionActivated,
    SettingsReloaded,
    Tls,
    TlsLearned,
    ValidatorsMissed,
)
from bettensor.bus.identifiers import ConnectionId, Hotkey, Micros, micros


class Reaction(StrEnum):
    """A miner's reaction to a close or a refusal."""

    BACK_OFF = "back off"
    """Exponentially, with full jitter."""
    WAIT = "wait"
    """``max_reconnect_interval``: trying sooner changes nothing, unless our own configuration or metagraph does."""
    RETURN = "return"
    """At once, with jitter: the validator asked for it."""


AFTER_CLOSE: Final[dict[int, Reaction]] = dict.fromkeys(range(4000, 4100), Reaction.WAIT) | {
    CloseCode.GOING_AWAY: Reaction.RETURN,
    CloseCode.PROTOCOL_ERROR: Reaction.WAIT,
    CloseCode.ABNORMAL: Reaction.BACK_OFF,
    CloseCode.INVALID_DATA: Reaction.WAIT,
    CloseCode.POLICY_VIOLATION: Reaction.WAIT,
    CloseCode.TOO_BIG: Reaction.WAIT,
    CloseCode.INTERNAL_ERROR: Reaction.BACK_OFF,
    CloseCode.SERVICE_RESTART: Reaction.RETURN,
    CloseCode.STALE: Reaction.BACK_OFF,
    CloseCode.SLOW_CONSUMER: Reaction.BACK_OFF,
    CloseCode.OVER_CAPACITY: Reaction.BACK_OFF,
    CloseCode.RATE_LIMITED: Reaction.BACK_OFF,
    CloseCode.REPLACED: Reaction.WAIT,
    CloseCode.RESTARTING: Reaction.RETURN,
}
"""By close code; 40xx says that the miner did something wrong. At any other code it backs off."""

AFTER_REFUSAL: Final[dict[int, Reaction]] = {
    400: Reaction.WAIT,
    401: Reaction.WAIT,
    403: Reaction.WAIT,
    404: Reaction.WAIT,
    429: Reaction.BACK_OFF,
    503: Reaction.BACK_OFF,
}
"""By HTTP status; at any other status the miner backs off."""

NO_VALIDATOR: Final = "the metagraph has no such validator any more"
NOBODY_TO_DIAL: Final = "this miner has no validator to connect to"
RETURN_WINDOW: Final = 2.0
"""Seconds over which miners spread when a validator restarts."""
RETURN_AFTER: Final = 10.0
"""Seconds that a session must have been open before a restart of its validator is a reason to return at once."""


@settings_class
class ReconnectSettings:
    """How eagerly a miner dials."""

    websocket: WebSocketSettings = field(default_factory=WebSocketSettings)
    tls: MinerTlsSettings = field(default_factory=MinerTlsSettings)
    validators: ChosenValidators = ChosenValidators()


@dataclass(slots=True)
class Target:
    """One validator that we want a session with."""

    endpoint: str
    connection: ConnectionId | None = None
    """The try, or the session, that is under way."""
    dialled: str = ""
    """The endpoint that was dialled; it may have moved since."""
    tls: Tls | None = None
    """How it was dialled."""
    failures: int = 0
    """In a row; the exponent of the back-off."""
    refusal: str = ""
    """The code with which the last try was refused; empty if it ended in another way."""
    is_existing: bool = False
    """It speaks Synapse alone, as far as the last try shows."""
    active_since: Micros | None = None
    interval: Micros = Micros(0)
    """The ceiling of the last back-off; a session that outlives it was a good one."""


@dataclass(slots=True)
class ReconnectState:
    """The validators to dial."""

    hotkey: Hotkey = Hotkey("")
    seed: int = 0
    draws: int = 0
    dialled: int = 0
    stopping: bool = False
    registered: bool = False
    """Whether the metagraph has this miner."""
    targets: dict[Hotkey, Target] = field(default_factory=dict)
    positions: dict[Hotkey, Position] = field(default_factory=dict)
    existing: dict[Hotkey, Existing] = field(default_factory=dict)
    tls: TlsKnowledge = field(default_factory=TlsKnowledge)
    lack: str = ""
    """Why there is no validator to dial."""
    is_of_0_1: bool = False
    """The miner tells of no lack, and waits after each refusal alike and as long as it says, as in release 0.1.0."""


class ReconnectActor(StreamFollower, ExistingFollower, TlsFollower):
    """Keeps a miner connected to its validators."""

    name = "reconnect"
    Settings = ReconnectSettings
    State = ReconnectState
    settings: ReconnectSettings
    state: ReconnectState

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey, self.state.seed = event.hotkey, event.seed
        self.state.is_of_0_1 = event.is_of_0_1

    @on(SettingsReloaded)
    def reload(self, event: SettingsReloaded, envelope: Envelope) -> None:
        """The WebSocket may be disabled and enabled while the miner runs."""
        super().reload(event, envelope)
        for hotkey, target in self.state.targets.items():
            if target.connection is None:
                self._dial(hotkey, target)
            elif not self.settings.websocket.enabled:
                self._switch_off(target.connection)

    @on(NeuronStopping)
    def stop(self, _: NeuronStopping, __: Envelope) -> None:
        self.state.stopping = True

    @on(MetagraphSynced)
    def choose(self, event: MetagraphSynced, _: Envelope) -> None:
        """Dial validators that are new or have moved; a change of a validator, or of this miner, also ends back-off."""
        news = dict.fromkeys(event.changed)
        self.state.registered = any(neuron.hotkey == self.state.hotkey for neuron in event.neurons)
        self._tell_of_lack(event)
        self._leave_others(event)
        for neuron, endpoint in wanted(event.neurons, self.settings.validators, self.state.hotkey):
            is_new = neuron.hotkey not in self.state.targets
            target = self.state.targets.setdefault(neuron.hotkey, Target(endpoint))
            if target.endpoint != endpoint:
                self._follow(target, endpoint)
            if target.connection is None and (is_new or neuron.hotkey in news or self.state.hotkey in news):
                self._dial(neuron.hotkey, target)

    @on(SessionActivated)
    def note_session(self, event: SessionActivated, envelope: Envelope) -> None:
        """Keep the session, unless the reason for dialling has changed meanwhile."""
        target = self.state.targets.get(event.hotkey)
        if target is None:
            self.publish(CloseRequested(event.connection, CloseCode.NORMAL, NO_VALIDATOR))
            return
        target.active_since, target.refusal, target.is_existing = envelope.mono, "", False
        if target.dialled != target.endpoint:  # it has moved meanwhile
            self._follow(target, target.endpoint)
            self._dial(event.hotkey, target)
        elif not self.settings.websocket.enabled:  # it was dialled before that
            self._switch_off(event.connection)

    @on(TlsLearned)
    def dial_by_tls(self, event: TlsLearned, _: Envelope) -> None:
        """A plain session that has said nothing yet is left for one by TLS."""
        target = self.state.targets.get(event.validator)
        if target is None or target.connection is None or target.active_since is not None:
            return
        if target.tls is None and event.tls is not None:
            target.connection = None
            self._dial(event.validator, target)

    @on(ConnectionClosed)
    def reconnect(self, event: ConnectionClosed, envelope: Envelope) -> None:
        found = self._target_of(event.connection)
        if found is None:
            return
        hotkey, target = found
        lived = 0 if target.active_since is None else envelope.mono - target.active_since
        was_good = event.code != CloseCode.RATE_LIMITED or self.state.is_of_0_1
        if lived > target.interval and was_good:
            target.failures = 0
        target.refusal = ""
        answer = AFTER_CLOSE.get(event.code, Reaction.BACK_OFF)
        if answer is Reaction.RETURN and lived < micros(RETURN_AFTER) and not self.state.is_of_0_1:
            answer = Reaction.BACK_OFF  # it would be dialled every second for ever
        self._schedule(hotkey, target, answer, f"closed with {event.code} {event.reason}".rstrip(), envelope.mono)

    @on(DialFailed)
    def retry(self, event: DialFailed, envelope: Envelope) -> None:
        found = self._target_of(event.connection)
        if found is None:
            return
        hotkey, target = found
        if event.tls in ("wanted", "other_key") and self.tls_with(hotkey) != target.tls:
            target.connection = None
            self._dial(hotkey, target)  # in another way, so this is no repetition
            return
        target.refusal = "" if self.state.is_of_0_1 else event.code
        answer = Reaction.BACK_OFF if event.status is None else AFTER_REFUSAL.get(event.status, Reaction.BACK_OFF)
        if target.refusal == RefusalCode.NOT_REGISTERED and self.state.registered:
            answer = Reaction.BACK_OFF  # our metagraph knows better: the validator reads the chain because we knocked
        elif target.refusal in PASSING:
            answer = Reaction.BACK_OFF
        target.is_existing = self.speaks_synapse_alone(event, envelope.mono)
        at_least = hinted_wait(event.retry_after, self._longest_hint)
        self._schedule(hotkey, target, answer, event.reason, envelope.mono, at_least)

    @on(PostAnswered)
    def dial_as_ours(self, event: PostAnswered, envelope: Envelope) -> None:
        """One that was taken for an existing validator answers by HTTP: its WebSocket need not wait for an hour."""
        target = self.state.targets.get(event.hotkey)
        if target is not None and target.is_existing:
            target.is_existing, target.failures = False, 0
            if target.connection is None:
                self._schedule(event.hotkey, target, Reaction.BACK_OFF, "it answers by HTTP", envelope.mono)

    @on(ClockStepped)
    def sign_anew(self, _: ClockStepped, __: Envelope) -> None:
        """Dial at once where the clock was the reason for the refusal: it may be right now."""
        for hotkey, target in self.state.targets.items():
            if target.connection is None and target.refusal == RefusalCode.STALE:
                target.failures = 0
                self._dial(hotkey, target)

    @on_timer("dial")
    def try_again(self, hotkey: Hotkey, _: Envelope) -> None:
        target = self.state.targets.get(hotkey)
        if target is not None and target.connection is None:
            self._dial(hotkey, target)

    @property
    def _longest_hint(self) -> float:
        return inf if self.state.is_of_0_1 else self.settings.websocket.max_reconnect_interval

    def _switch_off(self, connection: ConnectionId) -> None:
        self.publish(CloseRequested(connection, CloseCode.NORMAL, "the WebSocket was disabled"))

    def _tell_of_lack(self, event: MetagraphSynced) -> None:
        if self.state.is_of_0_1:
            return
        lack = lack_of(event.neurons, self.settings.validators, self.state.hotkey)
        reason, cure = ("", "") if lack is None else (f"{NOBODY_TO_DIAL}: {lack.reason}", lack.cure)
        if reason != self.state.lack:
            self.state.lack = reason
            self.publish(ValidatorsMissed(reason, cure))

    def _leave_others(self, event: MetagraphSynced) -> None:
        """Forget neurons that are no longer validators, or not in the subnet."""
        welcome = [neuron.hotkey for neuron in event.neurons if is_wanted(neuron, self.settings.validators)]
        for hotkey in [hotkey for hotkey in self.state.targets if hotkey not in welcome]:
            self.cancel_timer("dial", hotkey)
            target = self.state.targets.pop(hotkey)
            if target.connection is not None:
                self.publish(CloseRequested(target.connection, CloseCode.NORMAL, NO_VALIDATOR))

    def _follow(self, target: Target, endpoint: str) -> None:
        """Expect it at ``endpoint`` from now on; a session with its old address may be half-open for minutes."""
        target.endpoint, target.failures = endpoint, 0
        if target.connection is not None and target.active_since is not None:
            self.publish(CloseRequested(target.connection, CloseCode.NORMAL, f"the validator has moved to {endpoint}"))
            target.connection = None

    def _target_of(self, connection: ConnectionId) -> tuple[Hotkey, Target] | None:
        for hotkey, target in self.state.targets.items():
            if target.connection == connection:
                return hotkey, target
        return None

    def _dial(self, hotkey: Hotkey, target: Target) -> None:
        if self.state.stopping or not self.settings.websocket.enabled:
            return
        self.cancel_timer("dial", hotkey)
        self.state.dialled += 1
        target.connection = ConnectionId(self.state.dialled)
        target.active_since, target.dialled, target.tls = None, target.endpoint, self.tls_with(hotkey)
        position = self.state.positions.get(hotkey)
        self.publish(DialRequested(target.connection, hotkey, target.endpoint, position, target.tls))

    def _schedule(
        self, hotkey: Hotkey, target: Target, answer: Reaction, reason: str, now: Micros, at_least: float = 0
    ) -> None:
        target.connection = None
        if self.state.stopping or not self.settings.websocket.enabled:
            return
        delay = micros(max(self._delay(target, answer), at_least))
        self.publish(ReconnectScheduled(hotkey, delay, reason))
        self.set_timer("dial", Micros(now + delay), hotkey)

    def _delay(self, target: Target, answer: Reaction) -> float:
        """Seconds until the next try."""
        longest = longest_wait(target.refusal, self.settings.websocket.max_reconnect_interval)
        longest = max(longest, LONGEST_WAIT) if target.is_existing else longest
        if answer is Reaction.WAIT:
            return longest
        if answer is Reaction.RETURN:
            target.failures, target.interval = 0, Micros(0)
            return self._jitter(min(RETURN_WINDOW, self.settings.websocket.reconnect_base_interval))
        ceiling = backoff(self.settings.websocket.reconnect_base_interval, longest, target.failures)
        target.failures += 1
        target.interval = micros(ceiling)
        return self._jitter(ceiling)

    def _jitter(self, ceiling: float) -> float:
        self.state.draws += 1
        return full_jitter(self.state.seed, self.state.draws, ceiling)
