"""What neurons have on disk, read beside them: verdicts of a ledger or an outbox. Never writes."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bus.errors import ConfigurationError


def outbox_codes(file: Path) -> "Counter[str | None]":
    """How many predictions of a miner have which verdict; None counts those that have none yet.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    with _reading(file) as database:
        return Counter(dict(database.execute("SELECT code, count(*) FROM predictions GROUP BY code").fetchall()))


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from None
