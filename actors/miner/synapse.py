"""Answers existing validators, which ask a miner over Synapse (docs/synapse.md).

Judges the head of each request before its body is read: what costs nothing comes first, the signature late. A body is
signed by nobody, so nothing in it says who asks: that is the hotkey that signed the head. A slate that comes this way
is a snapshot like any other, and the model and the outbox do the rest.
"""

import re
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple

from bettensor.actors.actor import Actor, on, on_timer
from bettensor.actors.budget import MAX_REMOTES, Budget, budget_of, is_spent
from bettensor.actors.miner.targets import is_wanted
from bettensor.actors.nonces import Nonces, accept_nonce
from bettensor.actors.schemes import pinned_scheme
from bettensor.actors.settings import (
    AuthSettings,
    ChosenValidators,
    MinerSynapseSettings,
    Positive,
    Rate,
    Seconds,
    settings_class,
)
from bettensor.bus.envelope import Envelope
from bettensor.bus.errors import BettensorError
from bettensor.bus.events import (
    CloseRequested,
    ConnectionClosed,
    GamesUpdated,
    MetagraphSynced,
    MinerStatsReported,
    ModelAnswered,
    NeuronDraining,
    NeuronInfo,
    NeuronStarted,
    NeuronStopping,
    OutboxOpened,
    PeerMisbehaved,
    PendingRequested,
    QueryAdmitted,
    QueryAnswered,
    QueryEnded,
    QueryReceived,
    QueryRefused,
    QueryUnreadable,
    QueryVerificationRequested,
    SessionActivated,
    SignatureChecked,
    SlateQueried,
    VerdictsConfirmed,
)
from bettensor.bus.games import TeamGame, start_of
from bettensor.bus.identifiers import SECOND, ConnectionId, GameId, Hotkey, Micros, Offset, Uid, micros
from bettensor.bus.messages import MAX_SLATE
from bettensor.bus.redaction import HIDDEN
from bettensor.bus.synapse import BODY_HASH, MAX_NAME, NAME, PATH, SYNAPSE_EPOCH, signed_text

MAX_AGE: Final = Micros(24 * SECOND)
"""How old a request may be, whatever its ``timeout`` says: a Dendrite gives up after 12 or 20 s."""
MAX_SKEW: Final = Micros(5 * SECOND)
"""How far ahead of our clock its sender's may be."""
KNOWN_FOR: Final = Micros(3600 * SECOND)
"""How long a verified validator has a budget of its own for failures: existing validators ask every 8 minutes."""
KNOWN_FACTOR: Final = 20
"""How many times the failures of a stranger's IP address that budget allows: verifying them costs 2 % of a core."""
MAX_OPEN: Final = 4
"""Requests of one validator that may be under way: an existing one sends one at a time."""

_SIGNED: Final = ("bt_header_dendrite_nonce", "bt_header_dendrite_uuid", "bt_header_dendrite_hotkey")
_SIGNATURE: Final = "bt_header_dendrite_signature"
_HASH: Final = "computed_body_hash"
_ADDRESS: Final = re.compile(r"5[1-9A-Za-z]{47}")
_FORMS: Final = {
    "bt_header_dendrite_nonce": (re.compile(r"[0-9]{1,20}"), "a decimal number of nanoseconds"),
    "bt_header_dendrite_uuid": (re.compile(rf"[0-9A-Za-z_-]{{1,{MAX_NAME}}}"), "a uuid"),
    "bt_header_dendrite_hotkey": (_ADDRESS, "an ss58 address"),
    _SIGNATURE: (re.compile(r"0x[0-9a-fA-F]{128}"), "0x and 128 hex digits"),
}
DROPPED: Final = (
    "headers with underscores are missing: if a proxy such as nginx stands in front, set underscores_in_headers on"
)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_RECEIVER: Final = "bt_header_axon_hotkey"
_ONLY_SEEN: Final = re.compile("(?!)")
READ: Final[dict[str, re.Pattern[str]]] = {
    **{name: form for name, (form, _) in _FORMS.items()},
    _RECEIVER: _ADDRESS,
    _HASH: re.compile(BODY_HASH),
    "content-length": _LENGTH,
    "content-encoding": _ONLY_SEEN,
    "transfer-encoding": _ONLY_SEEN,
    # must occur once, as all of a Dendrite's
    "bt_header_axon_ip": _ONLY_SEEN,
    "bt_header_axon_port": _ONLY_SEEN,
    "bt_header_dendrite_ip": _ONLY_SEEN,
    "bt_header_dendrite_version": _ONLY_SEEN,
}
"""By name, the headers that are read here, and the form of a value that counts. Of some it only counts that they are
there."""


class Inadmissible(BettensorError):
    """A request that is not admitted, and why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Claims(NamedTuple):
    """What the head of a request says, none of it verified."""

    nonce: str
    uuid: str
    hotkey: Hotkey
    signature: bytes
    receiver: Hotkey | None


@settings_class
class MinerSynapseActorSettings:
    """The limits of requests that come over Synapse."""

    synapse: MinerSynapseSettings = field(default_factory=MinerSynapseSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    validators: ChosenValidators = ChosenValidators()
    requests_per_second: Rate = 5.0
    """Requests per second that one validator may send in the long run; further requests are answered with 429."""
    request_burst: Positive = 50.0
    """Requests that one validator may send at once after a silence."""
    failures_per_second: Rate = 10.0
    """Failed requests per second that one IP address may send in the long run. If it sends more, its requests are
    answered with 429, and their signatures are not verified."""
    failure_burst: Positive = 100.0
    """Failed requests that one IP address may send at once after a silence."""
    model_timeout: Seconds = 5.0
    """If the model takes more seconds than this for a new slate, the answer has the earlier predictions alone."""


@dataclass(slots=True)
class Question:
    """A request whose signature is being checked, or that is admitted and has no answer yet."""

    hotkey: Hotkey
    remote: str
    nonce: str
    admitted: bool = False
    awaits_model: bool = False


@dataclass(slots=True)
class Known:
    """A validator that was verified, and the budget of failed requests that claim to be its."""

    remote: str
    verified_at: Micros
    failures: Budget


@dataclass(slots=True)
class SynapseSlate:
    """One validator's slate, as it came over Synapse."""

    offset: Offset = Offset(0)
    """How many times it has changed."""
    games: dict[GameId, TeamGame] | None = None
    """None if another slate is in force, or none that this run has confirmed."""


@dataclass(slots=True)
class MinerSynapseState:
    """Who may ask, who has asked, and what was asked."""

    hotkey: Hotkey = Hotkey("")
    uid: Uid | None = None
    knows_members: bool = False
    members: dict[Hotkey, NeuronInfo] = field(default_factory=dict)
    stopping: bool = False
    unverified: dict[int, ConnectionId] = field(default_factory=dict)
    """The connections that wait for ``SignatureChecked``, by the ``seq`` of the request."""
    questions: dict[ConnectionId, Question] = field(default_factory=dict)
    nonces: dict[Hotkey, Nonces] = field(default_factory=dict)
    budgets: dict[Hotkey, Budget] = field(default_factory=dict)
    """Of validators, charged only with verified requests."""
    failures: dict[str, Budget] = field(default_factory=dict)
    """Of IP addresses, charged with failed requests."""
    known: dict[Hotkey, Known] = field(default_factory=dict)
    sessions: dict[Hotkey, ConnectionId] = field(default_factory=dict)
    """Open WebSocket sessions."""
    slates: dict[Hotkey, SynapseSlate] = field(default_factory=dict)
    imported: dict[Hotkey, dict[GameId, None]] = field(default_factory=dict)
    """Games about which the model is not asked, see ``ModelActor``."""


class MinerSynapseActor(Actor):
    """Admits the questions of existing validators, and has them answered."""

    name = "synapse"
    Settings = MinerSynapseActorSettings
    State = MinerSynapseState
    settings: MinerSynapseActorSettings
    state: MinerSynapseState

    # --- the neuron and its peers

    @on(NeuronStarted)
    def begin(self, event: NeuronStarted, _: Envelope) -> None:
        self.state.hotkey = event.hotkey

    @on(NeuronDraining, NeuronStopping)
    def stop(self, _: NeuronDraining | NeuronStopping, __: Envelope) -> None:
        """Refuse what comes, and let no answer wait for the model."""
        self.state.stopping = True
        for connection in list(self.state.questions):
            self._go_on(connection)

    @on(MetagraphSynced)
    def know_neurons(self, event: MetagraphSynced, _: Envelope) -> None:
        state = self.state
        state.members, state.knows_members = {neuron.hotkey: neuron for neuron in event.neurons}, True
        own = state.members.get(state.hotkey)
        state.uid = None if own is None else own.uid
        for gone in [hotkey for hotkey in {**state.budgets, **state.known} if hotkey not in state.members]:
            state.budgets.pop(gone, None)
            state.known.pop(gone, None)
        for hotkey, slate in state.slates.items():
            if hotkey not in state.members:
                slate.games = None  # the model forgets it too, until it is confirmed

    @on(OutboxOpened)
    def recall(self, event: OutboxOpened, _: Envelope) -> None:
        for known in event.slates:
            if known.epoch == SYNAPSE_EPOCH:
                self.state.slates[known.validator] = SynapseSlate(known.offset)
        for validator, game_id in event.imported:
            self.state.imported.setdefault(validator, {})[game_id] = None

    @on(SessionActivated)
    def note_session(self, event: SessionActivated, _: Envelope) -> None:
        self.state.sessions[event.hotkey] = event.connection

    @on(ConnectionClosed, CloseRequested)
    def note_end(self, event: ConnectionClosed | CloseRequested, _: Envelope) -> None:
        for hotkey, connection in list(self.state.sessions.items()):
            if connection == event.connection:
                del self.state.sessions[hotkey]

    @on(GamesUpdated)
    def give_way(self, event: GamesUpdated, _: Envelope) -> None:
        """A slate of the validator's own stream replaces the one that came over Synapse."""
        slate = self.state.slates.get(event.validator)
        if slate is not None and event.epoch != SYNAPSE_EPOCH:
            slate.games = None

    # --- the head of a request

    @on(QueryReceived)
    def judge(self, event: QueryReceived, envelope: Envelope) -> None:
        try:
            claims = read_claims(event, self.settings.synapse.max_request_bytes)
            self._check(claims, event.remote, envelope)
        except Inadmissible as refused:
            self._refuse(event.connection, refused, event.remote, _claimed(event), envelope.mono)
            return
        text = signed_text(claims.nonce, claims.hotkey, self.state.hotkey, claims.uuid)
        scheme = pinned_scheme(claims.hotkey, self.settings.auth.schemes, self.state.members[claims.hotkey].crypto)
        self.state.questions[event.connection] = Question(claims.hotkey, event.remote, claims.nonce)
        asked = self.publish(
            QueryVerificationRequested(event.connection, claims.hotkey, scheme, text, claims.signature),
        )
        self.state.unverified[asked] = event.connection

    @on(SignatureChecked)
    def admit(self, event: SignatureChecked, envelope: Envelope) -> None:
        connection = self.state.unverified.pop(event.request, None)
        question = None if connection is None else self.state.questions.get(connection)
        if connection is None or question is None:  # of something else, or its sender has left
            return
        hotkey = question.hotkey
        try:
            if not event.valid:
                raise Inadmissible(401, f"the head is not signed by {hotkey} for {self.state.hotkey}")
            if not accept_nonce(self.state.nonces, hotkey, question.nonce, envelope.at, envelope.mono, MAX_AGE):
                raise Inadmissible(401, "this nonce was used already")
        except Inadmissible as refused:
            self._refuse(connection, refused, question.remote, hotkey, envelope.mono)
            return
        self._remember(question, envelope.mono)
        question.admitted = True
        self.publish(QueryAdmitted(connection, hotkey))

    @on(QueryUnreadable)
    def refuse_body(self, event: QueryUnreadable, envelope: Envelope) -> None:
        question = self.state.questions.get(event.connection)
        if question is not None:
            refused = Inadmissible(event.status, event.reason)
            self._refuse(event.connection, refused, question.remote, event.hotkey, envelope.mono)

    @on(QueryEnded)
    def forget(self, event: QueryEnded, _: Envelope) -> None:
        question = self.state.questions.pop(event.connection, None)
        if question is not None and question.awaits_model:
            self.cancel_timer("model", event.connection)

    def _check(self, claims: Claims, remote: str, envelope: Envelope) -> None:
        """The checks that need more than the head, the cheapest first."""
        state = self.state
        age = envelope.at - int(claims.nonce) // 1000
        if not -MAX_SKEW <= age <= MAX_AGE:
            when, limit = (f"{age / SECOND:.1f} s ago", MAX_AGE)
            if age < 0:
                when, limit = f"{-age / SECOND:.1f} s in the future", MAX_SKEW
            raise Inadmissible(401, f"signed {when} by our clock; {limit // SECOND} s is the limit")
        if state.stopping:
            raise Inadmissible(503, "this miner is stopping")
        if not state.knows_members:
            raise Inadmissible(503, "this miner has not read the metagraph yet")
        neuron = state.members.get(claims.hotkey)
        if neuron is None:
            raise Inadmissible(403, f"{claims.hotkey} is not registered on this subnet")
        if not neuron.validator_permit and not is_wanted(neuron, self.settings.validators):
            raise Inadmissible(403, f"{claims.hotkey} has no validator permit")
        least = self.settings.synapse.min_stake
        if neuron.stake < least:
            raise Inadmissible(403, f"{claims.hotkey} has {neuron.stake:g} staked, and {least:g} is the least here")
        self._check_budgets(claims.hotkey, remote, envelope.mono)
        if claims.receiver not in (None, state.hotkey):
            meant = "no ss58 address" if claims.receiver == HIDDEN else claims.receiver
            raise Inadmissible(401, f"the request is for {meant}; this is {state.hotkey}")

    def _check_budgets(self, hotkey: Hotkey, remote: str, now: Micros) -> None:
        limits = self.settings
        known = self._known(hotkey, remote, now)
        if known is not None:
            rate, burst = limits.failures_per_second * KNOWN_FACTOR, limits.failure_burst * KNOWN_FACTOR
            spent = known.failures.refill(now, rate, burst) < 1
        else:
            spent = is_spent(self.state.failures, remote, now, limits.failures_per_second, limits.failure_burst)
        if spent:
            raise Inadmissible(429, f"too many failed requests from {remote}")
        if is_spent(self.state.budgets, hotkey, now, limits.requests_per_second, limits.request_burst):
            raise Inadmissible(429, f"more than {limits.requests_per_second:g} requests a second from this hotkey")
        if (
            sum(question.admitted and question.hotkey == hotkey for question in self.state.questions.values())
            >= MAX_OPEN
        ):
            raise Inadmissible(429, f"{MAX_OPEN} requests of this hotkey have no answer yet")

    def _known(self, hotkey: Hotkey, remote: str, now: Micros) -> Known | None:
        """The validator, if it was verified within the last hour from this address: no stranger there locks it out."""
        known = self.state.known.get(hotkey)
        return known if known is not None and known.remote == remote and now - known.verified_at < KNOWN_FOR else None

    def _remember(self, question: Question, now: Micros) -> None:
        limits, hotkey = self.settings, question.hotkey
        budget = self.state.budgets.setdefault(hotkey, Budget(limits.request_burst, now))
        budget.spend(now, limits.requests_per_second, limits.request_burst)
        known = self._known(hotkey, question.remote, now)
        failures = Budget(limits.failure_burst * KNOWN_FACTOR, now) if known is None else known.failures
        self.state.known[hotkey] = Known(question.remote, now, failures)

    def _refuse(
        self, connection: ConnectionId, refused: Inadmissible, remote: str, hotkey: Hotkey | None, now: Micros
    ) -> None:
        self.state.questions.pop(connection, None)
        if refused.status < 429:
            self._charge_failure(hotkey, remote, now)
        self.publish(QueryRefused(connection, refused.status, str(refused), remote, hotkey))

    def _charge_failure(self, hotkey: Hotkey | None, remote: str, now: Micros) -> None:
        rate, burst = self.settings.failures_per_second, self.settings.failure_burst
        known = None if hotkey is None else self._known(hotkey, remote, now)
        if known is not None:
            known.failures.spend(now, rate * KNOWN_FACTOR, burst * KNOWN_FACTOR)
        else:
            budget_of(self.state.failures, remote, now, burst, MAX_REMOTES).spend(now, rate, burst)

    # --- what an admitted request says

    @on(SlateQueried)
    def take_slate(self, event: SlateQueried, envelope: Envelope) -> None:
        question = self.state.questions.get(event.connection)
        if question is None:
            return
        if event.hotkey in self.state.sessions:  # one set of ids for each validator, which goes by the better road
            self.publish(QueryAnswered(event.connection, event.hotkey, self.state.uid, ()))
            return
        games = {game.game_id: game for game in event.games if _is_open(game, envelope.at)}
        if len(games) > MAX_SLATE:
            fault = f"a slate of more than {MAX_SLATE} games"
            self.publish(PeerMisbehaved(event.hotkey, fault))
            self._refuse(event.connection, Inadmissible(400, fault), question.remote, event.hotkey, envelope.mono)
            return
        is_new, imported = self._put_in_force(event.hotkey, games), self.state.imported.get(event.hotkey, {})
        question.awaits_model = is_new and bool(games.keys() - imported.keys())
        if question.awaits_model and not self.state.stopping:
            self.set_timer("model", Micros(envelope.mono + micros(self.settings.model_timeout)), event.connection)
        else:
            self._ask_outbox(event.connection, question)

    def _put_in_force(self, validator: Hotkey, games: dict[GameId, TeamGame]) -> bool:
        """Whether the slate has changed. The model is asked by that; about an unchanged one it is asked anyway."""
        slate = self.state.slates.setdefault(validator, SynapseSlate())
        if slate.games == games:
            return False
        slate.games, slate.offset = games, Offset(slate.offset + 1)
        self.publish(GamesUpdated(validator, SYNAPSE_EPOCH, slate.offset, tuple(games.values()), snapshot=True))
        return True

    @on(ModelAnswered)
    def hear_model(self, event: ModelAnswered, _: Envelope) -> None:
        for connection, question in list(self.state.questions.items()):
            if question.hotkey == event.validator:
                self._go_on(connection)

    @on_timer("model")
    def answer_without_model(self, connection: ConnectionId, _: Envelope) -> None:
        question = self.state.questions.get(connection)
        if question is not None:
            self._ask_outbox(connection, question)

    def _go_on(self, connection: ConnectionId) -> None:
        """Answer a request that waits for the model."""
        question = self.state.questions[connection]
        if question.awaits_model:
            self.cancel_timer("model", connection)
            self._ask_outbox(connection, question)

    def _ask_outbox(self, connection: ConnectionId, question: Question) -> None:
        question.awaits_model = False
        self.publish(PendingRequested(connection, question.hotkey))

    @on(VerdictsConfirmed)
    def take_verdicts(self, event: VerdictsConfirmed, _: Envelope) -> None:
        if event.stats:
            self.publish(MinerStatsReported(event.hotkey, event.stats))
        self.publish(QueryAnswered(event.connection, event.hotkey, self.state.uid))


def read_claims(event: QueryReceived, max_body: float = inf) -> Claims:
    """What the head says.

    Args:
        event: the head.
        max_body: the largest Content-Length, in bytes.

    Raises:
        Inadmissible: the head is not one of a Dendrite that asks for ``GameData``.
    """
    path = event.target.partition("?")[0]
    if path != PATH:
        raise Inadmissible(404, f"no such path: {path[:MAX_NAME]}; this miner answers POST {PATH}")
    if event.method != "POST":
        raise Inadmissible(405, f"{PATH} takes POST, not {event.method}")
    header = _single_headers(event)
    if "content-encoding" in header:
        raise Inadmissible(415, "the body must have no Content-Encoding")
    length = header.get("content-length", "")
    if not _LENGTH.fullmatch(length) or "transfer-encoding" in header:
        raise Inadmissible(413, "the request must have a Content-Length, and no Transfer-Encoding")
    if int(length) > max_body:
        raise Inadmissible(413, f"the body has {int(length)} bytes; at most {max_body} are read")
    if not any("_" in name for name in header):
        raise Inadmissible(400, DROPPED)
    for name, (form, expected) in _FORMS.items():
        if not form.fullmatch(header.get(name, "")):
            raise Inadmissible(400, f"{name} must be {expected}")
    if header.get(_HASH) != BODY_HASH:
        raise Inadmissible(400, f"{_HASH} must be {BODY_HASH}: {NAME} hashes no field")
    nonce, uuid, hotkey = (header[name] for name in _SIGNED)
    receiver = header.get(_RECEIVER)
    signature = bytes.fromhex(header[_SIGNATURE][2:])
    return Claims(nonce, uuid, Hotkey(hotkey), signature, None if receiver is None else Hotkey(receiver))


def _claimed(event: QueryReceived) -> Hotkey | None:
    """The hotkey that the head says it is from; None if it says none, or nothing that could be one."""
    claimed = dict(event.headers).get("bt_header_dendrite_hotkey", "")
    return Hotkey(claimed[:MAX_NAME]) if claimed and claimed != HIDDEN else None


def _single_headers(event: QueryReceived) -> dict[str, str]:
    """All headers; those that are signed, or could be taken for it, must occur once."""
    header: dict[str, str] = {}
    for name, value in event.headers:
        if name in header and (name.startswith("bt_header_") or name == _HASH):
            raise Inadmissible(400, f"the header {name[:MAX_NAME]} occurs twice")
        header[name] = value
    return header


def _is_open(game: TeamGame, at: Micros) -> bool:
    starts_at = start_of(game)
    return game.active and starts_at is not None and starts_at > at
