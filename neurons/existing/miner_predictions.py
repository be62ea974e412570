"""The predictions of an existing miner: a CSV file that a query makes of its PostgreSQL (docs/operating.md).

The columns are those of its table ``predictions``, and ``confirmed_by``: the hotkeys of validators that have confirmed
the prediction, separated by spaces. Null is ``\\N``, so that an empty text stays one.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from bettensor.bus import codec
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.games import TeamGamePrediction
from bettensor.bus.identifiers import Micros
from bettensor.bus.synapse import read_prediction
from bettensor.neurons.existing.skipped import UnusableRow
from bettensor.neurons.existing.validator_database import date_of, is_unfinished

NULL: Final = "\\N"
_NEEDED: Final = (
    "prediction_id",
    "game_id",
    "prediction_date",
    "predicted_outcome",
    "predicted_odds",
    "team_a",
    "team_b",
    "wager",
    "team_a_odds",
    "team_b_odds",
    "tie_odds",
    "outcome",
)
_NUMBERS: Final = ("predicted_odds", "wager", "team_a_odds", "team_b_odds", "tie_odds", "confidence_score")


class OpenPrediction(NamedTuple):
    """A prediction whose game is not settled."""

    prediction: TeamGamePrediction
    """Exactly as the existing miner sends it, so that a validator recognises it."""
    made_at: Micros
    confirmed_by: frozenset[str]
    """Validators that have answered it; an existing miner does not keep what they answered."""


def read_predictions(file: Path) -> Iterator[OpenPrediction | UnusableRow | None]:
    """Each row of ``file``: an open prediction, None for a settled one, or why it is neither.

    Raises:
        ConfigurationError: the file cannot be read, or has not these columns.
    """
    try:
        if file.exists() and not file.is_file():
            raise ConfigurationError(f"{file}: it is no regular file; save the query's result as one")
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            _check_header(file, reader.fieldnames or ())
            for row in reader:
                try:
                    yield _read(row)
                except UnusableRow as fault:
                    yield UnusableRow(fault.kind, f"line {reader.line_num}", f"{fault.row}: {fault.reason}")
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: its byte {error.start} is no UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise ConfigurationError(f"{file}: after line {reader.line_num}: {error}") from None


def _check_header(file: Path, header: Any) -> None:
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        found = ", ".join(map(str, header))[:200] or "nothing"
        raise ConfigurationError(
            f"{file}: line 1: the header lacks {', '.join(missing)}; it has {found}. docs/operating.md has the query"
        )


def _read(row: dict[Any, Any]) -> OpenPrediction | None:
    name = str(row["prediction_id"])
    if None in row or None in row.values():
        raise UnusableRow("unreadable", name, "it has not as many values as the header has columns")
    content: dict[str, Any] = {field: None if value == NULL else value for field, value in row.items()}
    if not is_unfinished(content["outcome"]):
        return None
    content |= {field: content.get(field) or None for field in _NUMBERS}
    content |= {"outcome": None, "payout": None}
    try:
        prediction = read_prediction(name, content)
        made_at = date_of(content)
    except ValueError as error:
        raise UnusableRow("unreadable", name, str(error)) from None
    fault = codec.fault_of(prediction) if isinstance(prediction, TeamGamePrediction) else prediction.fault
    if fault is not None or not isinstance(prediction, TeamGamePrediction):
        raise UnusableRow("unreadable", name, str(fault))
    return OpenPrediction(prediction, made_at, frozenset((content.get("confirmed_by") or "").split()))
