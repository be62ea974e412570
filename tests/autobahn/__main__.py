"""``make autobahn``: every case of the Autobahn test suite, against our listener and against our dialer.

The suite has an environment of its own, ``.venv/autobahn``. The results go to ``benchmarks/autobahn.json``;
``python -m tests.test_docs`` makes the table of docs/testing.md of them. Exits with 1 if a case fails that should not.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from bettensor.neurons.existing.environment import Environment
from bettensor.neurons.system.ports import listen_on
from tests.autobahn.results import FILE, faults, summary
from tests.autobahn.testees import dial, listening, unlimited

HERE: Final = Path(__file__).parent
SUITE: Final = str(HERE / "suite.py")
ALL: Final = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*"
"""Sections 12 and 13 test permessage-deflate, which we decline."""
WITHIN_LIMITS: Final = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,10.*"
PATIENCE: Final = 600.0
"""Seconds for one side."""


class Suite:
    """The converted suite, and the Python that runs it."""

    def __init__(self, folder: Path) -> None:
        self._environment = Environment(folder, (HERE / "requirements.txt").read_text(), "autobahn.twisted.websocket")
        self._made = folder / "suite"

    async def make(self) -> None:
        """Install and convert it, if that is not done yet."""
        self._environment.make(print)
        await self._run("make")

    async def against_listener(self, cases: str) -> Any:
        """The results of our listener."""
        async with listening() as address:
            return json.loads(await self._run("client", address, cases))

    async def against_dialer(self, cases: str) -> Any:
        """The results of our dialer."""
        with listen_on("127.0.0.1", 0, 1) as free:
            port = free.getsockname()[1]
        running = asyncio.create_task(self._run("server", str(port), cases))
        await _until_open(port, running)
        await dial(f"127.0.0.1:{port}")
        return json.loads(await running)

    async def _run(self, *arguments: str) -> bytes:
        what, *rest = arguments
        process = await asyncio.create_subprocess_exec(
            self._environment.python, "-W", "ignore", SUITE, what, self._made, *rest, stdout=-1, stderr=-1
        )
        try:
            output, said = await asyncio.wait_for(process.communicate(), PATIENCE)
        except BaseException:
            process.kill()
            raise
        if process.returncode:
            raise RuntimeError(f"the suite failed:\n{said.decode(errors='replace')[-2000:]}")
        return output


async def _until_open(port: int, running: "asyncio.Task[bytes]") -> None:
    """Return at once if the server has ended, too."""
    async with asyncio.timeout(30):
        while not running.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


async def main() -> int:
    """Run all; returns the exit code."""
    suite = Suite(Path(sys.prefix) / "autobahn")
    await suite.make()
    results = {"listener with its limits": await suite.against_listener(WITHIN_LIMITS)}
    with unlimited():
        results["listener"] = await suite.against_listener(ALL)
        results["dialer"] = await suite.against_dialer(ALL)
    FILE.write_text(json.dumps(summary(results), indent=2) + "\n")
    print(FILE.read_text())
    wrong = list(faults(results))
    for fault in wrong:
        print(fault, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
