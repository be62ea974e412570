"""The command ``bettensor init``: what a first validator and miner on this machine need.

It makes a throwaway wallet, a metagraph file and both configurations. What exists is used and never changed; either all
missing files are written, or none.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Final

from bettensor.actors.announce import announced_endpoint
from bettensor.actors.settings import AxonSettings
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import NeuronInfo, Role
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.cli.wallet import check_names
from bettensor.neurons.config.keys import MODELS
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import Settings, ValidatorSettings, WalletSettings
from bettensor.neurons.config.sources import DEFAULT_HOME
from bettensor.neurons.config.yaml_text import one_line
from bettensor.neurons.edges.keys import Keypair, scheme_of
from bettensor.neurons.edges.static_files import read_metagraph
from bettensor.neurons.edges.wallets import (
    WALLETS,
    KeyState,
    coldkey_state,
    hotkey_file,
    load_hotkey,
    new_wallet,
    read_hotkey,
)
from bettensor.neurons.models.file import FilePredictor
from bettensor.neurons.models.program import ProgramPredictor
from bettensor.neurons.system.ports import free_port, listen_on

ORDER: Final[tuple[Role, ...]] = ("validator", "miner")
"""The roles by UID."""
METAGRAPH: Final = "metagraph.yaml"
DEMO: Final = "demo"
PORT: Final = 8091
LOOPBACK: Final = "127.0.0.1"
TRIES: Final = 100
"""Ports that are tried, from the wanted one on; then the system chooses."""


@dataclass(slots=True)
class Setup:
    """The setup in one folder: what is there, and what is missing until it is made."""

    directory: Path
    present: dict[Role, Settings]
    """The configurations that existed."""
    metagraph: dict[str, NeuronInfo] | None
    """The neurons in the metagraph file by hotkey, if it existed."""
    wallets: dict[Role, WalletSettings] = field(default_factory=dict)
    hotkeys: dict[Role, Hotkey] = field(default_factory=dict)
    missing: list[Role] = field(default_factory=list)
    """The roles whose hotkeys are to be made."""
    new: list[Role] = field(default_factory=list)
    """The roles whose hotkeys have been made."""
    written: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    endpoint: str = ""
    """The validator's, in the metagraph file."""
    notes: list[str] = field(default_factory=list)
    """What differs from the wishes."""


def init(arguments: argparse.Namespace) -> int:
    """Make what is missing, and print the next steps.

    Raises:
        ConfigurationError: an existing file is wrong or does not fit, or something cannot be written.
    """
    setup = prepare(arguments.directory, arguments.name, arguments.path, arguments.port)
    steps = next_steps(setup.directory)
    if arguments.json:
        print(json.dumps(_as_json(setup, steps), indent=2))
        return 0
    for line in _lines(setup):
        print(line)
    print("\nNext, each in a terminal of its own:\n")
    for step in steps:
        print(f"  {step}")
    return 0


def prepare(directory: Path, name: str | None, path: str, port: int | None) -> Setup:
    """Make what is missing.

    Args:
        directory: the folder of the files.
        name: the wallet that new files name; by default the one that an existing file names, or else ``demo``.
        path: the folder of all wallets.
        port: the validator's, or the first port to try; by default 8091.

    Raises:
        ConfigurationError: as for ``init``; the directory is as it was, but keys that were made stay.
    """
    check_names(name=DEMO if name is None else name, path=path)
    setup = Setup(directory, _present(directory), _listed(directory / METAGRAPH))
    _find_wallets(setup, name, path)
    _require_listed(setup)
    known = _known_endpoint(setup)
    setup.notes += _not_used(setup, known, name, port)
    setup.endpoint = known or _new_endpoint(setup, port or PORT)
    with ExitStack() as undo:
        try:
            _make_directory(directory, undo)
            _make_wallets(setup)
            _write(setup, undo)
        except OSError as error:
            kept = "; the wallet was made, and the next run uses it" if setup.new else ""
            fault = f"{error.filename or directory}: cannot be written: {error.strerror}; no file was written{kept}"
            raise ConfigurationError(fault) from None
        undo.pop_all()
    return setup


# --- what is there


def _present(directory: Path) -> dict[Role, Settings]:
    """The configurations that exist."""
    files: dict[Role, Path] = {role: directory / f"{role}.yaml" for role in ORDER}
    return {role: load_settings(file, role=role) for role, file in files.items() if os.path.lexists(file)}


def _listed(file: Path) -> dict[str, NeuronInfo] | None:
    """The neurons of the metagraph file by hotkey; None if it does not exist."""
    if not os.path.lexists(file):
        return None
    return {neuron.hotkey: neuron for neuron in read_metagraph(file).contents.neurons}


def _find_wallets(setup: Setup, name: str | None, path: str) -> None:
    """Find the hotkey of each role. A missing one is to be made only if it is the one that a new file would name.

    Raises:
        ConfigurationError: a hotkey cannot be used.
    """
    for role in ORDER:
        own = _own(setup, role, name, path)
        wallet = setup.present[role].wallet if role in setup.present else own
        setup.wallets[role] = wallet
        if _same(wallet, own) and _is_missing(wallet):
            setup.missing.append(role)
        else:
            setup.hotkeys[role] = Hotkey(_load(wallet).ss58_address)
    if len(set(setup.hotkeys.values())) < len(setup.hotkeys):
        where = setup.directory
        raise ConfigurationError(f"{where}: validator.yaml and miner.yaml name the same hotkey; correct one of them")


def _own(setup: Setup, role: Role, name: str | None, path: str) -> WalletSettings:
    """The hotkey that a new file names: in the wallet of the file that exists, if it has one for this role."""
    if name is None:
        for settings in setup.present.values():
            beside = WalletSettings(name=settings.wallet.name, hotkey=role, path=settings.wallet.path)
            if not _is_missing(beside):
                return beside
    return WalletSettings(name=DEMO if name is None else name, hotkey=role, path=Path(path))


def _is_missing(wallet: WalletSettings) -> bool:
    file = hotkey_file(wallet.name, wallet.hotkey, str(wallet.path))
    return read_hotkey(file).state is KeyState.MISSING


def _same(one: WalletSettings, other: WalletSettings) -> bool:
    paths = (one.path.expanduser(), other.path.expanduser())
    return (one.name, one.hotkey) == (other.name, other.hotkey) and paths[0] == paths[1]


def _load(wallet: WalletSettings) -> Keypair:
    return load_hotkey(wallet.name, wallet.hotkey, str(wallet.path))


def _require_listed(setup: Setup) -> None:
    """
    Raises:
        ConfigurationError: the metagraph file exists, but not for these neurons.
    """
    file, metagraph = setup.directory / METAGRAPH, setup.metagraph
    for role in ORDER:
        if metagraph is None or not _reads(setup, role):
            continue
        wallet, hotkey = setup.wallets[role], setup.hotkeys.get(role)
        again = "move the file away, and run the command again to get a new one"
        if hotkey is None or hotkey not in metagraph:
            fault = f"it does not list the {role}, {wallet.name}/{wallet.hotkey}"
            add = "choose another --directory" if hotkey is None else f"add its hotkey {hotkey}"
            raise ConfigurationError(f"{file}: the file exists, and {fault}; {add}, or {again}")
        if role == "validator" and metagraph[hotkey].axon is None:
            raise ConfigurationError(f"{file}: the file exists, and has no axon for the validator; add it, or {again}")


def _reads(setup: Setup, role: Role) -> bool:
    """Whether this neuron reads the metagraph file, or will when its configuration is written."""
    if role not in setup.present:
        return True
    static, file = setup.present[role].metagraph.static, setup.directory / METAGRAPH
    return static is not None and os.path.abspath(static) == os.path.abspath(file)  # noqa: PTH100 - links are no matter


def _known_endpoint(setup: Setup) -> str | None:
    """Where miners find the validator, if a file that exists says so.

    Raises:
        ConfigurationError: its port is not known before it runs, and the metagraph file is to list it.
    """
    settings = setup.present.get("validator")
    if not isinstance(settings, ValidatorSettings):
        listed = (setup.metagraph or {}).get(setup.hotkeys.get("validator", Hotkey("")))
        return None if listed is None else listed.axon
    endpoint = announced_endpoint(settings.axon) or _local_endpoint(settings.axon)
    if endpoint.endswith(":0") and METAGRAPH in _missing_files(setup):
        file = setup.directory / "validator.yaml"
        raise ConfigurationError(f"{file}: axon.port is 0, any free port, which {METAGRAPH} cannot list; set a port")
    return endpoint


def _local_endpoint(axon: AxonSettings) -> str:
    """Where this machine finds a validator that announces nothing."""
    ip = LOOPBACK if axon.ip in ("", "0.0.0.0", "::") else axon.ip  # noqa: S104 - nothing is bound
    return f"[{ip}]:{axon.port}" if ":" in ip else f"{ip}:{axon.port}"


def _new_endpoint(setup: Setup, wanted: int) -> str:
    """A free port of this machine: the wanted one, or else the next."""
    free, reason = _free_port(wanted)
    if reason:
        setup.notes.append(f"port {wanted} cannot be used ({reason}), so the validator's port is {free}")
    return f"{LOOPBACK}:{free}"


def _free_port(wanted: int) -> tuple[int, str]:
    """A port that can be bound, and why it is not the wanted one."""
    reason = ""
    for port in range(wanted, min(wanted + TRIES, 65536)):
        try:
            listen_on(LOOPBACK, port, 1).close()
        except OSError as error:
            reason = reason or str(error.strerror)
        else:
            return port, reason
    return free_port(), reason


def _not_used(setup: Setup, known: str | None, name: str | None, port: int | None) -> Iterator[str]:
    """The flags that the files that exist contradict."""
    for role, settings in setup.present.items():
        if name not in (None, settings.wallet.name):
            yield f"--wallet.name {name} is not used for the {role}: {role}.yaml names wallet {settings.wallet.name}"
    if known is not None and port is not None and not known.endswith(f":{port}"):
        yield f"--port {port} is not used: a file that exists has {known}"


def _files(setup: Setup) -> list[str]:
    """All files; without a metagraph file if both neurons read another one, or the chain."""
    configurations = [f"{role}.yaml" for role in ORDER]
    return [METAGRAPH, *configurations] if any(_reads(setup, role) for role in ORDER) else configurations


def _missing_files(setup: Setup) -> list[str]:
    return [name for name in _files(setup) if not os.path.lexists(setup.directory / name)]


# --- what is made


def _make_directory(directory: Path, undo: ExitStack) -> None:
    if not directory.exists():
        directory.mkdir(parents=True)
        undo.callback(directory.rmdir)
    if not directory.is_dir():
        raise ConfigurationError(f"{directory}: it is not a folder; choose another --directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{directory}: this user may not write to this folder; choose another --directory")


def _make_wallets(setup: Setup) -> None:
    for role in setup.missing:
        wallet = setup.wallets[role]
        if coldkey_state(wallet.name, str(wallet.path)) is KeyState.ENCRYPTED:
            setup.notes.append(
                f"the coldkey of wallet {wallet.name!r} is encrypted, but its new hotkey {role!r} is not"
            )
        setup.hotkeys[role] = new_wallet(wallet.name, wallet.hotkey, str(wallet.path), "sr25519")
        setup.new.append(role)


def _write(setup: Setup, undo: ExitStack) -> None:
    """Write the files that do not exist; ``undo`` removes them again."""
    texts = {METAGRAPH: _metagraph_text, "validator.yaml": _validator_text, "miner.yaml": _miner_text}
    setup.written = _missing_files(setup)
    setup.kept = [name for name in _files(setup) if name not in setup.written]
    for name in setup.written:
        file = setup.directory / name
        with file.open("x", encoding="utf-8") as opened:
            undo.callback(file.unlink)
            opened.write(texts[name](setup))


def _metagraph_text(setup: Setup) -> str:
    validator, miner = (_entry(setup, role) for role in ORDER)
    validator |= {"validator_permit": True, "axon": setup.endpoint}
    return f"""\
# The neurons of the subnet, in place of the chain. A neuron's UID is its place in the list, from 0.
# Running neurons read this file again when it changes. To add a miner, make a hotkey, and add a line with it:
#   bettensor wallet new --wallet.name {quote(setup.wallets["miner"].name)} --wallet.hotkey miner2
neurons:
  # The validator: miners connect to a neuron with a permit, at its axon.
  - {one_line(validator)}
  # The miner.
  - {one_line(miner)}
"""


def _entry(setup: Setup, role: Role) -> dict[str, Any]:
    scheme = scheme_of(_load(setup.wallets[role]))
    return {"hotkey": str(setup.hotkeys[role])} | ({} if scheme == "sr25519" else {"crypto": scheme})


def _head(setup: Setup, role: Role) -> str:
    """The keys that both roles have."""
    wallet = setup.wallets[role]
    names = {"name": wallet.name, "hotkey": wallet.hotkey}
    if wallet.path.expanduser() != Path(WALLETS).expanduser():
        names["path"] = os.path.abspath(wallet.path.expanduser())  # noqa: PTH100 - as the operator wrote it
    return f"""\
# A {role} on this machine. Start it:  bettensor {role} --config {role}.yaml
# All other keys have their defaults:  bettensor config show --role {role}
# Can it run as it is configured?      bettensor doctor --config {role}.yaml
role: {role}
netuid: 30

# The folder for its database, event log and control socket. It belongs to one hotkey on one subnet.
state_dir: {one_line(f"{DEFAULT_HOME}/{wallet.name}-{role}")}

# Its hotkey, by name. Only the hotkey is read, and it must not be encrypted:  bettensor wallet list
wallet: {one_line(names)}

# The list of neurons, in place of the chain. To follow the test network, replace this key by the next one (finney: the
# main network), name a registered hotkey, and choose a new state_dir.
metagraph: {{static: {METAGRAPH}}}
# subtensor: {{network: test}}
"""


def _validator_text(setup: Setup) -> str:
    return f"""\
{_head(setup, "validator")}
# Where it listens: at {LOOPBACK} only for this machine. For miners elsewhere, replace this key by the next one;
# external_ip is the address at which they reach this machine, and is announced on the chain.
axon: {{ip: {LOOPBACK}, port: {setup.endpoint.rpartition(":")[2]}}}
# axon: {{ip: 0.0.0.0, port: 8091, external_ip: 203.0.113.7}}

# Miners of bittensor 7.2 to 10 dial no validator; with this key it asks them (docs/migrating.md).
# synapse: {{enabled: true}}

# The games that it offers; without this key, the sample games of the package. The file is watched:
#   bettensor games import odds.json --output games.json
# games: {{path: games.json}}

# Functions of yours that are called with events:
# handlers: {{prediction_accepted: ["my_subnet:on_prediction"]}}
"""


def _miner_text(setup: Setup) -> str:
    file, program = MODELS[FilePredictor], MODELS[ProgramPredictor]
    return f"""\
{_head(setup, "miner")}
# The validators to connect to; without this key, all validators with a permit and an endpoint in the list of neurons.
# validators: [{setup.hotkeys["validator"]}]

# Validators of bittensor 7.2 to 10 ask their miners; with this key it listens, and answers them (docs/migrating.md).
# synapse: {{enabled: true, ip: 0.0.0.0, port: 8091, external_ip: 203.0.113.7}}

# The model, which decides what to bet. This one bets by the Kelly criterion on the odds, with an opinion at random.
# Replace it by a file of bets, by a program in any language, or by a class of yours.
actors: {{predictor: {{edge: 0.1, bankroll: 50}}}}
# actors: {{predictor: {{class: "{file}", path: bets.csv}}}}
# actors: {{predictor: {{class: "{program}", command: [python, my_model.py]}}}}
# actors: {{predictor: {{class: "my_subnet:MyModel"}}}}
"""


# --- what is said


def next_steps(directory: Path) -> list[str]:
    """The commands that start the neurons, to be run in this terminal's folder."""
    program = _program()
    steps = [f"{program} {role}" for role in ORDER]
    elsewhere = directory.resolve() != Path.cwd().resolve()
    return [f"cd {quote(str(directory))} && {step}" for step in steps] if elsewhere else steps


def _program() -> str:
    """How a terminal calls this command: by its name, or by its file if its folder is not on the path."""
    called = Path(sys.argv[0])
    on_path = shutil.which("bettensor")
    if called.name != "bettensor" or (on_path is not None and Path(on_path).resolve() == called.resolve()):
        return "bettensor"
    return quote(os.path.abspath(called))  # noqa: PTH100 - a link of an environment leads out of it


def _lines(setup: Setup) -> list[str]:
    names = {role: f"{wallet.name}/{wallet.hotkey}" for role, wallet in setup.wallets.items()}
    width = max(len(name) for name in names.values())
    lines = [f"{role:9}  {name:{width}}  {setup.hotkeys[role]}" for role, name in names.items()]
    if setup.new:
        lines.append(
            f"made throwaway keys, not encrypted, for tests only: {', '.join(names[role] for role in setup.new)}"
        )
    if setup.written:
        lines.append(f"wrote {', '.join(setup.written)}")
    if setup.kept:
        lines.append(f"left as they are: {', '.join(setup.kept)}")
    return [*lines, *setup.notes]


def _as_json(setup: Setup, steps: list[str]) -> dict[str, Any]:
    return {
        "directory": str(setup.directory),
        "wallets": {
            role: {
                "name": wallet.name,
                "hotkey": wallet.hotkey,
                "path": str(wallet.path.expanduser()),
                "address": setup.hotkeys[role],
                "new": role in setup.new,
            }
            for role, wallet in setup.wallets.items()
        },
        "endpoint": setup.endpoint,
        "written": setup.written,
        "kept": setup.kept,
        "notes": setup.notes,
        "next": steps,
    }
