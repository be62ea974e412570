"""Secrets are planted in every key, header and variable; none of them is in a log, a recording, an error or an answer.

What an operator's own code writes by itself, and the ``State`` of his actors, is his own: it is recorded as it is. A
wrong value of a key whose name is not that of a secret is shown, so that he finds it.
"""

import contextlib
import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest
import yaml
from bittensor_core import Keypair

from bettensor.bus.events import Role
from bettensor.neurons.cli.control_client import ask
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.keys import groups_of
from bettensor.neurons.edges.wallets import new_wallet
from tests.loopback.processes import Subnet, free_port
from tests.loopback.rig import write

PLANTED = "PLANTED"
"""Is in every secret of these tests, and in nothing else."""
URL = f"wss://me:{PLANTED}-password@node.example:9944/v3/{PLANTED}-path?token={PLANTED}-query#{PLANTED}-fragment"
VALUES: dict[str, Any] = {
    "url": URL,
    "command": ["model.py", "--token", f"{PLANTED}-flag", f"--key={PLANTED}-flag", f"API_KEY={PLANTED}-flag"],
    "nested": {"api_key": f"{PLANTED}-key", "x": [{"password": f"{PLANTED}-list"}], "url": URL},
}
ROLES: tuple[Role, ...] = get_args(Role)


def secrets(where: str) -> dict[str, Any]:
    """Settings of an operator's own part, with a secret of its own in each."""
    return {
        "api_key": f"{PLANTED}-{where}-api-key",
        "url": f"https://me:{PLANTED}-{where}-password@api.example/{PLANTED}-{where}?token={PLANTED}-{where}-token",
        "headers": {"Authorization": f"Bearer {PLANTED}-{where}-header", "Cookie": f"{PLANTED}-{where}-cookie"},
        "command": ["run", "--token", f"{PLANTED}-{where}-flag", "-H", f"X-Api-Key: {PLANTED}-{where}-h"],
        "services": [{"name": "odds", "secret": f"{PLANTED}-{where}-listed"}],
        "line": f"curl -H 'Authorization: Bearer {PLANTED}-{where}-line' --password {PLANTED}-{where}-line",
    }


OWN = {
    "actors": ("leaky", {"class": "tests.loopback.leaking:LeakyActor"}),
    "edges": ("leaking", {"class": "tests.loopback.leaking:LeakyEdge"}),
}
"""By section, the name of an operator's own part, and its class."""
VARIABLES = {
    "ODDS_API_KEY": f"{PLANTED}-odds",
    "AWS_SECRET_ACCESS_KEY": f"{PLANTED}-aws",
    "HTTP_PROXY": f"http://me:{PLANTED}-proxy@127.0.0.1:9",
    "HTTPS_PROXY": f"http://me:{PLANTED}-proxy@127.0.0.1:9",
    "DATABASE_URL": f"postgresql://me:{PLANTED}-database@db/mine",
}
"""Of other programs, in a neuron's environment."""


def found(*texts: str) -> list[str]:
    """The lines with a secret."""
    return [line for text in texts for line in text.splitlines() if PLANTED in line]


@contextlib.contextmanager
def configured(folder: Path, role: Role) -> Iterator[dict[str, Any]]:
    """A configuration that is right."""
    new_wallet("test", role, str(folder / "wallets"), "sr25519")
    write(folder / "metagraph.yaml", {"neurons": []})
    yield {
        "role": role,
        "wallet": {"name": "test", "hotkey": role, "path": str(folder / "wallets")},
        "state_dir": str(folder / "state"),
    }


@pytest.mark.parametrize("role", ROLES)
def test_no_command_shows_the_secret_of_a_key(tmp_path: Path, role: Role, capsys: pytest.CaptureFixture[str]) -> None:
    file, values = tmp_path / "neuron.yaml", itertools.cycle(VALUES.values())
    keys = [key.path for group in groups_of(role) for key in group.keys]
    with configured(tmp_path, role) as settings:
        for number, key in enumerate(keys):
            value = next(values)
            document = json.loads(json.dumps(settings))
            *folders, last = key.split(".")
            section = document
            for folder in folders:
                section = section.setdefault(folder, {})
            section[last] = value
            write(file, document)
            command = ("show", "check")[number % 2]
            main(["config", command, "--config", str(file)])
            write(file, settings)
            with contextlib.suppress(SystemExit):  # argparse ends so, if it knows the flag
                main(["config", command, "--config", str(file), f"--{key}={URL}"])
            assert found(*capsys.readouterr()) == [], key


@pytest.mark.parametrize("role", ROLES)
def test_no_command_shows_the_secrets_of_an_operators_own_parts_and_variables(
    tmp_path: Path, role: Role, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "neuron.yaml"
    with configured(tmp_path, role) as settings:
        for section, (name, own) in OWN.items():
            settings[section] = {name: own | secrets(section)}
        settings["metagraph"] = {"static": str(tmp_path / "metagraph.yaml")}
        write(file, settings)
        for command in (
            ["config", "show", "--config", str(file)],
            ["config", "check", "--config", str(file)],
            ["doctor", "--config", str(file)],
            ["config", "show", "--role", role],
            *(["completion", shell] for shell in ("bash", "zsh", "tcsh")),
        ):
            main(command)
            assert found(*capsys.readouterr()) == [], command
        for wrong in ("actors.leaky.api_keys", "edges.leaking.url.x", "nothing.token", "nothing"):
            monkeypatch.setenv(f"BETTENSOR_{wrong.upper().replace('.', '__')}", f"{PLANTED}-variable")
            assert main(["config", "check", "--config", str(file)]) == 2
            assert found(*capsys.readouterr()) == [], wrong
            monkeypatch.delenv(f"BETTENSOR_{wrong.upper().replace('.', '__')}")
        for flag in ("--actors.leaky.api_key", "--nothing.token", "--nothing"):
            main(["config", "check", "--config", str(file), flag, f"{PLANTED}-flag"])
            assert found(*capsys.readouterr()) == [], flag


@pytest.mark.parametrize(
    "wrong",
    [
        f"node.example/v2/{PLANTED}", f"wss:/node.example/{PLANTED}", f"wss//node.example/{PLANTED}", PLANTED,
        f"me:{PLANTED}@node.example", f"wss://node.example/a {PLANTED}", f"wss://node.example'{PLANTED}",
        f"wss://me:{PLANTED} x@node.example/", f"https://node.example/{PLANTED}", f"//node.example/{PLANTED}",
        f"[wss://node.example/{PLANTED}", f"wss://{PLANTED}@", f"{{a: node.example/{PLANTED}}}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["subtensor.chain_endpoint", "subtensor.network", "subtensor"])
def test_a_mistyped_address_is_told_without_what_may_be_a_secret(
    tmp_path: Path, key: str, wrong: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "neuron.yaml"
    variable = f"BETTENSOR_{key.upper().replace('.', '__')}"
    section, _, last = key.partition(".")
    with configured(tmp_path, "miner") as settings:
        for command in (["check", str(file)], ["show", "--config", str(file)]):
            write(file, settings | {section: {last: wrong} if last else wrong})
            assert main(["config", *command]) == 2
            write(file, settings)
            assert main(["config", *command, f"--{key}={wrong}"]) == 2
            monkeypatch.setenv(variable, wrong)
            assert main(["config", *command]) == 2
            monkeypatch.delenv(variable)
            out, err = capsys.readouterr()
            assert found(out, err) == []
            assert err.count(section) >= 2
            assert variable in err


@pytest.mark.parametrize("words", [["--token", f"{PLANTED}-word"], ["--url", URL], [f"--api-key={PLANTED}-word"]])
def test_a_mistyped_command_line_is_answered_without_secrets(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["status", *words])
    assert found(*capsys.readouterr()) == []


async def test_no_secret_of_running_neurons_is_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    subnet = Leaking(tmp_path, ("alice",))
    async with subnet:
        for name in ("validator", "alice"):
            await subnet.says(name, "failed on neuron_started")
            await subnet.says(name, "wss://node.example/...")
        await subnet.says("alice", "failed on predictions_requested")
        await subnet.says("alice", "WebSocket connection established with validator")
        await knock(subnet.proxy.port)
        pages = [await page(port) for port in subnet.metrics.values()]
        answers = [ask(tmp_path / f"{name}-state", {"ask": "status"}) for name in ("validator", "alice")]
        lines = [command_line(subnet.processes[name].pid) for name in ("validator", "alice")]
        assert found(*pages, *map(json.dumps, answers), *lines) == []
        for name in ("validator", "alice"):
            assert await subnet.stop(name) == 0
    for name in ("validator", "alice"):
        # of a decision that failed, a replay has other lines of the traceback
        subnet.start(name, "--edges.leaking.fails", "--actors.leaky.fails", "--recorder.record=observed")
        await subnet.says(name, "leaky failed while it handled metagraph_synced")
        await subnet.says(name, "leaking failed (leak)")
        await subnet.says(name, "a failure that cannot be repaired")
        assert await subnet.stop(name) == 1
    assert found(*(subnet.log(name) for name in ("validator", "alice"))) == []
    for name in ("validator", "alice"):
        written = {file: content(file) for file in (tmp_path / f"{name}-state").iterdir() if file.is_file()}
        assert any(b"handler_failed" in data for data in written.values())
        assert [file.name for file, data in written.items() if PLANTED.encode() in data] == []


class Leaking(Subnet):
    """Its neurons have an operator's own parts, which fail with their secrets."""

    def _configure(self) -> None:
        super()._configure()
        self.metrics = {name: free_port() for name in self.hotkeys}
        for name, port in self.metrics.items():
            file = self.folder / f"{name}.yaml"
            settings = yaml.safe_load(file.read_text())
            for section, (part, own) in OWN.items():
                settings.setdefault(section, {})[part] = own | secrets(f"{name}-{section}")
            settings["handlers"] = {
                "neuron_started": ["tests.loopback.leaking:leak"],
                "metagraph_synced": ["tests.loopback.leaking:leak_async"],
            }
            settings["metrics"] = {"enabled": True, "port": port}
            settings["logging"] = {"level": "TRACE"}
            if name != "validator":
                model = {"class": "tests.loopback.leaking:LeakyModel"} | secrets(f"{name}-model")
                settings["actors"]["predictor"] = model
            write(file, settings)


async def knock(port: int) -> None:
    """Requests of a stranger, with a secret in each part."""
    keypair = Keypair.create_from_uri("//Eve")
    headers = {
        "Authorization": f"Bearer {PLANTED}-stranger",
        "Cookie": f"{PLANTED}-stranger",
        "X-Forwarded-For": f"{PLANTED}-stranger",
        f"X-{PLANTED}-name": "1",
        "X-Bittensor-Hotkey": keypair.ss58_address,
        "X-Bittensor-Nonce": f"{PLANTED}-stranger",
        "User-Agent": f"{PLANTED}-stranger",
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        for method, path in (("GET", "/ws"), ("POST", "/predictions"), ("GET", "/games"), ("PUT", "/nothing")):
            url = f"http://127.0.0.1:{port}{path}?netuid=30&token={PLANTED}-stranger"
            answer = await client.request(method, url, headers=headers, content=f"{PLANTED}-body")
            assert answer.status_code >= 400
            assert PLANTED not in answer.text


async def page(port: int) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"http://127.0.0.1:{port}/metrics")).text


def command_line(pid: int | None) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def content(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
