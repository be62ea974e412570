"""From an empty home to the first accepted prediction, with the commands that ``bettensor init`` prints."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loopback.processes import PATIENCE, free_port

COMMANDS = Path(sys.executable).parent


class Newcomer:
    """A person with an empty home, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder = folder / "home", folder / "work"
        self.home.mkdir()
        self.folder.mkdir()
        self.environment = os.environ | {"HOME": str(self.home), "PATH": f"{COMMANDS}:{os.environ['PATH']}"}
        self.environment.pop("PYTHONUNBUFFERED", None)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def data(self, command: str) -> Any:
        done = self.run(f"{command} --json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def running(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A neuron in a terminal of its own; afterwards it stops gracefully."""
        with (self.folder / f"{shlex.split(command)[1]}.log").open("ab") as log:
            process = subprocess.Popen(
                shlex.split(command), cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0, self.logs()
        finally:
            process.kill()
            process.wait()

    def hears(self, text: str) -> None:
        """Wait for a line in the validator's log."""
        deadline = time.monotonic() + PATIENCE
        while text not in (self.folder / "validator.log").read_text():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def meets(self, config: str) -> None:
        """Wait until the neuron of ``config`` has a session with its only peer: the first dial may be too early."""
        deadline = time.monotonic() + PATIENCE
        while [peer["state"] for peer in self.data(f"bettensor peers --config {config}")] != ["connected"]:
            assert time.monotonic() < deadline, self.logs()

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("*.log")))


def test_the_next_steps_lead_to_an_accepted_prediction(tmp_path: Path) -> None:
    person = Newcomer(tmp_path)
    made = person.data(f"bettensor init --port {free_port()}")
    validator, miner = made["next"]
    with person.running(validator), person.running(miner):
        person.hears("Sent confirmation for prediction")
        accepted = person.data("bettensor predictions --config validator.yaml --code accepted")
        assert {prediction["peer"] for prediction in accepted} == {made["wallets"]["miner"]["address"]}
        found = person.run("bettensor peers").stdout  # lists the running neurons, because there are several
        for role in ("validator", "miner"):
            assert f"~/.bettensor/demo-{role}" in found
            person.meets(f"{role}.yaml")


def test_beside_a_validator_that_runs(tmp_path: Path) -> None:
    """A second run changes nothing, and another wallet in another folder gets another port."""
    person = Newcomer(tmp_path)
    port = free_port()
    made = person.data(f"bettensor init --port {port}")
    with person.running(made["next"][0]):
        person.hears("Listening")
        again = person.data("bettensor init")
        assert (again["endpoint"], again["written"], again["notes"]) == (made["endpoint"], [], [])
        other = person.data(f"bettensor init --wallet.name other --directory other --port {port}")
        assert other["endpoint"] != made["endpoint"]
        assert other["notes"][0].startswith(f"port {port} cannot be used (Address already in use)")
        assert person.run("bettensor doctor --config other/validator.yaml").returncode == 0
