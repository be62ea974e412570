"""A model that is a separate program, in any language.

Each time the model is asked, the program's standard input gets all games on offer, of any validator: one game a line,
as JSON, and an empty line. The program may write predictions to its standard output at any time, one a line, as JSON:
``game_id``, ``outcome``, ``wager`` and, optionally, ``confidence``, ``model_name`` and ``key``. A key identifies a bet:
written twice, it is one prediction. The program's standard error goes to the miner's.

If it ends, it is restarted with back-off, and gets the latest slate. Its faults cannot harm the miner.
"""

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final

import msgspec
from pydantic import Field

from bettensor.actors.settings import Seconds, settings_class
from bettensor.bus.backoff import backoff
from bettensor.bus.games import TeamGame
from bettensor.neurons.models.faults import FaultRounds
from bettensor.neurons.models.file import Unusable, forecast_of
from bettensor.neurons.models.model import Forecast, ModelHost
from bettensor.neurons.system.processes import dying_with_parent

MAX_LINE: Final = 64 * 1024
PORTION: Final = 100
"""Games that are written in one turn of the event loop: about 0.3 ms."""
FAREWELL: Final = 2.0
"""Seconds from SIGTERM to SIGKILL."""


@settings_class
class ProgramSettings:
    """The program, and its restarts."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """The program and its arguments, as a list."""
    restart_base: Seconds = 1.0
    """If the program ends, it is restarted after this many seconds. This wait doubles with each restart;
    once the program has run for longer than restart_max, it is this value again."""
    restart_max: Seconds = 60.0
    """The longest wait before a restart, in seconds."""

    def __post_init__(self) -> None:
        if self.restart_base > self.restart_max:
            raise ValueError("restart_base must be at most restart_max")


class ProgramPredictor:
    """Passes slates to the program, and its predictions to the miner."""

    Settings = ProgramSettings

    def __init__(self, settings: ProgramSettings) -> None:
        self.settings = settings
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._faults = FaultRounds()

    def predict(self, games: Sequence[TeamGame]) -> Iterable[Forecast]:  # noqa: ARG002 - all slates are handed over
        """Pass all slates on; the program answers at any time."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._asked.set)
        return ()

    async def run(self, host: ModelHost) -> None:
        """Keep the program running until cancelled, and then end it."""
        self._loop = asyncio.get_running_loop()
        delay = self.settings.restart_base
        while True:
            started = time.monotonic()
            reason = await self._live_once(host)
            if time.monotonic() - started > self.settings.restart_max:
                delay = self.settings.restart_base
            host.fault(f"{reason}; restarting it in {delay:g} s")
            await asyncio.sleep(delay)
            delay = backoff(delay, self.settings.restart_max)

    async def _live_once(self, host: ModelHost) -> str:
        """Run the program once; returns how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.settings.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=MAX_LINE,
                preexec_fn=dying_with_parent(),
            )
        except OSError as error:
            return f"{self.settings.command[0]} cannot be started: {error.strerror or error}"
        feeding = asyncio.create_task(self._feed(process, host), name="slate for the model")
        try:
            await self._listen(process, host)
            code = await process.wait()
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await _end(process)
        return f"{self.settings.command[0]} ended with exit code {code}"

    async def _feed(self, process: asyncio.subprocess.Process, host: ModelHost) -> None:
        """Write the latest slates whenever the model is asked; a program that reads slowly misses some."""
        assert process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        if host.games():
            self._asked.set()
        with contextlib.suppress(OSError):  # the program has ended or closed its input: the reader reports it
            while True:
                await self._asked.wait()
                self._asked.clear()
                self._faults.begin()
                games = list(host.games().values())
                for start in range(0, len(games), PORTION):
                    lines = [json.dumps(msgspec.to_builtins(game)) for game in games[start : start + PORTION]]
                    process.stdin.write("\n".join([*lines, ""]).encode())
                    await process.stdin.drain()
                    await asyncio.sleep(0)  # drain waits for nothing while there is room
                process.stdin.write(b"\n")
                await process.stdin.drain()

    async def _listen(self, process: asyncio.subprocess.Process, host: ModelHost) -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # the line exceeds the limit; the reader has dropped it
                self._fault(host, f"a line of more than {MAX_LINE} bytes")
                continue
            if not line:
                return
            if line.strip():
                self._take(line, host)

    def _take(self, line: bytes, host: ModelHost) -> None:
        try:
            row: Any = json.loads(line)
            if not isinstance(row, dict):
                raise Unusable("expected an object")
            game = host.games().get(row.get("game_id"))  # type: ignore[arg-type]
            if game is None:
                raise Unusable(f"game_id: there is no game {row.get('game_id')!r} on any slate")
            key = row.get("key")
            forecast = replace(forecast_of(row, game, "program"), key=None if key is None else str(key))
        except (ValueError, TypeError, RecursionError, Unusable) as error:
            self._fault(host, f"{error}: {line[:200].decode(errors='replace').strip()}")
        else:
            host.forecast(forecast)

    def _fault(self, host: ModelHost, text: str) -> None:
        """Report each kind of fault once, and again if the program wrote none of its kind on a slate in between."""
        if self._faults.is_new(text.partition(":")[0]):
            host.fault(f"{self.settings.command[0]} wrote a line that is not a prediction: {text}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), FAREWELL)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
