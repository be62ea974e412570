"""``bettensor init`` makes what is missing, never changes what is there, and writes all or nothing."""

import errno
import io
import json
import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.neurons.cli import init
from bettensor.neurons.cli.main import main
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import MinerSettings, ValidatorSettings
from bettensor.neurons.edges.static_files import read_metagraph
from bettensor.neurons.edges.wallets import load_hotkey, new_wallet
from bettensor.neurons.system.ports import free_port

FILES = ["metagraph.yaml", "miner.yaml", "validator.yaml"]


class Newcomer:
    """A person in an empty folder, with a home of their own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.folder = folder / "home", folder / "work"
        self.home.mkdir()
        self.folder.mkdir()
        self.wallets = self.home / ".bittensor" / "wallets"
        self.port = free_port()
        self._capsys = capsys
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.chdir(self.folder)
        command = self.home / "bettensor"
        command.touch(0o755)
        monkeypatch.setenv("PATH", str(self.home))
        monkeypatch.setattr(sys, "argv", [str(command)])

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of ``bettensor init``."""
        port = () if "--port" in arguments else ("--port", str(self.port))
        return self.run(*port, *arguments)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """The same, without the port that is otherwise wanted."""
        return main(["init", *arguments]), *self._capsys.readouterr()

    def files(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in sorted(self.folder.iterdir())}

    def fails(self, *arguments: str) -> str:
        """What is said of a run that fails; it leaves the folder as it was."""
        before = self.files()
        code, out, err = self(*arguments)
        assert (code, out) == (2, "")
        assert self.files() == before
        assert err.startswith("bettensor: ")
        assert err.count("\n") == 1
        return err

    def hotkey(self, role: str, name: str = "demo") -> str:
        address: str = load_hotkey(name, role, str(self.wallets)).ss58_address
        return address


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Newcomer:
    return Newcomer(tmp_path, monkeypatch, capsys)


# --- from nothing


def test_one_command_makes_all_files_and_says_what_comes_next(
    newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, err = newcomer()
    assert (code, err) == (0, "")
    assert list(newcomer.files()) == FILES
    assert out.endswith(
        "made throwaway keys, not encrypted, for tests only: demo/validator, demo/miner\n"
        "wrote metagraph.yaml, validator.yaml, miner.yaml\n"
        "\n"
        "Next, each in a terminal of its own:\n"
        "\n"
        "  bettensor validator\n"
        "  bettensor miner\n"
    )
    for role in ("validator", "miner"):
        assert re.search(f"^{role} +demo/{role} +{newcomer.hotkey(role)}$", out, re.MULTILINE)


def test_the_files_pass_the_check_and_fit_together(newcomer: Newcomer) -> None:
    newcomer()
    for role in ("validator", "miner"):
        assert main(["config", "check", f"{role}.yaml"]) == 0
    validator, miner = load_settings(Path("validator.yaml")), load_settings(Path("miner.yaml"))
    assert isinstance(validator, ValidatorSettings)
    assert isinstance(miner, MinerSettings)
    assert (validator.axon.ip, validator.axon.port) == ("127.0.0.1", newcomer.port)
    first, second = read_metagraph(newcomer.folder / "metagraph.yaml").contents.neurons
    assert (first.uid, first.hotkey, first.validator_permit) == (0, newcomer.hotkey("validator"), True)
    assert first.axon == f"127.0.0.1:{newcomer.port}"
    assert (second.uid, second.hotkey, second.axon) == (1, newcomer.hotkey("miner"), None)


def test_both_neurons_have_a_place_where_commands_find_them(newcomer: Newcomer) -> None:
    newcomer()
    places = [load_settings(Path(f"{role}.yaml")).state_dir for role in ("validator", "miner")]
    assert places == [newcomer.home / ".bettensor" / f"demo-{role}" for role in ("validator", "miner")]


def test_every_choice_in_a_comment_can_be_made(newcomer: Newcomer) -> None:
    newcomer()
    choices = 0
    for role in ("validator", "miner"):
        text = (newcomer.folder / f"{role}.yaml").read_text()
        for choice in re.findall(r"^# (\w+: [\[{].*)$", text, re.MULTILINE):
            document = yaml.safe_load(text) | yaml.safe_load(choice)
            if "subtensor" in document:
                del document["metagraph"]
            Path("changed.yaml").write_text(yaml.safe_dump(document))
            load_settings(Path("changed.yaml"))
            choices += 1
    assert choices == 11


def test_another_wallet_in_another_folder(newcomer: Newcomer) -> None:
    code, out, _ = newcomer("--wallet.name", "my wallet", "--wallet.path", "../keys", "--directory", "sub/net work")
    assert code == 0
    assert "\n  cd 'sub/net work' && bettensor validator\n  cd 'sub/net work' && bettensor miner\n" in out
    assert not newcomer.wallets.exists()
    settings = load_settings(Path("sub/net work/validator.yaml"))
    assert settings.wallet.name == "my wallet"
    assert settings.wallet.path == newcomer.folder.parent / "keys"
    assert settings.state_dir.name == "my wallet-validator"
    assert main(["config", "check", "sub/net work/miner.yaml"]) == 0


def test_a_command_that_is_not_on_the_path_is_told_as_it_was_called(
    newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [".venv/bin/bettensor"])
    assert f"\n  {newcomer.folder}/.venv/bin/bettensor validator\n" in newcomer()[1]


def test_as_json(newcomer: Newcomer) -> None:
    code, out, _ = newcomer("--json")
    assert code == 0
    made = json.loads(out)
    assert made["wallets"]["miner"] == {
        "name": "demo",
        "hotkey": "miner",
        "path": str(newcomer.wallets),
        "address": newcomer.hotkey("miner"),
        "new": True,
    }
    assert (sorted(made["written"]), made["kept"], made["notes"]) == (FILES, [], [])
    assert made["endpoint"] == f"127.0.0.1:{newcomer.port}"
    assert made["next"] == ["bettensor validator", "bettensor miner"]


@pytest.mark.parametrize("flag", [["--port", "0"], ["--port", "65536"], ["--port", "x"]])
def test_a_port_is_a_number_that_can_be_listed(newcomer: Newcomer, flag: list[str]) -> None:
    with pytest.raises(SystemExit):
        newcomer(*flag)


def test_a_port_in_use_is_replaced_by_the_next_free_one(newcomer: Newcomer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, _ = newcomer("--port", str(port))
    assert code == 0
    settings = load_settings(Path("validator.yaml"))
    assert isinstance(settings, ValidatorSettings)
    assert settings.axon.port > port
    told = f"port {port} cannot be used (Address already in use), so the validator's port is {settings.axon.port}\n"
    assert told in out
    assert f"127.0.0.1:{settings.axon.port}" in (newcomer.folder / "metagraph.yaml").read_text()


def test_if_no_port_nearby_is_free_the_system_chooses(newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object) -> socket.socket:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(init, "listen_on", taken)
    assert "port 80 cannot be used (Permission denied), so the validator's port is" in newcomer("--port", "80")[1]


# --- beside what is there


def test_a_second_run_changes_nothing(newcomer: Newcomer) -> None:
    newcomer()
    before = newcomer.files()
    code, out, err = newcomer()
    assert (code, err) == (0, "")
    assert newcomer.files() == before
    assert "left as they are: metagraph.yaml, validator.yaml, miner.yaml\n" in out
    assert "made" not in out
    assert "wrote" not in out


@pytest.mark.parametrize("lost", FILES)
@pytest.mark.parametrize("flags", [(), ("--wallet.name", "other")])
def test_a_second_run_writes_what_is_missing(newcomer: Newcomer, lost: str, flags: tuple[str, ...]) -> None:
    newcomer(*flags)
    before = newcomer.files()
    (newcomer.folder / lost).unlink()
    code, out, _ = newcomer.run()
    assert code == 0
    assert f"wrote {lost}\n" in out
    assert newcomer.files() == before


def test_a_file_of_the_operator_stays_and_the_others_fit_it(newcomer: Newcomer) -> None:
    address = new_wallet("prod", "default", str(newcomer.wallets), "ed25519")
    settings = {
        "role": "validator",
        "netuid": 30,
        "state_dir": "state",
        "wallet": {"name": "prod", "hotkey": "default"},
        "metagraph": {"static": "metagraph.yaml"},
        "axon": {"ip": "::1", "port": 9000},
    }
    Path("validator.yaml").write_text(yaml.safe_dump(settings))
    code, out, _ = newcomer("--wallet.name", "x")
    assert code == 0
    assert yaml.safe_load(Path("validator.yaml").read_text()) == settings
    first, second = read_metagraph(Path("metagraph.yaml")).contents.neurons
    assert (first.hotkey, first.axon, first.crypto) == (address, "[::1]:9000", "ed25519")
    assert second.hotkey == newcomer.hotkey("miner", "x")
    assert "--wallet.name x is not used for the validator: validator.yaml names wallet prod\n" in out
    assert f"--port {newcomer.port} is not used: a file that exists has [::1]:9000\n" in out
    assert [file.name for file in (newcomer.wallets / "prod" / "hotkeys").iterdir()] == ["default", "defaultpub.txt"]


def test_neurons_on_the_chain_need_no_metagraph_file(newcomer: Newcomer) -> None:
    newcomer()
    Path("metagraph.yaml").unlink()
    for role in ("validator", "miner"):
        file = Path(f"{role}.yaml")
        file.write_text(file.read_text().replace("metagraph: {", "# metagraph: {").replace("# subtensor", "subtensor"))
    code, out, _ = newcomer()
    assert code == 0
    assert "left as they are: validator.yaml, miner.yaml\n" in out
    assert not Path("metagraph.yaml").exists()


def test_existing_hotkeys_are_used(newcomer: Newcomer) -> None:
    address = new_wallet("demo", "miner", str(newcomer.wallets), "sr25519")
    _, out, _ = newcomer()
    assert "for tests only: demo/validator\n" in out
    assert newcomer.hotkey("miner") == address


def test_a_new_hotkey_beside_an_encrypted_coldkey_is_told(newcomer: Newcomer) -> None:
    new_wallet("prod", "miner", str(newcomer.wallets), "sr25519")
    (newcomer.wallets / "prod" / "coldkey").write_bytes(b"$NACL" + b"x" * 100)
    _, out, _ = newcomer("--wallet.name", "prod")
    assert "the coldkey of wallet 'prod' is encrypted, but its new hotkey 'validator' is not\n" in out


# --- faults


def choose_any_port() -> None:
    Path("metagraph.yaml").unlink()
    file = Path("validator.yaml")
    file.write_text(re.sub("port: [0-9]+", "port: 0", file.read_text()))


Spoil = Callable[[Newcomer], object]
FAULTS: dict[str, tuple[Spoil, str]] = {
    "a wrong file": (lambda _: Path("miner.yaml").write_text("netuid: x\nstate_dir: x"), r"miner\.yaml: .*netuid"),
    "a file of the other role": (
        lambda _: Path("miner.yaml").write_text(Path("validator.yaml").read_text()),
        r"miner\.yaml: role: expected 'miner'",
    ),
    "a wrong metagraph": (lambda _: Path("metagraph.yaml").write_text("x"), r"metagraph\.yaml: expected keys"),
    "another wallet": (
        lambda n: (n.wallets / "demo").rename(n.wallets / "other"),
        r"metagraph\.yaml: the file exists, and it does not list the validator, demo/validator; choose another --dir",
    ),
    "a metagraph without the miner": (
        lambda n: Path("metagraph.yaml").write_text(
            f"neurons: [{{hotkey: {n.hotkey('validator')}, axon: '127.0.0.1:1'}}]"
        ),
        r"does not list the miner, demo/miner; add its hotkey 5\w{47}, or move the file away",
    ),
    "a metagraph without the axon": (
        lambda n: Path("metagraph.yaml").write_text(f"neurons: [{{hotkey: {n.hotkey('validator')}}}]"),
        "has no axon for the validator",
    ),
    "an encrypted hotkey": (
        lambda n: (n.wallets / "demo/hotkeys/miner").write_bytes(b"$NACL" + b"x" * 100),
        "/miner is encrypted",
    ),
    "a foreign hotkey that is missing": (
        lambda _: Path("miner.yaml").write_text(Path("miner.yaml").read_text().replace("hotkey: miner", "hotkey: m2")),
        "wallet 'demo' has no hotkey 'm2'",
    ),
    "one hotkey for both": (
        lambda _: Path("miner.yaml").write_text(
            Path("miner.yaml").read_text().replace("hotkey: miner", "hotkey: validator")
        ),
        "name the same hotkey",
    ),
    "any free port": (lambda _: choose_any_port(), r"validator\.yaml: axon\.port is 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_exists_and_does_not_fit_is_told_and_left_alone(newcomer: Newcomer, fault: str) -> None:
    newcomer()
    spoil, told = FAULTS[fault]
    spoil(newcomer)
    assert re.search(told, newcomer.fails())


def test_an_empty_name_is_no_name(newcomer: Newcomer) -> None:
    assert "--wallet.name: expected a name" in newcomer.fails("--wallet.name", "")


def test_a_folder_that_is_a_file_is_told(newcomer: Newcomer) -> None:
    Path("file").write_text("")
    assert "file: it is not a folder; choose another --directory" in newcomer.fails("--directory", "file")
    assert "cannot be written: Not a directory; no file was written" in newcomer.fails("--directory", "file/below")
    assert not newcomer.wallets.exists()


def test_a_folder_that_this_user_may_not_write_to_is_told(newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root, who may run this test, may write everywhere
    assert "this user may not write to this folder; choose another --directory" in newcomer.fails()
    assert not newcomer.wallets.exists()


def test_a_home_that_takes_no_wallet_is_told(newcomer: Newcomer) -> None:
    (newcomer.home / ".bittensor").write_text("")
    assert "the wallet cannot be written: " in newcomer.fails("--directory", "new")


def test_a_disk_that_is_full_takes_all_files_or_none(newcomer: Newcomer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Path.open

    def full(self: Path, *arguments: Any, **more: Any) -> Any:
        if self.name == "miner.yaml":
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return opened(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        told = newcomer.fails("--directory", "new")
    assert told == (
        "bettensor: new/miner.yaml: cannot be written: No space left on device; no file was written; the wallet was "
        "made, and the next run uses it\n"
    )
    address = newcomer.hotkey("validator")
    assert newcomer()[0] == 0
    assert newcomer.hotkey("validator") == address
