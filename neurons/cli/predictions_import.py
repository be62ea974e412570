"""Takes the open predictions of an existing miner into an outbox, so that they are neither lost nor made twice.

An existing miner answers every validator with the same predictions, so each is saved for each validator. One that a
validator has confirmed is settled there; the others are sent, with their ids, and get the verdict that the validator
has. The model is not asked about their games.
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

from bettensor.actors.miner.targets import is_wanted
from bettensor.bus.clock import Clock, SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Hotkey, Micros, Uid
from bettensor.bus.text import counted
from bettensor.neurons.cli.history import OUTBOX
from bettensor.neurons.cli.imports import Destination
from bettensor.neurons.config.settings import Address, parse
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.outbox import ImportedEntry, OutboxDatabase
from bettensor.neurons.existing.miner_predictions import read_predictions
from bettensor.neurons.existing.skipped import Skipped, UnusableRow
from bettensor.neurons.state_dir import lock_state_dir

STEP: Final = 1000
"""Entries in one statement."""


@dataclass(slots=True)
class PredictionsImport:
    """The outcome of an import. Each prediction is counted for each validator."""

    source: Path
    outbox: Path
    is_trial: bool
    """Nothing is written."""
    validators: tuple[Hotkey, ...]
    rows: int = 0
    waiting: int = 0
    """Imported, and waiting for a verdict."""
    confirmed: int = 0
    """Imported, and settled: the validator had confirmed it."""
    known: int = 0
    """The outbox had it already."""
    old: int = 0
    """Rows whose game is settled."""
    skipped: Skipped = field(default_factory=Skipped)

    @property
    def imported(self) -> int:
        """New in the outbox."""
        return self.waiting + self.confirmed

    def summary(self) -> str:
        """The outcome in one line."""
        done = "would import" if self.is_trial else "imported"
        new = f"{counted(self.waiting, 'prediction')} without a verdict and {self.confirmed} confirmed before"
        rest = f"{self.known} known before, {counted(self.old, 'settled row')}, {len(self.skipped)} skipped"
        validators = counted(len(self.validators), "validator")
        return f"{self.outbox}: {done} {new}, for {validators}; {rest}; of {counted(self.rows, 'row')} in {self.source}"

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "source": str(self.source),
            "outbox": str(self.outbox),
            "dry_run": self.is_trial,
            "validators": list(self.validators),
            "rows": self.rows,
            "waiting": self.waiting,
            "confirmed": self.confirmed,
            "known": self.known,
            "settled": self.old,
            "skipped": self.skipped.as_json(),
        }


def import_predictions(
    source: Path, target: Destination, is_trial: bool, named: Sequence[str] = (), clock: Clock | None = None
) -> PredictionsImport:
    """Import the CSV file ``source`` into the outbox of ``target``, which is made if there is none.

    Args:
        source: the open predictions of an existing miner.
        target: our miner, which must not run.
        is_trial: count only, and write nothing; our miner may be running.
        named: hotkeys of the validators; by default all that the miner would connect to.
        clock: the time; by default this machine's.

    Raises:
        ConfigurationError: no validator is known, or ``source`` or the outbox cannot be read.
        Unavailable: a miner works with the state_dir.
        BettensorError: the outbox cannot be written.
    """
    validators = _validators(target, named)
    report = PredictionsImport(source, target.state_dir / OUTBOX, is_trial, tuple(validators))
    entries = _Entries(source, validators, (clock or SystemClock()).wall(), report)
    if is_trial:
        with _new_in(report.outbox) as new:
            entries.count(new)
        return report
    lock = lock_state_dir(target.state_dir)
    try:
        outbox = OutboxDatabase(StateDir(target.state_dir))
        outbox.fill(lambda: entries.count(outbox.insert_imported))
    finally:
        os.close(lock)
    return report


def _validators(target: Destination, named: Sequence[str]) -> dict[Hotkey, Uid | None]:
    """The validators, each with its UID if the metagraph has it."""
    uids = {neuron.hotkey: neuron.uid for neuron in target.neurons}
    chosen: list[Hotkey] = [parse(Address, hotkey, "--validator") for hotkey in named]
    chosen = chosen or [Hotkey(hotkey) for hotkey in target.validators]
    if not chosen:
        chosen = [n.hotkey for n in target.neurons if n.axon is not None and is_wanted(n, ())]
    if not chosen:
        raise ConfigurationError(
            "no validator is known on this machine: name each one with a permit and an endpoint with --validator HOTKEY"
        )
    return {hotkey: uids.get(hotkey) for hotkey in chosen}


class _Entries:
    """The entries to save."""

    def __init__(
        self, source: Path, validators: dict[Hotkey, Uid | None], now: Micros, report: PredictionsImport
    ) -> None:
        self._rows = read_predictions(source)
        self._validators = validators
        self._now = now
        self._report = report

    def count(self, save: Callable[[Sequence[ImportedEntry]], int]) -> None:
        """Hand all entries to ``save``, in portions, which returns how many are new; and count them."""
        entries = self._entries()
        while portion := list(islice(entries, STEP)):
            waiting = [entry for entry in portion if entry.confirmed_at is None]
            confirmed = [entry for entry in portion if entry.confirmed_at is not None]
            new_waiting, new_confirmed = save(waiting), save(confirmed)
            self._report.waiting += new_waiting
            self._report.confirmed += new_confirmed
            self._report.known += len(portion) - new_waiting - new_confirmed

    def _entries(self) -> Iterator[ImportedEntry]:
        for row in self._rows:
            self._report.rows += 1
            if row is None:
                self._report.old += 1
            elif isinstance(row, UnusableRow):
                self._report.skipped.add(row)
            else:
                for validator, uid in self._validators.items():
                    if uid is not None and uid == row.prediction.miner_uid:  # this miner may have a permit itself
                        if len(self._validators) == 1:
                            fault = f"{validator} is the miner that made it"
                            self._report.skipped.add(
                                UnusableRow("for the miner itself", row.prediction.prediction_id, fault)
                            )
                    else:
                        confirmed_at = self._now if validator in row.confirmed_by else None
                        yield ImportedEntry(validator, row.prediction, row.made_at, confirmed_at)


@contextlib.contextmanager
def _new_in(outbox: Path) -> Iterator[Callable[[Sequence[ImportedEntry]], int]]:
    """The function that tells how many of some entries ``outbox`` has not; it may be absent.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if not outbox.exists():
        yield len
        return
    try:
        with closing(sqlite3.connect(f"{outbox.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as database:

            def new(entries: Sequence[ImportedEntry]) -> int:
                query = "SELECT 1 FROM predictions WHERE validator = ? AND prediction_id = ?"
                keys = [(entry.validator, entry.prediction.prediction_id) for entry in entries]
                return sum(database.execute(query, key).fetchone() is None for key in keys)

            yield new
    except sqlite3.Error as error:
        raise ConfigurationError(f"{outbox} cannot be read: {error}") from None
