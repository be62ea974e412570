"""Wallets on disk: reads hotkeys, lists wallets, and makes throwaway wallets.

Never reads a coldkey, never asks for a password, and opens only regular files: a FIFO would wait for its writer.
"""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

import bittensor_core
from bittensor_core import Keypair

from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import Scheme
from bettensor.bus.identifiers import Hotkey
from bettensor.bus.text import FEW, nearest, short
from bettensor.neurons.edges.keys import CRYPTO_TYPES, UnusableHotkey, unsupported_scheme
from bettensor.neurons.system.files import at_home

if TYPE_CHECKING:
    from bittensor.wallet import Wallet

WALLETS: Final = "~/.bittensor/wallets"
"""The folder in which btcli looks for wallets."""
PUBLIC: Final = "pub.txt"
"""Beside the hotkey ``miner`` is ``minerpub.txt``, its public half."""
MAX_BYTES: Final = 65_536
"""A key file has fewer bytes than this."""
_MARK: Final = 16
"""Bytes at the beginning of a key file that tell whether it is encrypted."""
_ADDRESS: Final = re.compile("5[1-9A-HJ-NP-Za-km-z]{40,50}")
"""An ss58 address of Bittensor, or a mistyped one."""
_NO_HOTKEY: Final = (PUBLIC, ".lock", ".tmp")
"""Ends of the names of files that bittensor puts beside hotkeys."""


class KeyState(StrEnum):
    """What a key's file is good for."""

    USABLE = "usable"
    PUBLIC = "public half only"
    ENCRYPTED = "encrypted"
    UNSUPPORTED = "scheme not supported"
    UNREADABLE = "unreadable"
    FORBIDDEN = "not readable for this user"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class HotkeyFile:
    """A hotkey's file, and what was found in it."""

    path: Path
    state: KeyState
    keypair: Keypair | None = None
    """None if the file does not tell the address. Without a private half unless the state is USABLE."""
    reason: str = ""
    """Why it is unreadable."""

    @property
    def name(self) -> str:
        """The value for ``wallet.hotkey``."""
        return self.path.name

    @property
    def address(self) -> str | None:
        """The ss58 address."""
        return None if self.keypair is None else self.keypair.ss58_address


@dataclass(frozen=True, slots=True)
class WalletFolder:
    """A wallet's folder, and the hotkeys in it."""

    name: str
    has_coldkeypub: bool
    hotkeys: tuple[HotkeyFile, ...]
    fault: str = ""
    """Why its hotkeys cannot be listed."""

    @property
    def usable(self) -> list[str]:
        """The names of the hotkeys that can sign."""
        return [hotkey.name for hotkey in self.hotkeys if hotkey.state is KeyState.USABLE]


# --- read


def hotkey_file(name: str, hotkey: str, path: str) -> Path:
    """Where a hotkey's file is."""
    return at_home(path) / name / "hotkeys" / hotkey


def load_hotkey(name: str, hotkey: str, path: str) -> Keypair:
    """Read the hotkey of a wallet from disk.

    Args:
        name: of the wallet.
        hotkey: the hotkey's name.
        path: the folder of all wallets.

    Raises:
        UnusableHotkey: the key is missing, encrypted, unreadable or only a public half, or its scheme is not supported;
            the message says how to repair it.
    """
    found = read_hotkey(hotkey_file(name, hotkey, path))
    if found.state is KeyState.USABLE and found.keypair is not None:
        return found.keypair
    raise _unusable(found, name, hotkey, at_home(path))


def read_hotkey(file: Path) -> HotkeyFile:
    """Read a hotkey's file, whatever it is."""
    try:
        data = _content(file)
        if bittensor_core.keyfile_data_is_encrypted(data):
            return HotkeyFile(file, KeyState.ENCRYPTED, _public_half(file))
        keypair = bittensor_core.deserialize_keypair_from_keyfile_data(data)
    except (FileNotFoundError, NotADirectoryError):
        return HotkeyFile(file, KeyState.MISSING)
    except PermissionError as error:
        return HotkeyFile(file, KeyState.FORBIDDEN, reason=str(error.strerror))
    except UnicodeEncodeError:
        raise  # the file's name, which this locale cannot write, is no fault of the key
    except (OSError, ValueError, bittensor_core.KeyfileError) as error:
        return HotkeyFile(file, KeyState.UNREADABLE, reason=getattr(error, "strerror", None) or str(error))
    if keypair.crypto_type not in CRYPTO_TYPES.values():
        return HotkeyFile(file, KeyState.UNSUPPORTED, keypair)
    return HotkeyFile(file, KeyState.USABLE if _can_sign(keypair) else KeyState.PUBLIC, keypair)


def _content(file: Path, count: int = MAX_BYTES) -> bytes:
    """The first ``count`` bytes of a key file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no key file.
    """
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"it is a {'folder' if stat.S_ISDIR(status.st_mode) else 'special file'}")
    if status.st_size > MAX_BYTES:
        raise ValueError(f"it has {status.st_size} bytes, too many for a key")
    with file.open("rb") as opened:
        return opened.read(count)


def _can_sign(keypair: Keypair) -> bool:
    try:
        keypair.sign(b"")
    except ValueError:  # it has no private half
        return False
    return True


def _public_half(file: Path) -> Keypair | None:
    """The public half in the file beside a hotkey's; None if there is none."""
    with suppress(OSError, ValueError, bittensor_core.KeyfileError):
        return bittensor_core.deserialize_keypair_from_keyfile_data(_content(file.with_name(file.name + PUBLIC)))
    return None


def is_readable_for_all(name: str, hotkey: str, path: str) -> bool:
    """Whether every user of this machine may read a hotkey's file."""
    return bool(hotkey_file(name, hotkey, path).stat().st_mode & stat.S_IROTH)


def list_wallets(path: str) -> list[WalletFolder]:
    """The wallets in a folder, by name; none if there is no such folder. Broken files are listed with their fault.

    Raises:
        ConfigurationError: the folder cannot be listed.
    """
    folder = at_home(path)
    try:
        wallets = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigurationError(f"the wallets in {folder} cannot be listed: {error.strerror}") from None
    return [_wallet_folder(wallet) for wallet in wallets]


def _wallet_folder(wallet: Path) -> WalletFolder:
    has_coldkeypub = os.path.exists(wallet / f"coldkey{PUBLIC}")  # noqa: PTH110 - Path.exists may raise
    try:
        names = sorted(entry.name for entry in (wallet / "hotkeys").iterdir() if not entry.name.startswith("."))
    except FileNotFoundError:
        return WalletFolder(wallet.name, has_coldkeypub, ())
    except OSError as error:
        return WalletFolder(wallet.name, has_coldkeypub, (), f"its hotkeys cannot be listed: {error.strerror}")
    keys = [name for name in names if not name.endswith(_NO_HOTKEY)]
    alone = {name.removesuffix(PUBLIC) for name in names if name.endswith(PUBLIC)} - set(keys)
    files = {name: read_hotkey(wallet / "hotkeys" / name) for name in keys}
    for name in alone - {""}:
        file = wallet / "hotkeys" / name
        files[name] = HotkeyFile(file, KeyState.PUBLIC, _public_half(file))
    return WalletFolder(wallet.name, has_coldkeypub, tuple(files[name] for name in sorted(files)))


# --- the faults of a hotkey, and their cures


def _unusable(found: HotkeyFile, name: str, hotkey: str, folder: Path) -> UnusableHotkey:
    what = f"the hotkey {found.path}"
    if found.state is KeyState.UNSUPPORTED and found.keypair is not None:
        return unsupported_scheme(found.keypair, what)
    again = f"write it from its mnemonic: btcli wallet regen-hotkey {_btcli(name, hotkey, folder)} --overwrite"
    match found.state:
        case KeyState.MISSING:
            return _missing(found, name, hotkey, folder)
        case KeyState.PUBLIC:
            twin = _twin(found)
            copy = f"copy the hotkey's own file here, not its public half {hotkey.removesuffix(PUBLIC)}{PUBLIC}"
            return UnusableHotkey(
                f"{what} holds only the public half, and a neuron must sign",
                f"set wallet.hotkey to {twin!r}, which is the same hotkey" if twin else f"{copy}, or {again}",
            )
        case KeyState.ENCRYPTED:
            why = "a neuron needs an unencrypted hotkey (only the coldkey is encrypted)"
            return UnusableHotkey(f"{what} is encrypted; {why}", f"copy it here unencrypted, or {again}")
        case KeyState.FORBIDDEN:
            cure = "give the file to the neuron's user with chown"
            return UnusableHotkey(f"this user may not read {what} ({found.reason})", cure)
    return UnusableHotkey(f"{what} cannot be read: {found.reason}", f"copy it here again, or {again}")


def _twin(public: HotkeyFile) -> str | None:
    """The hotkey beside a public half that is the same, and can sign."""
    wallet = _wallet_folder(public.path.parent.parent)
    return next(
        (key.name for key in wallet.hotkeys if key.name in wallet.usable and key.address == public.address), None
    )


def _missing(found: HotkeyFile, name: str, hotkey: str, folder: Path) -> UnusableHotkey:
    wallets: Sequence[WalletFolder] = ()
    with suppress(ConfigurationError):
        wallets = list_wallets(str(folder))
    wallet = next((wallet for wallet in wallets if wallet.name == name), None)
    if _ADDRESS.fullmatch(hotkey):
        what = f"wallet.hotkey must be the hotkey's name, and not its address {hotkey}"
        return UnusableHotkey(what, _by_address(hotkey, name, wallets))
    if not folder.is_dir():
        what = f"there is no folder of wallets {folder}"
        return UnusableHotkey(what, f"set wallet.path to the folder of all wallets, or {_make_one()}")
    if wallet is None:
        what = f"there is no wallet {name!r} in {folder}"
        if _ADDRESS.fullmatch(name):
            what = f"wallet.name must be the wallet's name, and not the address {name}"
        names = [wallet.name for wallet in wallets]
        choice = f"set wallet.name to another wallet ({_few(names)}{_nearest(name, names)})" if names else ""
        return UnusableHotkey(what, f"{choice or f'copy it into {folder}'}, or {_make_one()}")
    what = f"wallet {name!r} has no hotkey {hotkey!r}: there is no {found.path}"
    new = f"make a new one, which must be registered: btcli wallet new-hotkey {_btcli(name, hotkey, folder)}"
    choice = f"set wallet.hotkey to another hotkey ({_hotkeys(wallet)}{_nearest(hotkey, wallet.usable)}), "
    return UnusableHotkey(what, f"{choice if wallet.hotkeys else ''}copy it here, or {new}")


def _by_address(address: str, name: str, wallets: Iterable[WalletFolder]) -> str:
    for wallet in wallets:
        for hotkey in wallet.hotkeys:
            if hotkey.address == address and hotkey.state is KeyState.USABLE:
                also = "" if wallet.name == name else f" and wallet.name to {wallet.name!r}"
                return f"set wallet.hotkey to {hotkey.name!r}{also}, which has this address"
    mine = next((wallet for wallet in wallets if wallet.name == name), None)
    there = f"wallet {name!r} has {_hotkeys(mine)}" if mine and mine.hotkeys else f"wallet {name!r} has no hotkey"
    return f"no hotkey here has this address, and {there}; set wallet.hotkey to a name, or copy the hotkey's file here"


def _hotkeys(wallet: WalletFolder) -> str:
    return _few([f"{hotkey.name} ({_brief(hotkey)})" for hotkey in wallet.hotkeys])


def _brief(hotkey: HotkeyFile) -> str:
    if hotkey.address is None:
        return hotkey.state
    address = short(hotkey.address)
    return address if hotkey.state is KeyState.USABLE else f"{address}, {hotkey.state}"


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - FEW} more" if len(words) > FEW else ""
    return f"{', '.join(words[:FEW])}{more}"


def _nearest(word: str, words: Iterable[str]) -> str:
    similar = nearest(word, words)
    return "" if similar is None else f"; the nearest is {similar!r}"


def _make_one() -> str:
    return "make a wallet: docs/operating.md shows how, and `bettensor init` makes a throwaway one"


def _btcli(name: str, hotkey: str, folder: Path) -> str:
    return f"--wallet {quote(name)} --wallet-hotkey {quote(hotkey)} --wallet-path {quote(str(folder))}"


# --- make


def coldkey_state(name: str, path: str) -> KeyState:
    """Whether a wallet has a coldkey, and whether it is encrypted; only its first bytes are read."""
    wallet = at_home(path) / name
    try:
        encrypted = bittensor_core.keyfile_data_is_encrypted(_content(wallet / "coldkey", _MARK))
    except (FileNotFoundError, NotADirectoryError):
        return KeyState.PUBLIC if os.path.lexists(wallet / f"coldkey{PUBLIC}") else KeyState.MISSING
    except PermissionError:
        return KeyState.FORBIDDEN
    except (OSError, ValueError):
        return KeyState.UNREADABLE
    return KeyState.ENCRYPTED if encrypted else KeyState.USABLE


def new_wallet(name: str, hotkey: str, path: str, scheme: Scheme) -> Hotkey:
    """Make a wallet with unencrypted keys, for tests only; an existing coldkey, or the public half of one, is kept.

    If it fails, a hotkey is not left behind; a coldkey that was made is used by the next call.

    Raises:
        ConfigurationError: such a hotkey exists already, or the files cannot be written.
    """
    from bittensor.wallet import Wallet

    wallet = Wallet(name=name, hotkey=hotkey, path=path)
    for file in (wallet.hotkey_file.path, wallet.hotkeypub_file.path):
        if os.path.lexists(file):
            raise ConfigurationError(f"the hotkey {file} exists already; choose another name")
    try:
        if coldkey_state(name, path) is KeyState.MISSING:
            _write_coldkey(wallet)
        _write_hotkey(wallet, CRYPTO_TYPES[scheme])
    except OSError as error:
        cure = "let this user write there, or choose another --wallet.path"
        raise ConfigurationError(f"the wallet cannot be written: {error}; {cure}") from None
    return Hotkey(wallet.hotkey.ss58_address)


def _write_coldkey(wallet: "Wallet") -> None:
    try:
        wallet.create_new_coldkey(use_password=False, suppress=True)
    except OSError:  # the public half may be missing
        _remove(wallet.coldkey_file.path)
        raise


def _write_hotkey(wallet: "Wallet", crypto_type: int) -> None:
    try:
        wallet.create_new_hotkey(use_password=False, suppress=True, crypto_type=crypto_type)
    except OSError:
        _remove(wallet.hotkey_file.path)
        raise


def _remove(file: str) -> None:
    with suppress(OSError):
        Path(file).unlink()
