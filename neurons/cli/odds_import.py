"""Makes a games file: from a saved answer of an odds service, from The Odds API, or from an existing validator."""

import asyncio
from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any, NamedTuple

from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.identifiers import SECOND
from bettensor.bus.text import counted
from bettensor.bus.timestamps import parse_rfc3339
from bettensor.neurons.config.documents import read_json
from bettensor.neurons.config.settings import parse
from bettensor.neurons.edges.odds_api_client import URL, Failed, OddsApiClient, Region, Service, Sport, read_key
from bettensor.neurons.existing.validator_database import ValidatorDatabase, is_database
from bettensor.neurons.odds.forms import EVENTS, Form, form_of, read_answer, rows_of
from bettensor.neurons.odds.listing import ReadOdds, merged
from bettensor.neurons.odds.prices import OddsFormat
from bettensor.neurons.system.files import replace


class Imported(NamedTuple):
    """The outcome of an import. If no game is left, nothing is written."""

    output: Path
    source: str
    form: Form
    reading: ReadOdds
    started: int
    """Games that started before now: a validator withholds them."""

    def faults(self) -> Iterator[str]:
        """One line for each row, or bookmaker of a row, that could not be used."""
        yield from (f"skipped {omission}" for omission in self.reading.skipped)
        yield from (f"left out {omission}" for omission in self.reading.left_out)

    def summary(self) -> str:
        """The outcome in one line."""
        reading = self.reading
        rows = f"{counted(reading.rows, self.form.row)} of {self.form.service}"
        skipped = f"{len(reading.skipped)} skipped"
        if not reading.listings:
            return f"{self.output}: not written: no game is left of {rows}, {skipped}"
        text = f"{self.output}: {counted(len(reading.listings), 'game')} from {rows}, {skipped}"
        if self.started:
            text += f"; a validator withholds {self.started} that started before now, unless --starting shifts them"
        return text

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain data."""
        reading = self.reading
        return {
            "output": str(self.output),
            "source": self.source,
            "form": f"{self.form.row}s of {self.form.service}",
            "rows": reading.rows,
            "games": len(reading.listings),
            "started": self.started,
            "skipped": [omission._asdict() for omission in reading.skipped],
            "left_out": [omission._asdict() for omission in reading.left_out],
        }


def run(arguments: Namespace) -> Imported:
    """Import as the command line says.

    Raises:
        BettensorError: The Odds API does not answer with odds, or there are none.
        ConfigurationError: the arguments are wrong, or a file cannot be read or written.
    """
    starting = None if arguments.starting is None else _instant(arguments.starting)
    of_service = {"--regions": arguments.regions, "--url": arguments.url}
    if arguments.odds_api is None:
        for flag, value in of_service.items():
            if value is not None:
                raise ConfigurationError(f"{flag}: only with --odds-api: a file has its odds already")
        return import_file(arguments.file, arguments.output, arguments.odds_format or "decimal", starting)
    if arguments.odds_format is not None:
        raise ConfigurationError("--odds-format: only with FILE: The Odds API is asked for decimal odds")
    sports = [_checked(Sport, sport, "--odds-api") for sport in arguments.odds_api]
    regions = [_checked(Region, region.strip(), "--regions") for region in (arguments.regions or "us").split(",")]
    service = _checked(Service, arguments.url or URL, "--url")
    return import_from_odds_api(sports, regions, service, arguments.output, starting)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromtimestamp(parse_rfc3339(text) / SECOND, UTC)
    except ValueError:
        raise ConfigurationError(f"--starting: expected a time like 2026-12-01T18:00:00Z, not {text!r}") from None


def _checked(kind: Any, value: str, flag: str) -> str:
    """``value``, if a configuration would take it."""
    checked: str = parse(kind, value, flag)
    return checked


def import_file(source: Path, output: Path, prices: OddsFormat, starting: datetime | None = None) -> Imported:
    """Import the file ``source`` into the games file ``output``.

    Args:
        source: a JSON list in one of ``FORMS``, or an existing validator's database.
        output: the games file.
        prices: how the prices in ``source`` are written.
        starting: shift all dates by the same amount, so that the first game starts at this time.

    Raises:
        BettensorError: the list is empty.
        ConfigurationError: a file cannot be read or written, or has no such form; the message names it.
    """
    document = _read(source)
    try:
        rows = rows_of(document)
        if not rows:
            raise BettensorError(f"{source}: the list is empty; {output} stays as it is")
        form = form_of(rows)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from None
    return _write(output, source.name, form, form.read(rows, prices, datetime.now(UTC)), starting)


def _read(source: Path) -> Any:
    if source.is_file() and is_database(source):
        with ValidatorDatabase(source) as database:
            return database.games()
    return read_json(source)


def import_from_odds_api(
    sports: Sequence[str], regions: Sequence[str], service: str, output: Path, starting: datetime | None = None
) -> Imported:
    """Ask The Odds API once for each of ``sports``, and write the games file ``output``.

    Raises:
        BettensorError: the odds of a sport cannot be had; the message says why, and nothing is written.
        ConfigurationError: the environment has no key, or ``output`` cannot be written.
    """
    readings = asyncio.run(_ask(sports, OddsApiClient(read_key(), regions, SystemClock(), service)))
    return _write(output, EVENTS.service, EVENTS, merged(readings), starting)


async def _ask(sports: Sequence[str], client: OddsApiClient) -> list[ReadOdds]:
    readings = []
    try:
        for sport in sports:
            answer = await client.ask(sport)
            if isinstance(answer, Failed):
                raise BettensorError(f"{EVENTS.service}: {answer.reason}")
            readings.append(read_answer(answer.body or b"", datetime.now(UTC)))
    except ConfigurationError as error:  # the service's fault, and not this command's usage
        raise BettensorError(f"{EVENTS.service}: {sport}: {error}") from None
    finally:
        await client.close()
    return readings


def _write(output: Path, source: str, form: Form, reading: ReadOdds, starting: datetime | None) -> Imported:
    now = datetime.now(UTC)
    if starting is not None and reading.listings:
        by = starting - reading.listings[0].start
        reading = reading._replace(listings=[listing.shifted(by) for listing in reading.listings])
    if reading.listings:
        games = [listing.entry() for listing in reading.listings]
        document = {"source": source, "date": now.date().isoformat(), "games": games}
        try:
            replace(output, (dumps(document, indent=2) + "\n").encode())
        except OSError as error:
            raise ConfigurationError(f"{output}: cannot be written: {error.strerror}") from None
    return Imported(output, source, form, reading, sum(listing.start <= now for listing in reading.listings))
