"""Takes what an existing validator has accepted into a ledger, so that its miners have no second daily limit.

Imported are the predictions whose game is not settled, and all of today and yesterday (UTC), of which the daily limit
is made. One transaction takes all of them: an import that is interrupted leaves nothing.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bettensor.actors.validator.prediction import RETENTION, expiry
from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.codes import VerdictCode
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import NeuronInfo, ProposedVerdict
from bettensor.bus.games import content_digest, millionths
from bettensor.bus.identifiers import Hotkey, Micros, Millionths
from bettensor.bus.text import counted
from bettensor.bus.timestamps import utc_day
from bettensor.neurons.cli.history import LEDGER
from bettensor.neurons.cli.imports import Destination
from bettensor.neurons.config.settings import LONGEST_ADDRESS, Address, parse
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.ledger import FIRST_WITH_KEYS, LedgerDatabase, key_of_proposal
from bettensor.neurons.existing.skipped import Skipped, UnusableRow
from bettensor.neurons.existing.validator_database import Accepted, ValidatorDatabase
from bettensor.neurons.state_dir import lock_state_dir

STEP: Final = 1000
"""Rows in one statement."""


@dataclass(slots=True)
class LedgerImport:
    """The outcome of an import."""

    source: Path
    ledger: Path
    is_trial: bool
    """Nothing is written."""
    rows: int = 0
    """Rows of the table ``predictions``."""
    imported: int = 0
    open: int = 0
    """Of those: predictions whose game is not settled."""
    known: int = 0
    """Predictions that the ledger had already."""
    old: int = 0
    """Settled ones of earlier days, and ones that are older than a ledger keeps verdicts."""
    miners: set[Hotkey] = field(default_factory=set)
    skipped: Skipped = field(default_factory=Skipped)

    def summary(self) -> str:
        """The outcome in one line."""
        done = "would import" if self.is_trial else "imported"
        new = f"{counted(self.imported, 'prediction')} of {counted(len(self.miners), 'miner')}, {self.open} open"
        rest = f"{self.known} known before, {self.old} settled or too old, {len(self.skipped)} skipped"
        return f"{self.ledger}: {done} {new}; {rest}; of {counted(self.rows, 'row')} in {self.source}"

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "source": str(self.source),
            "ledger": str(self.ledger),
            "dry_run": self.is_trial,
            "rows": self.rows,
            "imported": self.imported,
            "open": self.open,
            "miners": len(self.miners),
            "known": self.known,
            "old": self.old,
            "skipped": self.skipped.as_json(),
        }


def import_ledger(source: Path, target: Destination, is_trial: bool, clock: Clock | None = None) -> LedgerImport:
    """Import the database ``source`` into the ledger of ``target``, which is made if there is none.

    Args:
        source: an existing validator's database; its validator may be running.
        target: our validator, which must not run; its metagraph names miners that ``source`` does not name.
        is_trial: count only, and write nothing; our validator may be running.
        clock: the time; by default this machine's.

    Raises:
        ConfigurationError: ``source`` or the ledger cannot be read.
        Unavailable: a validator works with the state_dir.
        BettensorError: the ledger cannot be written.
    """
    now, state_dir = (clock or SystemClock()).wall(), target.state_dir
    report = LedgerImport(source, state_dir / LEDGER, is_trial)
    with ValidatorDatabase(source) as database:
        proposals = _Proposals(database, target.neurons, now, report)
        if is_trial:
            with _known_to(report.ledger) as known:
                proposals.count(known)
        else:
            lock = lock_state_dir(state_dir)
            try:
                ledger = LedgerDatabase(StateDir(state_dir))
                ledger.fill(lambda: proposals.count(ledger.insert_new))
            finally:
                os.close(lock)
    return report


class _Proposals:
    """The verdicts to store, as our validator would have proposed them."""

    def __init__(
        self, database: ValidatorDatabase, neurons: Sequence[NeuronInfo], now: Micros, report: LedgerImport
    ) -> None:
        """
        Raises:
            ConfigurationError: ``database`` is not an existing validator's, or is damaged.
        """
        self._rows = database.predictions()
        self._starts = database.starts(since=Micros(now - RETENTION))
        self._listed = {neuron.uid: neuron.hotkey for neuron in neurons}
        self._now = now
        self._report = report
        self._valid: dict[Hotkey, bool] = {}

    def count(self, store: Callable[[Sequence[ProposedVerdict]], set[bytes]]) -> None:
        """Hand all verdicts to ``store``, in portions, and count those that are new.

        Args:
            store: returns the keys that are known already.
        """
        rows = self._wanted()
        while portion := list(islice(rows, STEP)):
            known = store([proposal for proposal, _ in portion])
            new = [(proposal, is_open) for proposal, is_open in portion if key_of_proposal(proposal) not in known]
            self._report.known += len(portion) - len(new)
            self._report.imported += len(new)
            self._report.open += sum(is_open for _, is_open in new)
            self._report.miners |= {proposal.hotkey for proposal, _ in new}

    def _wanted(self) -> Iterator[tuple[ProposedVerdict, bool]]:
        """Each verdict, and whether its game is open."""
        yesterday = utc_day(self._now) - 1
        for row in self._rows:
            self._report.rows += 1
            try:
                if isinstance(row, UnusableRow):
                    raise row
                proposal = self._proposal(row, self._starts.get(row.prediction.game_id))
            except UnusableRow as fault:
                self._report.skipped.add(fault)
                continue
            counts_today = utc_day(row.received_at) >= yesterday
            if proposal.expires_at < self._now or (row.is_settled and not counts_today):
                self._report.old += 1
            else:
                yield proposal, not row.is_settled

    def _proposal(self, row: Accepted, starts_at: Micros | None) -> ProposedVerdict:
        prediction = row.prediction
        return ProposedVerdict(
            hotkey=self._hotkey(row),
            prediction=prediction,
            digest=content_digest(prediction),
            code=VerdictCode.ACCEPTED,
            message="",
            received_at=row.received_at,
            wager=millionths(prediction.wager) or Millionths(0),
            expires_at=expiry(row.received_at, starts_at),
            proof="imported",
        )

    def _hotkey(self, row: Accepted) -> Hotkey:
        name = row.prediction.prediction_id
        hotkey = row.hotkey or self._listed.get(row.uid)
        if hotkey is None:
            text = f"UID {row.uid} has no hotkey, neither in the table miner_stats nor in a metagraph on this machine"
            raise UnusableRow("of an unknown miner", name, text)
        if hotkey not in self._valid:
            self._valid[hotkey] = _is_address(hotkey)
        if not self._valid[hotkey]:
            text = f"UID {row.uid}: {hotkey[:LONGEST_ADDRESS]!r} is no ss58 address"
            raise UnusableRow("of an unknown miner", name, text)
        return hotkey


def _is_address(hotkey: str) -> bool:
    try:
        parse(Address, hotkey, "hotkey")
    except ConfigurationError:
        return False
    return True


@contextlib.contextmanager
def _known_to(ledger: Path) -> Iterator[Callable[[Sequence[ProposedVerdict]], set[bytes]]]:
    """The function that tells which keys of some verdicts ``ledger`` has; it may be absent.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if not ledger.exists():
        yield lambda _: set()
        return
    try:
        with closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database:
            (schema,) = database.execute("PRAGMA user_version").fetchone()
            if schema < FIRST_WITH_KEYS:
                text = f"{ledger} has schema {schema}, in which a dry run cannot look; an import without it upgrades it"
                raise ConfigurationError(text)

            def known(proposals: Sequence[ProposedVerdict]) -> set[bytes]:
                marks = ", ".join("?" * len(proposals))
                query = f"SELECT key FROM predictions WHERE key IN ({marks})"  # noqa: S608 - only placeholders
                return {key for (key,) in database.execute(query, [*map(key_of_proposal, proposals)])}

            yield known
    except sqlite3.Error as error:
        raise ConfigurationError(f"{ledger} cannot be read: {error}") from None
