"""``bettensor wallet``: what is made is said, the real default wallet is not touched by accident, and all is listed."""

import json
import os
from pathlib import Path

import pytest

from bettensor.bus.clock import SystemClock
from bettensor.bus.text import short
from bettensor.neurons.cli import views
from bettensor.neurons.cli.main import main
from bettensor.neurons.edges.certificate_files import read_served
from bettensor.neurons.edges.wallets import load_hotkey, new_wallet


class Person:
    """Runs ``bettensor wallet`` with a home of their own."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.wallets = home / ".bittensor" / "wallets"
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        return main(["wallet", *arguments]), *self._capsys.readouterr()

    def new(self, name: str, hotkey: str, *flags: str) -> tuple[int, str, str]:
        return self("new", "--wallet.name", name, "--wallet.hotkey", hotkey, *flags)

    def address(self, name: str, hotkey: str) -> str:
        address: str = load_hotkey(name, hotkey, str(self.wallets)).ss58_address
        return address

    def encrypt(self, name: str) -> None:
        (self.wallets / name / "coldkey").write_bytes(b"$NACL" + b"x" * 100)


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Person:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Person(tmp_path, capsys)


# --- new


@pytest.mark.parametrize("crypto", ["sr25519", "ed25519"])
def test_a_wallet_is_made_and_its_hotkey_told(person: Person, crypto: str) -> None:
    code, out, err = person.new("w", "one", "--crypto", crypto)
    assert (code, err) == (0, "")
    assert out == (
        "made the wallet 'w' with an unencrypted coldkey and the unencrypted hotkey 'one' in ~/.bittensor/wallets\n"
        f"hotkey: {person.address('w', 'one')}\n"
    )


def test_a_second_hotkey_keeps_the_coldkey(person: Person) -> None:
    person.new("w", "one")
    coldkey = (person.wallets / "w" / "coldkey").read_text()
    code, out, _ = person.new("w", "two")
    assert code == 0
    assert out.startswith("made the unencrypted hotkey 'two' in the wallet 'w' in ~/.bittensor/wallets\n")
    assert (person.wallets / "w" / "coldkey").read_text() == coldkey
    code, _, err = person.new("w", "one")
    assert code == 2
    assert "exists already" in err


def test_an_unencrypted_hotkey_beside_an_encrypted_coldkey_is_told(person: Person) -> None:
    person.new("w", "one")
    person.encrypt("w")
    assert (
        "made the unencrypted hotkey 'two' in the wallet 'w', whose coldkey is encrypted, in"
        in person.new("w", "two")[1]
    )


@pytest.mark.parametrize("flags", [(), ("--json",), ("--wallet.hotkey", "x")])
def test_without_a_name_nothing_is_made_unless_confirmed(person: Person, flags: tuple[str, ...]) -> None:
    code, out, err = person("new", *flags)
    assert (code, out) == (2, "")
    assert "would make the wallet 'default' with an unencrypted coldkey and the unencrypted hotkey" in err
    assert err.endswith("name a wallet with --wallet.name NAME, or confirm with --yes\n")
    assert not person.wallets.exists()
    assert person("new", "--yes", *flags)[0] == 0
    assert (person.wallets / "default" / "coldkey").exists()


def test_without_a_name_a_real_wallet_gets_no_hotkey_unless_confirmed(person: Person) -> None:
    person.new("default", "one")  # named, and so meant
    person.encrypt("default")
    _, _, err = person("new")
    assert "would make the unencrypted hotkey 'default' in the wallet 'default', whose coldkey is encrypted," in err


def test_an_empty_name_is_no_name(person: Person) -> None:
    code, _, err = person.new("", "h")
    assert code == 2
    assert "--wallet.name: expected a name, and not a path, but it is ''" in err
    assert not person.wallets.exists()


def test_names_are_no_paths(person: Person) -> None:
    code, _, err = person("new", "--wallet.hotkey", "../x")
    assert code == 2
    assert "--wallet.hotkey: expected a name, and not a path" in err
    assert not person.wallets.exists()


def test_new_as_json(person: Person) -> None:
    code, out, _ = person.new("w", "h", "--json")
    assert code == 0
    made = {"name": "w", "hotkey": "h", "path": "~/.bittensor/wallets", "address": person.address("w", "h")}
    assert json.loads(out) == made


# --- list


@pytest.fixture
def crowded(person: Person) -> Person:
    """A person with a wallet of all kinds of hotkeys, and an empty wallet."""
    new_wallet("demo", "miner", str(person.wallets), "ed25519")
    new_wallet("demo", "validator", str(person.wallets), "sr25519")
    hotkeys = person.wallets / "demo" / "hotkeys"
    (hotkeys / "half").write_bytes((hotkeys / "minerpub.txt").read_bytes())
    (hotkeys / "locked").write_bytes(b"$NACL" + b"x" * 100)
    os.mkfifo(hotkeys / "\x1bpipe")
    (person.wallets / "bare").mkdir()
    (person.wallets / "bad").mkdir()
    (person.wallets / "bad" / "hotkeys").write_text("")
    return person


def test_wallets_are_listed(crowded: Person) -> None:
    code, out, err = crowded("list")
    assert (code, err) == (0, "")
    miner, validator = crowded.address("demo", "miner"), crowded.address("demo", "validator")
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert rows[0] == "wallet hotkey address key"
    assert rows[2:] == [
        "bad - - its hotkeys cannot be listed: Not a directory",
        "bare - - no hotkey",
        r"demo \x1bpipe - unreadable: it is a special file",
        f"half {miner} ed25519, public half only",
        "locked - encrypted",
        f"miner {miner} ed25519",
        f"validator {validator} sr25519",
        "wallet bad has no coldkeypub.txt",
        "wallet bare has no coldkeypub.txt",
    ]


def test_an_address_is_whole_in_80_columns(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "WIDE", 80)
    person.new("demo", "validator")
    out = person("list")[1]
    assert person.address("demo", "validator") in out
    assert max(map(len, out.splitlines())) <= 80
    assert short(person.address("demo", "validator")) not in out


def test_wallets_as_json(crowded: Person) -> None:
    bad, bare, demo = json.loads(crowded("list", "--json")[1])
    assert (bad["name"], bad["fault"]) == ("bad", "its hotkeys cannot be listed: Not a directory")
    assert bare == {"name": "bare", "coldkeypub": False, "fault": None, "hotkeys": []}
    assert (demo["name"], demo["coldkeypub"]) == ("demo", True)
    hotkeys = {hotkey.pop("name"): hotkey for hotkey in demo["hotkeys"]}
    address = crowded.address("demo", "miner")
    assert hotkeys["miner"] == {"address": address, "scheme": "ed25519", "state": "usable", "reason": None}
    assert hotkeys["locked"] == {"address": None, "scheme": None, "state": "encrypted", "reason": None}
    assert hotkeys["\x1bpipe"]["reason"] == "it is a special file"


def test_a_home_without_wallets_is_told(person: Person) -> None:
    code, out, _ = person("list")
    assert code == 0
    assert out == f"no wallets in {person.wallets}; `bettensor init` makes a throwaway wallet\n"
    assert person("list", "--json")[1] == "[]\n"


def test_a_folder_that_cannot_be_listed_is_told(person: Person, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = person("list", "--wallet.path", str(tmp_path / "file"))
    assert code == 2
    assert "cannot be listed: Not a directory" in err


# --- certificate


def test_a_certificate_is_made_for_a_hotkey_and_the_lines_that_name_it_are_printed(person: Person) -> None:
    person.new("w", "one")
    folder = person.wallets.parent.parent
    flags = ("--wallet.name", "w", "--wallet.hotkey", "one", "--out", str(folder), "--days", "30")
    code, out, err = person("certificate", *flags, "--axon.external_ip", "203.0.113.7")
    assert (code, err) == (0, "")
    made, key, *lines = out.splitlines()
    assert made == f"made {folder}/w.one.pem, valid for 30 days, and its key {folder}/w.one.key"
    digest = key.removeprefix("tls key: ")
    assert "\n".join(lines) == (
        "In the validator's configuration:\n"
        f"axon:\n  tls:\n    certificate: {folder}/w.one.pem\n    key: {folder}/w.one.key"
    )
    served = read_served(folder / "w.one.pem", folder / "w.one.key", SystemClock().wall())
    assert served.about.key == digest
    assert served.about.names == (person.address("w", "one"), "203.0.113.7")
    code, out, _ = person("certificate", *flags, "--json")
    assert json.loads(out)["tls_key"] == digest  # the key is kept


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        (("--wallet.hotkey", "two"), "hotkeys/two names no hotkey; `bettensor wallet list` lists them"),
        (("--axon.external_ip", "somewhere"), "--axon.external_ip: "),
        (("--wallet.hotkey", "../x"), "--wallet.hotkey: expected a name, and not a path"),
        (("--out", "/nowhere/at/all"), "/nowhere/at/all/w.one.key cannot be written: No such file or directory"),
    ],
)
def test_a_certificate_that_cannot_be_made_says_why(person: Person, flags: tuple[str, ...], fault: str) -> None:
    person.new("w", "one")
    folder = str(person.wallets.parent.parent)
    code, out, err = person("certificate", "--wallet.name", "w", "--wallet.hotkey", "one", "--out", folder, *flags)
    assert (code, out) == (2, "")
    assert fault in err
    assert len(err.splitlines()) == 1


def test_days_are_a_number_in_its_bounds(person: Person, capsys: pytest.CaptureFixture[str]) -> None:
    for days in ("0", "36501", "-1", "x"):
        with pytest.raises(SystemExit):
            person("certificate", "--days", days)
        assert "expected a number of days, 1 to 36500" in capsys.readouterr().err
