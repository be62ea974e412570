"""Wallets on disk: which files are hotkeys that can sign, what is said of all others, and what is made."""

import json
import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bittensor_core
import pytest
from bittensor import wallets as of_bittensor
from bittensor_core import Keypair

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.text import FEW, short
from bettensor.neurons.edges.keys import UnusableHotkey
from bettensor.neurons.edges.wallets import (
    MAX_BYTES,
    KeyState,
    WalletFolder,
    coldkey_state,
    hotkey_file,
    is_readable_for_all,
    list_wallets,
    load_hotkey,
    new_wallet,
    read_hotkey,
)

OF_11_3_2: Any = SimpleNamespace(crypto_type=3, ss58_address="5" + "G" * 47)
"""A key of a scheme that bittensor has since 11.3.2, and no earlier one can make."""
ENCRYPTED = [b"$NACL" + b"x" * 100, b"$ANSIBLE_VAULT;1.1;AES256\nabc", b"gAAAAA" + b"x" * 100]
"""The beginnings of the formats in which bittensor encrypts a key."""


class Home:
    """The wallet ``demo`` with the hotkeys ``miner`` and ``validator``."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder)
        self.hotkeys = folder / "demo" / "hotkeys"
        self.miner, self.validator = (
            new_wallet("demo", hotkey, self.path, "sr25519") for hotkey in ("miner", "validator")
        )

    def put(self, hotkey: str, content: str | bytes) -> Path:
        file = self.hotkeys / hotkey
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def fault(self, hotkey: str, name: str = "demo", path: str | None = None) -> str:
        with pytest.raises(UnusableHotkey) as fault:
            load_hotkey(name, hotkey, path or self.path)
        told = str(fault.value)
        assert told == f"{fault.value.what}; {fault.value.cure}"
        assert "\n" not in told
        return told


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "wallets")


@pytest.fixture
def _names_of_11_3_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(of_bittensor.CRYPTO_TYPE_NAMES, OF_11_3_2.crypto_type, "mldsa")
    monkeypatch.setattr(bittensor_core, "deserialize_keypair_from_keyfile_data", lambda _: OF_11_3_2)


# --- a hotkey that can sign, and all that cannot


@pytest.mark.parametrize("scheme", ["sr25519", "ed25519"])
def test_a_hotkey_is_loaded_and_can_sign(tmp_path: Path, scheme: Any) -> None:
    address = new_wallet("w", "h", str(tmp_path), scheme)
    keypair = load_hotkey("w", "h", str(tmp_path))
    assert keypair.ss58_address == address
    assert keypair.verify(b"x", keypair.sign(b"x"))


def test_a_link_to_a_hotkey_is_as_good_as_the_hotkey(home: Home) -> None:
    (home.hotkeys / "link").symlink_to(home.hotkeys / "miner")
    assert load_hotkey("demo", "link", home.path).ss58_address == home.miner


def test_a_public_half_is_refused_with_the_name_of_the_same_hotkey(home: Home) -> None:
    file = home.put("x", (home.hotkeys / "minerpub.txt").read_bytes())
    told = home.fault("x")
    assert told.startswith(f"the hotkey {file} holds only the public half, and a neuron must sign; ")
    assert told.endswith("set wallet.hotkey to 'miner', which is the same hotkey")
    assert "set wallet.hotkey to 'miner'" in home.fault("minerpub.txt")


def test_a_public_half_alone_is_to_be_replaced_by_the_whole_file(home: Home) -> None:
    (home.hotkeys / "miner").rename(home.hotkeys / "other")
    (home.hotkeys / "other").write_bytes((home.hotkeys / "minerpub.txt").read_bytes())
    told = home.fault("other")
    assert "copy the hotkey's own file here, not its public half otherpub.txt" in told
    assert "btcli wallet regen-hotkey --wallet demo --wallet-hotkey other" in told
    home.put("cold", (home.hotkeys.parent / "coldkeypub.txt").read_bytes())
    assert "holds only the public half" in home.fault("cold")


@pytest.mark.parametrize("content", ENCRYPTED)
def test_an_encrypted_hotkey_is_refused_without_a_question(home: Home, content: bytes) -> None:
    home.put("miner", content)
    assert re.search("is encrypted; .*only the coldkey.*btcli wallet regen-hotkey", home.fault("miner"))


def whole(home: Home, **changes: Any) -> str:
    return json.dumps(json.loads((home.hotkeys / "miner").read_text()) | changes)


@pytest.mark.parametrize(
    "content",
    [
        lambda _: "",
        lambda _: "not a key",
        lambda _: "[]",
        lambda _: "{}",
        lambda _: "[" * 50_000,
        lambda _: bytes(range(256)),
        lambda home: whole(home, ss58Address=home.validator),
        lambda home: whole(home, cryptoType=7),
        lambda home: whole(home, secretPhrase="bad words"),
        lambda home: whole(home)[:-20],
    ],
)
def test_a_broken_hotkey_is_refused_without_its_content(home: Home, content: Callable[[Home], str | bytes]) -> None:
    secret = json.loads((home.hotkeys / "miner").read_text())["secretSeed"]
    file = home.put("miner", content(home))
    told = home.fault("miner")
    assert told.startswith(f"the hotkey {file} cannot be read: ")
    assert "copy it here again, or write it from its mnemonic: btcli wallet regen-hotkey" in told
    assert secret not in told
    assert "bad words" not in told


def a_socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(file))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "it is a special file"),
        (Path.mkdir, "it is a folder"),
        (a_socket, "it is a special file"),
        (lambda file: file.symlink_to("/dev/zero"), "it is a special file"),
        (lambda file: file.symlink_to(file), "Too many levels of symbolic links"),
        (lambda file: file.write_bytes(b"x" * (MAX_BYTES + 1)), f"it has {MAX_BYTES + 1} bytes, too many for a key"),
    ],
)
def test_what_is_no_key_file_is_not_opened(
    home: Home, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], reason: str
) -> None:
    monkeypatch.chdir(home.hotkeys)  # the path of a socket is short
    make(Path("x"))
    monkeypatch.setattr(Path, "open", None)
    assert f"cannot be read: {reason}; " in home.fault("x")


def test_a_hotkey_that_this_user_may_not_read_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")  # what root, who may run this test, never gets

    monkeypatch.setattr(Path, "open", refuse)
    assert re.search(r"this user may not read .*/miner \(Permission denied\); .*chown", home.fault("miner"))
    assert coldkey_state("demo", home.path) is KeyState.FORBIDDEN


@pytest.mark.usefixtures("_names_of_11_3_2")
def test_a_hotkey_of_a_scheme_that_is_not_supported_is_refused_with_its_repair(home: Home) -> None:
    told = home.fault("miner")
    assert re.search(r"/hotkeys/miner has the scheme mldsa; .*; set wallet\.hotkey to another", told)


# --- names that lead nowhere


def test_a_missing_hotkey_is_told_with_the_hotkeys_that_are_there(home: Home) -> None:
    home.put("locked", ENCRYPTED[0])
    told = home.fault("minr")
    miner, validator = short(home.miner), short(home.validator)
    assert told.startswith(f"wallet 'demo' has no hotkey 'minr': there is no {home.hotkeys / 'minr'}; ")
    there = f"locked (encrypted), miner ({miner}), validator ({validator})"
    assert f"set wallet.hotkey to another hotkey ({there}; the nearest is 'miner'), " in told
    assert "copy it here, or make a new one, which must be registered: btcli wallet new-hotkey --wallet demo" in told


def test_a_wallet_without_hotkeys_has_none_to_choose(home: Home) -> None:
    (Path(home.path) / "empty").mkdir()
    assert re.search("no hotkey 'h'.*; copy it here, or make a new one", home.fault("h", "empty"))


def test_names_in_a_command_are_quoted(home: Home) -> None:
    assert "new-hotkey --wallet demo --wallet-hotkey 'my miner' --wallet-path /" in home.fault("my miner")


def test_of_many_hotkeys_only_some_are_listed(home: Home) -> None:
    for number in range(FEW):
        home.put(f"{number:02}", "")
    assert "19 (unreadable) and 2 more; the nearest is 'miner'" in home.fault("mines")


def test_a_missing_wallet_is_told_with_the_wallets_that_are_there(home: Home) -> None:
    new_wallet("prod", "default", home.path, "sr25519")
    told = home.fault("miner", "dem")
    assert told.startswith(f"there is no wallet 'dem' in {home.path}; set wallet.name to another wallet (demo, prod")
    assert "; the nearest is 'demo')" in told
    assert "bettensor init" in told
    assert f"wallet.name must be the wallet's name, and not the address {home.miner}" in home.fault("x", home.miner)


def test_a_folder_without_wallets_has_none_to_choose(tmp_path: Path, home: Home) -> None:
    (tmp_path / "empty").mkdir()
    assert "; copy it into /" in home.fault("h", "w", str(tmp_path / "empty"))
    (Path(home.path) / "file").write_text("")
    assert "there is no wallet 'file'" in home.fault("h", "file")


@pytest.mark.parametrize("path", ["absent", "file"])
def test_a_missing_folder_of_wallets_is_told(tmp_path: Path, home: Home, path: str) -> None:
    (tmp_path / "file").write_text("")
    told = home.fault("miner", path=str(tmp_path / path))
    assert told.startswith(f"there is no folder of wallets {tmp_path / path}; set wallet.path")


# --- an address in place of a name


def test_the_address_of_a_hotkey_leads_to_its_name(home: Home) -> None:
    told = home.fault(home.validator)
    assert told == (
        f"wallet.hotkey must be the hotkey's name, and not its address {home.validator}; "
        "set wallet.hotkey to 'validator', which has this address"
    )
    told = home.fault(home.validator, "other")
    assert told.endswith("set wallet.hotkey to 'validator' and wallet.name to 'demo', which has this address")


@pytest.mark.parametrize("end", ["", "x"])
def test_an_address_that_no_hotkey_has_is_never_told_to_be_made(home: Home, end: str) -> None:
    stranger = Keypair.create_from_uri("//Stranger").ss58_address[: -len(end) or None] + end  # mistyped, or not
    told = home.fault(stranger)
    assert f"wallet 'demo' has miner ({short(home.miner)}), validator ({short(home.validator)})" in told
    assert "wallet 'absent' has no hotkey;" in home.fault(stranger, "absent")
    assert "new-hotkey" not in told


# --- listed


def listed(home: Home) -> dict[str, WalletFolder]:
    return {wallet.name: wallet for wallet in list_wallets(home.path)}


def test_wallets_are_listed_with_their_hotkeys(home: Home) -> None:
    new_wallet("two", "ed", home.path, "ed25519")
    (Path(home.path) / "file").write_text("")
    (Path(home.path) / "bare").mkdir()
    found = listed(home)
    assert list(found) == ["bare", "demo", "two"]
    assert found["bare"] == WalletFolder("bare", has_coldkeypub=False, hotkeys=())
    assert found["demo"].has_coldkeypub
    assert [(key.name, key.address, key.state) for key in found["demo"].hotkeys] == [
        ("miner", home.miner, KeyState.USABLE),
        ("validator", home.validator, KeyState.USABLE),
    ]
    assert list_wallets(home.path + "/absent") == []


def test_what_cannot_sign_is_listed_with_what_is_known_of_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", None)
    home.put("miner", ENCRYPTED[0])
    (home.hotkeys / "validator").unlink()
    home.put("locked", ENCRYPTED[1])
    home.put("badpub.txt", "")
    home.put("miner.lock", "")
    home.put("pub.txt", "")
    home.put(".hidden", "")
    os.mkfifo(home.hotkeys / "pipe")
    found = listed(home)["demo"]
    assert [(key.name, key.address, key.state) for key in found.hotkeys] == [
        ("bad", None, KeyState.PUBLIC),
        ("locked", None, KeyState.ENCRYPTED),
        ("miner", home.miner, KeyState.ENCRYPTED),
        ("pipe", None, KeyState.UNREADABLE),
        ("validator", home.validator, KeyState.PUBLIC),
    ]
    assert found.usable == []


def test_a_broken_wallet_does_not_hide_the_others(home: Home) -> None:
    (Path(home.path) / "bad").mkdir()
    (Path(home.path) / "bad" / "hotkeys").write_text("")
    found = listed(home)
    assert found["bad"].fault == "its hotkeys cannot be listed: Not a directory"
    assert len(found["demo"].hotkeys) == 2


def test_a_folder_that_cannot_be_listed_is_told(home: Home) -> None:
    (Path(home.path) / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"the wallets in .*/file cannot be listed: Not a directory"):
        list_wallets(f"{home.path}/file")


@pytest.mark.usefixtures("_names_of_11_3_2")
def test_a_scheme_that_is_not_supported_is_listed(home: Home) -> None:
    assert {key.state for key in listed(home)["demo"].hotkeys} == {KeyState.UNSUPPORTED}


# --- made


def test_keys_are_for_their_owner_alone(home: Home) -> None:
    for file in (home.hotkeys / "miner", home.hotkeys.parent / "coldkey"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not is_readable_for_all("demo", "miner", home.path)
    (home.hotkeys / "miner").chmod(0o644)
    assert is_readable_for_all("demo", "miner", home.path)


def test_an_existing_hotkey_is_kept(home: Home) -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        new_wallet("demo", "miner", home.path, "sr25519")
    assert load_hotkey("demo", "miner", home.path).ss58_address == home.miner


def test_a_public_half_is_not_joined_to_another_hotkey(home: Home) -> None:
    (home.hotkeys / "miner").unlink()
    with pytest.raises(ConfigurationError, match=r"minerpub\.txt exists already"):
        new_wallet("demo", "miner", home.path, "sr25519")
    assert not (home.hotkeys / "miner").exists()


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda _: None, KeyState.USABLE),
        (lambda coldkey: coldkey.write_bytes(ENCRYPTED[0]), KeyState.ENCRYPTED),
        (lambda coldkey: coldkey.unlink(), KeyState.PUBLIC),
        (lambda coldkey: (coldkey.unlink(), coldkey.mkdir()), KeyState.UNREADABLE),
    ],
)
def test_the_coldkey_of_a_wallet_is_kept(home: Home, spoil: Callable[[Path], object], state: KeyState) -> None:
    """Also if only its public half is here, as on a server."""
    coldkey = home.hotkeys.parent / "coldkey"
    spoil(coldkey)
    public = (coldkey.parent / "coldkeypub.txt").read_bytes()
    assert coldkey_state("demo", home.path) is state
    new_wallet("demo", "third", home.path, "sr25519")
    assert coldkey_state("demo", home.path) is state
    assert (coldkey.parent / "coldkeypub.txt").read_bytes() == public


@pytest.mark.parametrize("failing", ["coldkey", "coldkeypub.txt", "h", "hpub.txt"])
def test_a_half_made_wallet_is_completed_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if target.name == failing:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ConfigurationError, match=r"the wallet cannot be written: .*No space left"):
            new_wallet("w", "h", str(tmp_path), "sr25519")
    address = new_wallet("w", "h", str(tmp_path), "sr25519")
    (wallet,) = list_wallets(str(tmp_path))
    assert wallet.has_coldkeypub
    assert [(key.name, key.address) for key in wallet.hotkeys] == [("h", address)]


def test_a_wallet_that_cannot_be_written_is_told(home: Home) -> None:
    (Path(home.path) / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"the wallet cannot be written: .*file"):
        new_wallet("w", "h", f"{home.path}/file", "sr25519")


def test_a_hotkey_that_is_missing_is_read_as_such(home: Home) -> None:
    assert read_hotkey(hotkey_file("demo", "absent", home.path)).state is KeyState.MISSING
