"""The commands ``bettensor wallet``: list wallets, make throwaway ones and certificates. ``main.py`` has the flags."""

import argparse
import json
from typing import Any

from bettensor.actors.settings import AxonSettings
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.cli import views
from bettensor.neurons.config.settings import WalletSettings, parse
from bettensor.neurons.config.sources import Sources
from bettensor.neurons.config.yaml_text import one_line
from bettensor.neurons.edges.keys import scheme_name
from bettensor.neurons.edges.wallets import (
    HotkeyFile,
    KeyState,
    WalletFolder,
    coldkey_state,
    hotkey_file,
    list_wallets,
    new_wallet,
    read_hotkey,
)
from bettensor.neurons.system.files import at_home


def check_names(**names: str) -> None:
    """Check the names of a wallet on the command line: ``name``, ``hotkey`` and ``path``.

    Raises:
        ConfigurationError: a name is a path; the message names its flag.
    """
    flags = {f"wallet.{key}": f"--wallet.{key}" for key in names}
    parse(WalletSettings, names, Sources("wallet", keys=flags), prefix="wallet.")


def new(arguments: argparse.Namespace) -> int:
    """Make a throwaway wallet, or a hotkey in a wallet that is there.

    Raises:
        ConfigurationError: the wallet is not named, and the command is not confirmed; or it cannot be made.
    """
    name = "default" if arguments.name is None else arguments.name
    hotkey, path = arguments.hotkey, arguments.path
    check_names(name=name, hotkey=hotkey, path=path)
    coldkey = coldkey_state(name, path)
    if arguments.name is None and not arguments.yes:
        raise ConfigurationError(
            f"wallet new: without a name, this would make {_plan(name, hotkey, path, coldkey)}, where real wallets "
            "usually are; name a wallet with --wallet.name NAME, or confirm with --yes"
        )
    address = new_wallet(name, hotkey, path, arguments.crypto)
    if arguments.json:
        print(json.dumps({"name": name, "hotkey": hotkey, "path": path, "address": address}, indent=2))
        return 0
    print(f"made {_plan(name, hotkey, path, coldkey)}")
    print(f"hotkey: {address}")
    return 0


def _plan(name: str, hotkey: str, path: str, coldkey: KeyState) -> str:
    """What ``new`` makes, if the wallet has such a coldkey."""
    if coldkey is KeyState.MISSING:
        return f"the wallet {name!r} with an unencrypted coldkey and the unencrypted hotkey {hotkey!r} in {path}"
    encrypted = ", whose coldkey is encrypted," if coldkey is KeyState.ENCRYPTED else ""
    return f"the unencrypted hotkey {hotkey!r} in the wallet {name!r}{encrypted} in {path}"


def certificate(arguments: argparse.Namespace) -> int:
    """Make a self-signed certificate for a hotkey, and print the keys of the configuration that name it.

    Raises:
        ConfigurationError: there is no such hotkey, an argument is wrong, or a file cannot be written.
    """
    name, hotkey, path, folder = arguments.name, arguments.hotkey, arguments.path, arguments.out
    check_names(name=name, hotkey=hotkey, path=path)
    flags = Sources("wallet certificate", keys={"axon.external_ip": "--axon.external_ip"})
    axon = parse(AxonSettings, {"external_ip": arguments.address}, flags, prefix="axon.")
    address = read_hotkey(hotkey_file(name, hotkey, path)).address
    if address is None:
        raise ConfigurationError(
            f"wallet certificate: {hotkey_file(name, hotkey, path)} names no hotkey; `bettensor wallet list` lists them"
        )
    from bettensor.neurons.edges.certificate_maker import make_certificate

    made, key = (folder.absolute() / f"{name}.{hotkey}.{kind}" for kind in ("pem", "key"))
    digest = make_certificate(made, key, Hotkey(address), axon.external_ip, arguments.days)
    if arguments.json:
        print(json.dumps({"certificate": str(made), "key": str(key), "tls_key": digest, "hotkey": address}, indent=2))
        return 0
    print(f"made {made}, valid for {arguments.days} days, and its key {key}")
    print(f"tls key: {digest}")
    print("In the validator's configuration:")
    print(f"axon:\n  tls:\n    certificate: {one_line(str(made))}\n    key: {one_line(str(key))}")
    return 0


def show(arguments: argparse.Namespace) -> int:
    """List the wallets in a folder, and their hotkeys."""
    wallets = list_wallets(arguments.path)
    if arguments.json:
        print(json.dumps([_as_json(wallet) for wallet in wallets], indent=2))
        return 0
    if not wallets:
        print(f"no wallets in {at_home(arguments.path)}; `bettensor init` makes a throwaway wallet")
        return 0
    table = views.plain_table("wallet", "hotkey", "address", "key", whole=("wallet", "hotkey", "key"))
    for wallet in wallets:
        if not wallet.hotkeys:
            table.add_row(views.said(wallet.name), "-", "-", wallet.fault or "no hotkey")
        for number, hotkey in enumerate(wallet.hotkeys):
            name = "" if number else wallet.name
            table.add_row(views.said(name), views.said(hotkey.name), hotkey.address or "-", views.said(_key(hotkey)))
    screen = views.console()
    screen.print(table)
    for wallet in wallets:
        if not wallet.has_coldkeypub:
            screen.print(f"wallet {wallet.name} has no coldkeypub.txt", style="dim")
    return 0


def _key(hotkey: HotkeyFile) -> str:
    """The scheme of a hotkey, and why it cannot sign."""
    words = [] if hotkey.keypair is None else [scheme_name(hotkey.keypair)]
    if hotkey.state is not KeyState.USABLE:
        words.append(f"{hotkey.state}: {hotkey.reason}" if hotkey.reason else hotkey.state)
    return ", ".join(words)


def _as_json(wallet: WalletFolder) -> dict[str, Any]:
    return {
        "name": wallet.name,
        "coldkeypub": wallet.has_coldkeypub,
        "fault": wallet.fault or None,
        "hotkeys": [
            {
                "name": hotkey.name,
                "address": hotkey.address,
                "scheme": None if hotkey.keypair is None else scheme_name(hotkey.keypair),
                "state": hotkey.state,
                "reason": hotkey.reason or None,
            }
            for hotkey in wallet.hotkeys
        ],
    }
