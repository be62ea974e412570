"""The doctor names what is broken, and how to repair it; and finds nothing where nothing is."""

import asyncio
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import bittensor
import pytest
import yaml

from bettensor.actors.settings import PortLimits
from bettensor.bus.clock import SystemClock
from bettensor.bus.events import NeuronInfo
from bettensor.bus.identifiers import Hotkey, Uid
from bettensor.neurons.cli import doctor, versions
from bettensor.neurons.cli.doctor import Finding, can_run, examine
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.edges.certificate_files import read_served
from bettensor.neurons.edges.crowd import files_for
from bettensor.neurons.edges.wallets import new_wallet
from bettensor.neurons.simulation import SimulatedSubstrate, make_game
from bettensor.neurons.system.processes import most_open_files
from tests.loopback.rig import running_validator, write_configuration
from tests.neurons.edges.certificates import Pair, make_pair
from tests.neurons.unwatched import REASONS, refuse_watches
from tests.support import NETUID


class Ticking(SimulatedSubstrate):
    """Makes a block whenever it is asked for the newest, unless it stands still."""

    stuck = False

    async def block_number(self) -> int:
        self.block += not self.stuck
        return await super().block_number()


class Place:
    """A sound set-up on a chain in memory, for a test to break."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.wallets = folder / "wallets"
        self.hotkeys = {role: new_wallet("w", role, str(self.wallets), "sr25519") for role in ("validator", "miner")}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.substrate = Ticking(NETUID)
        self.substrate.now = round(time.time() * 1000) - 3000
        self.rows = [
            NeuronInfo(Uid(0), self.hotkeys["validator"], validator_permit=True, axon=f"127.0.0.1:{self.port}"),
            NeuronInfo(Uid(1), self.hotkeys["miner"]),
        ]
        (folder / "games.json").write_text(json.dumps({"games": [make_game().to_dict()]}))
        self.changes: dict[str, Any] = {}

    def settings(self, role: str) -> dict[str, Any]:
        common = {
            "role": role,
            "netuid": NETUID,
            "state_dir": f"{role}-state",
            "wallet": {"name": "w", "hotkey": role, "path": str(self.wallets)},
            "subtensor": {"network": "local"},
        }
        validator = {"axon": {"ip": "127.0.0.1", "port": self.port}, "games": {"path": "games.json"}}
        limits = {"actors": {"auth": {"max_connections": 16}}}
        return common | (validator | limits if role == "validator" else {}) | self.changes

    def write(self, role: str) -> Path:
        file = self.folder / f"{role}.yaml"
        file.write_text(yaml.safe_dump(self.settings(role)))
        return file

    def examine(self, role: str = "validator") -> list[Finding]:
        self.substrate.neurons = self.rows
        file = self.write(role)
        return examine(
            load_settings(file),
            str(file),
            lambda chosen: bittensor.Client(chosen, substrate=self.substrate),  # type: ignore[arg-type]
        )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("BTCLI_CONFIG", str(tmp_path / "bittensor" / "config.json"))
    monkeypatch.setattr(doctor, "ANSWER_TIMEOUT", 0.3)
    monkeypatch.setattr(doctor, "DIAL_TIMEOUT", 0.3)
    monkeypatch.setattr(doctor, "NEXT_BLOCK", 0.05)
    monkeypatch.setattr(doctor, "LOOK_INTERVAL", 0.01)
    return Place(tmp_path, monkeypatch)


@pytest.fixture
def listening(place: Place) -> Iterator[None]:
    """The validator is there."""
    with socket.socket() as validator:
        validator.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        validator.bind(("127.0.0.1", place.port))
        validator.listen()
        yield


def health(findings: list[Finding]) -> dict[str, str]:
    return {finding.what: finding.health for finding in findings}


def test_a_sound_validator_has_nothing_wrong(place: Place) -> None:
    findings = place.examine()
    assert {finding.health for finding in findings} <= {"ok", "warning"}, findings
    things = [
        "versions",
        "configuration",
        "disk",
        "open files",
        "file changes",
        "wallet",
        "chain",
        "clock",
        "metagraph",
    ]
    assert list(health(findings)) == [*things, "registration", "port", "endpoint", "tls", "synapse"]
    assert can_run(findings)


def test_a_sound_miner_has_nothing_wrong(place: Place, listening: None) -> None:
    assert listening is None
    findings = place.examine("miner")
    assert health(findings)["validators"] == "ok"
    assert can_run(findings)


def test_files_that_cannot_be_watched_are_a_warning(place: Place) -> None:
    refuse_watches(place.patch)
    findings = place.examine()
    (finding,) = [finding for finding in findings if finding.what == "file changes"]
    assert finding.health == "warning"
    assert REASONS["no instance is left"] in finding.text
    assert "fs.inotify.max_user_instances" in finding.cure
    assert can_run(findings)


@pytest.mark.parametrize("down", [False, True])
def test_a_proxy_on_the_way_to_the_chain_is_told_without_its_password(place: Place, *, down: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        place.patch.delenv(name, raising=False)
    place.patch.setenv("http_proxy", "http://me:secret@proxy.example:3128")
    place.patch.setenv("https_proxy", "")
    place.substrate.down = "connection refused" if down else None
    place.changes["subtensor"] = {"chain_endpoint": "ws://chain.example:9944"}
    (finding,) = [finding for finding in place.examine() if finding.what == "chain"]
    assert "through the proxy http://proxy.example:3128" in finding.text
    assert ("check the proxy" in finding.cure) == down
    assert "secret" not in finding.text + finding.cure


def make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


Break = Callable[[Place], object]
VALIDATOR_BREAKS: dict[str, tuple[Break, str, str, str]] = {
    "no wallet": (lambda p: shutil.rmtree(p.wallets), "wallet", "no folder of wallets", "bettensor init"),
    "no hotkey": (
        lambda p: (p.wallets / "w/hotkeys/validator").unlink(),
        "wallet",
        "has no hotkey 'validator'",
        "set wallet.hotkey to another hotkey (miner (",
    ),
    "public half": (
        lambda p: shutil.copy(p.wallets / "w/hotkeys/validatorpub.txt", p.wallets / "w/hotkeys/validator"),
        "wallet",
        "holds only the public half",
        "copy the hotkey's own file here",
    ),
    "a pipe": (
        lambda p: make_pipe(p.wallets / "w/hotkeys/validator"),
        "wallet",
        "cannot be read: it is a special file",
        "copy it here again",
    ),
    "an encrypted hotkey": (
        lambda p: (p.wallets / "w/hotkeys/validator").write_bytes(b"$NACL" + b"0" * 200),
        "wallet",
        "encrypted",
        "",
    ),
    "the chain is down": (
        lambda p: setattr(p.substrate, "down", "connection refused"),
        "chain",
        "local does not answer: ConnectionError: connection refused",
        "subtensor.chain_endpoint",
    ),
    "the chain is silent": (lambda p: setattr(p.substrate, "silent", True), "chain", "TimeoutError", "network"),
    "another subnet": (lambda p: setattr(p.substrate, "netuid", 31), "metagraph", "there is no subnet 30", "netuid"),
    "not registered": (lambda p: p.rows.pop(0), "registration", "is not on subnet 30", "btcli subnets register"),
    "no permit": (
        lambda p: p.rows.__setitem__(0, NeuronInfo(Uid(0), p.hotkeys["validator"], axon="127.0.0.1:1")),
        "registration",
        "UID 0 has no validator permit",
        "stake more",
    ),
    "another endpoint": (
        lambda p: p.rows.__setitem__(
            0, NeuronInfo(Uid(0), p.hotkeys["validator"], validator_permit=True, axon="127.0.0.1:1")
        ),
        "endpoint",
        "the metagraph has 127.0.0.1:1, but the port is",
        "axon.external_ip",
    ),
    "no endpoint": (
        lambda p: p.rows.__setitem__(0, NeuronInfo(Uid(0), p.hotkeys["validator"], validator_permit=True)),
        "endpoint",
        "has no endpoint for this validator",
        "set axon.external_ip",
    ),
    "a clock that is behind": (
        lambda p: setattr(p.substrate, "now", round(time.time() * 1000) + 5000),
        "clock",
        "s behind the newest block",
        "NTP",
    ),
    "a clock that is ahead": (
        lambda p: setattr(p.substrate, "now", round(time.time() * 1000) - 3_600_000),
        "clock",
        "s ahead of the newest block",
        "NTP",
    ),
    "the address of another machine": (
        lambda p: p.changes.update(axon={"ip": "192.0.2.1", "port": p.port}),
        "port",
        "cannot be bound: Cannot assign requested address",
        "announce 192.0.2.1 by axon.external_ip",
    ),
    "a disk that is full": (
        lambda p: p.patch.setattr(doctor, "NO_SPACE", 1 << 60),
        "disk",
        "validator-state is full",
        "free some space",
    ),
    "another bittensor": (
        lambda p: p.patch.setattr(versions, "version", lambda _: "11.2.9"),
        "versions",
        "bittensor 11.2.9",
        "pip install 'bittensor>=11.3,<12'",
    ),
    "a limit that is no number": (
        lambda p: p.changes.update(actors={"auth": {"max_connections": "many"}}),
        "configuration",
        "max_connections",
        "bettensor config check",
    ),
    "games that cannot be read": (
        lambda p: (p.folder / "games.json").write_text("{"),
        "configuration",
        "games.json",
        "bettensor config check",
    ),
    "games in UTF-16": (
        lambda p: (p.folder / "games.json").write_bytes(b"\xff\xfe[\0]\0"),
        "configuration",
        "it is UTF-16 text; save it as UTF-8",
        "bettensor config check",
    ),
    "an actor that is not there": (
        lambda p: p.changes.update(actors={"mine": {"class": "no_such:Actor"}}),
        "configuration",
        "no_such",
        "",
    ),
    "a state_dir that is a file": (
        lambda p: (p.folder / "validator-state").write_text(""),
        "disk",
        "validator-state is not a writable folder",
        "set another state_dir",
    ),
}


@pytest.mark.parametrize("broken", VALIDATOR_BREAKS)
def test_what_is_broken_is_named_with_its_cure(place: Place, broken: str) -> None:
    harm, what, said, cure = VALIDATOR_BREAKS[broken]
    harm(place)
    findings = place.examine()
    found = [finding for finding in findings if finding.what == what and finding.health == "failure"]
    assert found, findings
    assert said in found[0].text
    assert cure in found[0].cure
    assert not can_run(findings)
    assert f"FAILURE  {what}" in "\n".join(doctor.text(findings, 120))


def test_a_hotkey_that_everybody_may_read_is_a_warning(place: Place) -> None:
    file = place.wallets / "w" / "hotkeys" / "validator"
    file.chmod(0o644)
    findings = place.examine()
    (found,) = [finding for finding in findings if finding.what == "wallet"]
    assert found.health == "warning"
    assert found.text.endswith(f"is {place.hotkeys['validator']}, and every user of this machine may read {file}")
    assert found.cure == f"chmod 600 {file}"
    assert can_run(findings)
    file.chmod(0o640)  # the neuron's group
    assert health(place.examine())["wallet"] == "ok"


@pytest.mark.parametrize(("rows", "others"), [(1, ""), (3, ", and 2 more")])
def test_rows_that_the_neuron_would_skip_are_a_warning(place: Place, rows: int, others: str) -> None:
    (place.folder / "games.json").write_text(json.dumps([make_game().to_dict(), *[None] * rows]))
    findings = place.examine()
    (found,) = [finding for finding in findings if finding.what == "configuration"]
    assert found.health == "warning"
    assert found.text.endswith(f"games.json: games.1: expected a game with its fields, not null{others}")
    assert "lists all" in found.cure


def test_too_few_open_files_are_a_warning_and_only_the_hard_limit_counts(place: Place) -> None:
    most = most_open_files()
    place.changes.update(actors={"auth": {"max_connections": most}})
    found = next(finding for finding in place.examine() if finding.what == "open files")
    assert (found.health, f"the hard limit is {most}" in found.text) == ("warning", True)
    assert f"LimitNOFILE={files_for(PortLimits(), most)}" in found.cure
    place.changes.update(actors={"auth": {"max_connections": 16}}, limits={"strangers": 16})
    assert health(place.examine())["open files"] == "ok"


def test_what_is_longer_than_a_line_goes_on_below_itself() -> None:
    finding = Finding("port", "failure", "cannot be bound: " + "word " * 12 + "x" * 80, "a cure " * 10)
    lines = list(doctor.text([finding], 60))
    assert lines[0].startswith("FAILURE  port           cannot be bound: word")
    assert {line[:24].strip() for line in lines[1:]} == {""}
    assert [line for line in lines if len(line) > 60] == [" " * 24 + "x" * 80]  # a path can be copied


async def test_a_validator_that_runs_holds_its_own_port(tmp_path: Path) -> None:
    async with running_validator(tmp_path) as rig:
        port = rig.validator.port
        file = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port})
        findings = await asyncio.to_thread(examine, load_settings(file), str(file))
        (found,) = [finding for finding in findings if finding.what == "port"]
        listens = f"this validator (process {os.getpid()}) listens on 127.0.0.1:{port}"
        assert (found.health, found.text) == ("ok", listens)
        file = write_configuration(tmp_path, axon={"ip": "127.0.0.1", "port": port}, state_dir="other")
        findings = await asyncio.to_thread(examine, load_settings(file), str(file))
        assert health(findings)["port"] == "failure"


def test_a_port_that_is_taken(place: Place, listening: None) -> None:
    assert listening is None
    (port,) = [finding for finding in place.examine() if finding.what == "port"]
    assert (port.health, f"127.0.0.1:{place.port} cannot be bound: Address already in use") == ("failure", port.text)


def test_a_port_that_is_not_reachable_from_outside(place: Place) -> None:
    place.rows[0] = NeuronInfo(Uid(0), place.hotkeys["validator"], validator_permit=True, axon=f"[::1]:{place.port}")
    (endpoint,) = [finding for finding in place.examine() if finding.what == "endpoint"]
    assert (endpoint.health, "cannot be reached from this machine" in endpoint.text) == ("warning", True)


def test_a_miner_without_a_validator_that_it_can_reach(place: Place) -> None:
    place.changes = {"validators": ["5nobody", place.hotkeys["validator"]]}
    findings = [finding for finding in place.examine("miner") if finding.what == "validators"]
    assert [finding.health for finding in findings] == ["warning", "warning", "failure"]
    assert "5nobody is not in the metagraph" in findings[0].text
    assert "Connect" in findings[1].text or "refused" in findings[1].text
    assert "none of 1 can be reached from this machine" in findings[2].text
    place.rows[0] = NeuronInfo(Uid(0), Hotkey("5x"), validator_permit=True, axon="10.255.255.1:no")
    assert not can_run(place.examine("miner"))


def test_a_static_metagraph_needs_no_chain(place: Place) -> None:
    (place.folder / "metagraph.yaml").write_text(
        yaml.safe_dump({"neurons": [{"hotkey": place.hotkeys["validator"], "validator_permit": True}]})
    )
    place.changes = {"subtensor": {}, "metagraph": {"static": "metagraph.yaml"}}
    found = health(place.examine())
    assert (found["metagraph"], found["clock"], "chain" in found) == ("ok", "unknown", False)


def test_a_chain_that_says_no_time_and_a_disk_that_is_nearly_full(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.substrate.now = None
    monkeypatch.setattr(doctor, "LEAST_SPACE", 1 << 60)
    found = health(place.examine())
    assert (found["clock"], found["disk"]) == ("unknown", "warning")


@pytest.mark.parametrize(
    ("stuck", "behind", "said"),
    [
        (False, 8, ("warning", "s ahead of a new block")),
        (False, 14, ("failure", "s ahead of the newest block")),
        (True, 8, ("unknown", "no other came within")),
        (True, 40, ("failure", "or the chain has stopped")),
    ],
)
def test_a_clock_is_compared_with_a_block_that_has_just_come(
    place: Place, stuck: bool, behind: int, said: tuple[str, str]
) -> None:
    place.substrate.stuck, place.substrate.now = stuck, round((time.time() - behind) * 1000)
    (clock,) = [finding for finding in place.examine() if finding.what == "clock"]
    assert (clock.health, said[1] in clock.text) == (said[0], True), clock


@pytest.mark.parametrize("told", [None, "127.0.0.1:1"])
def test_an_endpoint_that_is_to_be_announced_stands_in_nobodys_way(place: Place, told: str | None) -> None:
    place.rows[0] = NeuronInfo(Uid(0), place.hotkeys["validator"], validator_permit=True, axon=told)
    place.changes = {"axon": {"ip": "127.0.0.1", "port": place.port, "external_ip": "127.0.0.1"}}
    findings = place.examine()
    (endpoint,) = [finding for finding in findings if finding.what == "endpoint"]
    assert (endpoint.health, endpoint.cure[:9]) == ("warning", "start it:")
    assert ("axon.serve: false in one of the two" in endpoint.cure) == bool(told)
    assert f"this validator will announce 127.0.0.1:{place.port}" in endpoint.text
    assert can_run(findings)
    place.changes["axon"]["serve"] = False
    assert not can_run(place.examine())


def finding(findings: list[Finding], what: str) -> Finding:
    (found,) = [found for found in findings if found.what == what]
    return found


def test_a_miner_that_answers_no_existing_validators_needs_no_port(place: Place) -> None:
    findings = place.examine("miner")
    assert finding(findings, "synapse").text == "off: this miner answers no existing validators (synapse.enabled)"
    assert {"port", "endpoint"}.isdisjoint(health(findings))


def serving_miner(place: Place, **changes: Any) -> int:
    """A miner that answers existing validators, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    place.changes = {"synapse": {"enabled": True, "ip": "127.0.0.1", "port": port} | changes}
    return port


def test_a_miners_synapse_port_is_checked_like_a_validators(place: Place, listening: None) -> None:
    assert listening is None
    port = serving_miner(place)
    findings = place.examine("miner")
    assert finding(findings, "port").text == f"127.0.0.1:{port} is free"
    endpoint = finding(findings, "endpoint")
    text = "the metagraph has no endpoint for this miner, so existing validators do not find it"
    assert (endpoint.health, endpoint.text) == ("warning", text)
    assert "set synapse.external_ip" in endpoint.cure
    assert can_run(findings)
    with socket.create_server(("127.0.0.1", port)):
        taken = finding(place.examine("miner"), "port")
    assert (taken.health, "or set another synapse.port" in taken.cure) == ("failure", True)


@pytest.mark.parametrize("told", [None, "127.0.0.1:1", "ours"])
def test_what_a_miner_announces_and_what_the_chain_has(place: Place, listening: None, told: str | None) -> None:
    assert listening is None
    port = serving_miner(place, external_ip="127.0.0.1")
    ours = f"127.0.0.1:{port}"
    told = ours if told == "ours" else told
    place.rows[1] = NeuronInfo(Uid(1), place.hotkeys["miner"], axon=told)
    findings = place.examine("miner")
    has = f"it announces {ours}, and the metagraph has {told or 'no endpoint'}"
    assert finding(findings, "synapse").text == f"on: this miner answers existing validators; {has}"
    assert finding(findings, "endpoint").health == ("ok" if told == ours else "warning")
    assert can_run(findings)


def test_a_miner_that_announces_nothing_may_be_announced_already(place: Place, listening: None) -> None:
    assert listening is None
    port = serving_miner(place)
    place.rows[1] = NeuronInfo(Uid(1), place.hotkeys["miner"], axon=f"127.0.0.1:{port}")
    findings = place.examine("miner")
    assert "it announces nothing, and the metagraph has 127.0.0.1:" in finding(findings, "synapse").text
    assert finding(findings, "endpoint").health == "ok"
    place.rows[1] = NeuronInfo(Uid(1), place.hotkeys["miner"], axon="127.0.0.1:1")
    endpoint = finding(place.examine("miner"), "endpoint")
    assert (endpoint.health, "the metagraph has 127.0.0.1:1, but the port is" in endpoint.text) == ("warning", True)


@pytest.mark.parametrize(
    ("permit", "stake", "found", "said"),
    [
        (False, 1e6, "warning", "existing miners refuse validators without a permit"),
        (True, 999.0, "warning", "the stake is 999, and existing miners refuse less than 1,000 to 10,000"),
        (True, 10_000.0, "ok", "on: existing miners are asked every 60 s"),
    ],
)
def test_a_validator_that_existing_miners_would_refuse_is_warned(
    place: Place, permit: bool, stake: float, found: str, said: str
) -> None:
    assert "off: this validator asks no existing miners" in finding(place.examine(), "synapse").text
    place.changes = {"synapse": {"enabled": True}}
    me = place.rows[0]
    place.rows[0] = NeuronInfo(Uid(0), me.hotkey, validator_permit=permit, stake=stake, axon=me.axon)
    synapse = finding(place.examine(), "synapse")
    assert (synapse.health, said in synapse.text) == (found, True), synapse


def serve_date(listening: socket.socket, ahead: int | None) -> None:
    """Answer one request with the Date of a clock that ours is so much ahead of; None: with nonsense."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(4096)
        date = "yesterday" if ahead is None else formatdate(time.time() - ahead, usegmt=True)
        connection.sendall(f"HTTP/1.1 200 OK\r\nDate: {date}\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("ahead", "said"), [(0, None), (10, "10 s ahead of"), (-10, "10 s behind"), (None, None)], ids=str
)
def test_a_miners_clock_is_compared_with_its_validators(place: Place, ahead: int | None, said: str | None) -> None:
    with socket.create_server(("127.0.0.1", place.port)) as listening:
        answering = threading.Thread(target=serve_date, args=(listening, ahead))
        answering.start()
        findings = place.examine("miner")
        answering.join()
    wrong = [finding for finding in findings if finding.what == "clock" and finding.health == "failure"]
    assert [said in finding.text for finding in wrong if said] == ([] if said is None else [True])
    assert can_run(findings) == (said is None)


def test_the_command(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"hotkey": place.hotkeys["validator"], "validator_permit": True, "axon": f"127.0.0.1:{place.port}"}
    (place.folder / "metagraph.yaml").write_text(yaml.safe_dump({"neurons": [row]}))
    place.changes = {"subtensor": {}, "metagraph": {"static": "metagraph.yaml"}}
    place.write("validator")
    monkeypatch.chdir(place.folder)
    assert main(["doctor", "--role", "validator"]) == 0
    assert "ok       port" in capsys.readouterr().out
    assert main(["doctor", "--config", "validator.yaml", "--wallet.hotkey=nobody", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [finding["what"] for finding in found if finding["health"] == "failure"] == ["wallet"]
    assert main(["doctor", "--config", "validator.yaml", f"--auth.schemes.{row['hotkey']}=mldsa"]) == 2
    assert "must be 'sr25519' or 'ed25519', but it is 'mldsa'" in capsys.readouterr().err
    assert main(["doctor"]) == 2
    assert "with --role or --config" in capsys.readouterr().err


# --- TLS


def tls_of(place: Place, pair: Pair, **settings: Any) -> Finding:
    tls = {"certificate": str(pair.pem), "key": str(pair.key)} | settings
    place.changes = {"axon": {"ip": "127.0.0.1", "port": place.port, "tls": tls}}
    return finding(place.examine(), "tls")


def test_a_certificate_is_shown_with_its_key_and_judged(place: Place) -> None:
    assert finding(place.examine(), "tls").text.startswith("off: ")
    good = make_pair(place.folder, hosts=(place.hotkeys["validator"], "203.0.113.7"), days=30)
    found = tls_of(place, good)
    assert found.health == "ok"
    assert found.text.startswith(f"{good.pem}: key {good.digest}, for {place.hotkeys['validator']}, 203.0.113.7, valid")
    soon = tls_of(place, make_pair(place.folder, "soon", days=13))
    assert (soon.health, soon.cure.partition(",")[0]) == ("warning", "renew it")
    assert tls_of(place, make_pair(place.folder, "late", days=-1)).cure.startswith("it has expired at ")
    other = tls_of(place, make_pair(place.folder, "other", hosts=(place.hotkeys["miner"],)))
    assert (other.health, other.cure) == ("warning", "bettensor wallet certificate makes one")
    assert other.text.endswith(f"; this hotkey is {place.hotkeys['validator']}")


def test_a_certificate_that_cannot_be_used_fails_the_configuration(place: Place) -> None:
    pair = make_pair(place.folder)
    pair.key.write_text("")
    place.changes = {"axon": {"port": place.port, "tls": {"certificate": str(pair.pem), "key": str(pair.key)}}}
    findings = place.examine()
    assert finding(findings, "configuration").text == f"axon.tls.key: {pair.key} is empty"
    assert not can_run(findings)
    assert "tls" not in health(findings)


def test_each_fault_of_a_certificate_has_its_cure_and_the_configuration_has_no_row_for_it(place: Place) -> None:
    pair = make_pair(place.folder, days=-1)
    pair.key.chmod(0o644)
    found = tls_of(place, pair)
    assert found.health == "warning"
    assert "renew it; every user of this machine may read its key: chmod 600 " in found.cure
    early = tls_of(place, make_pair(place.folder, "early", begins=3600))
    assert early.cure.endswith(": compare this machine's clock with NTP")
    assert finding(place.examine(), "configuration").health == "ok"
    (place.folder / "games.json").write_text('{"games": [{}]}')
    assert finding(place.examine(), "configuration").cure.startswith("correct the rows")


def test_a_proxys_certificate_is_judged_too(place: Place) -> None:
    pair = make_pair(place.folder, days=3)
    place.changes = {"axon": {"port": place.port, "tls": {"proxy_key": str(pair.pem)}}}
    found = finding(place.examine(), "tls")
    assert found.health == "warning"
    assert found.text.startswith(f"the proxy's certificate: key {pair.digest}")


@pytest.mark.parametrize(
    ("tls", "health", "text"),
    [
        ({}, "ok", "1 of 1 validator with TLS, 0 by an authority"),
        ({"mode": "off"}, "ok", "off: predictions can be read on their way to validators"),
        ({"keys": "right"}, "ok", "1 of 1 validator with TLS"),
        ({"keys": "ab" * 32}, "failure", "has the key KEY, and tls.keys pins abab"),
    ],
)
async def test_a_miner_looks_at_its_validators_keys(place: Place, tls: dict[str, Any], health: str, text: str) -> None:
    pair = make_pair(place.folder)
    context = read_served(pair.pem, pair.key, SystemClock().wall()).context
    hotkey = place.hotkeys["validator"]
    keys = {"keys": {hotkey: pair.digest if tls["keys"] == "right" else tls["keys"]}} if "keys" in tls else {}
    place.changes = {"tls": tls | keys}

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", place.port, ssl=context):
        findings = await asyncio.to_thread(place.examine, "miner")
    (found,) = [found for found in findings if found.what == "tls"]
    assert found.health == health
    assert text.replace("KEY", pair.digest) in found.text


def test_a_validator_without_tls_is_named_where_tls_is_required(place: Place) -> None:
    place.changes = {"tls": {"mode": "required"}}
    (found,) = [each for each in place.examine("miner") if each.what == "tls"]
    assert found.health == "warning"
    assert "has no TLS that can be reached" in found.text
