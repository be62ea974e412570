"""The command ``bettensor init``: what a first validator and miner on this machine need.

It makes a throwaway wallet, a metagraph file and both configurations. What exists is used and never changed; either all
missing files are written, or none.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, Final

from bettensor.actors.settings import AxonSettings
from bettensor.actors.validator.announce import AnnounceSettings
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
from bettensor.neurons.system.ports import listen_on
from bettensor.neurons.system.processes import free_port

ORDER: Final[tuple[Role, ...]] = ("validator", "miner")
"""The roles by UID."""
METAGRAPH: Final = "metagraph.yaml"
DEMO: Final = "demo"
PORT: Final = 8091
LOOPBACK: Final = "127.0.0.1"
TRIES: Final = 100
"""Ports that are tried, from the wanted one on; then the system chooses."""


@dataclass(slots=True)
class Made:
    """What is there at the end."""

    directory: Path
    wallets: dict[Role, WalletSettings] = field(default_factory=dict)
    hotkeys: dict[Role, Hotkey] = field(default_factory=dict)
    new: list[Role] = field(default_factory=list)
    """The roles whose hotkeys are new."""
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
    made = prepare(arguments.directory, arguments.name, arguments.path, arguments.port)
    steps = next_steps(made.directory)
    if arguments.json:
        print(json.dumps(_as_json(made, steps), indent=2))
        return 0
    for line in _lines(made):
        print(line)
    print("\nNext, each in a terminal of its own:\n")
    for step in steps:
        print(f"  {step}")
    return 0


def prepare(directory: Path, name: str | None, path: str, port: int | None) -> Made:
    """Make what is missing.

    Args:
        directory: the folder of the files.
        name: the wallet that new files name; by default the one that an existing file names, or else ``demo``.
        path: the folder of all wallets.
        port: the validator's, or the first port to try; by default 8091.

    Raises:
        ConfigurationError: as for ``init``; the directory is as it was, but keys that were made stay.
    """
    check_names(name=name or DEMO, path=path)
    made = Made(directory)
    present = _present(directory)
    own = {role: _own(role, name, path, present) for role in ORDER}
    made.wallets = own | {role: settings.wallet for role, settings in present.items()}
    metagraph = _listed(directory / METAGRAPH)
    missing = [role for role in ORDER if _is_missing(made.wallets[role]) and _same(made.wallets[role], own[role])]
    made.hotkeys = {role: _address(made.wallets[role]) for role in ORDER if role not in missing}
    if len(set(made.hotkeys.values())) < len(made.hotkeys):
        raise ConfigurationError(
            f"{directory}: validator.yaml and miner.yaml name the same hotkey; correct one of them"
        )
    if metagraph is not None:
        _require_listed(made, present, metagraph)
    known = _known_endpoint(made, present.get("validator"), metagraph)
    if metagraph is None and known is not None and known.endswith(":0"):
        file = directory / "validator.yaml"
        raise ConfigurationError(f"{file}: axon.port is 0, any free port, which {METAGRAPH} cannot list; set a port")
    made.notes += _not_used(present, known, name, port)
    made.endpoint = known or _new_endpoint(made, port or PORT)
    with ExitStack() as undo:
        try:
            _make_directory(directory, undo)
            _make_wallets(made, missing)
            _write(_texts(made, present), made, undo)
        except OSError as error:
            kept = "; the wallet was made, and the next run uses it" if made.new else ""
            fault = f"{error.filename or directory}: cannot be written: {error.strerror}; no file was written{kept}"
            raise ConfigurationError(fault) from None
        undo.pop_all()
    return made


# --- what is there


def _present(directory: Path) -> dict[Role, Settings]:
    """The configurations that exist."""
    files: dict[Role, Path] = {role: directory / f"{role}.yaml" for role in ORDER}
    return {role: load_settings(file, role=role) for role, file in files.items() if os.path.lexists(file)}


def _listed(file: Path) -> dict[str, NeuronInfo] | None:
    """The neurons of the metagraph file by hotkey; None if it does not exist."""
    if not os.path.lexists(file):
        return None
    return {neuron.hotkey: neuron for neuron in read_metagraph(file).neurons}


def _own(role: Role, name: str | None, path: str, present: Mapping[Role, Settings]) -> WalletSettings:
    """The hotkey that a new file names: in the wallet of the file that exists, if it has one for this role."""
    if name is None:
        for settings in present.values():
            beside = WalletSettings(name=settings.wallet.name, hotkey=role, path=settings.wallet.path)
            if not _is_missing(beside):
                return beside
    return WalletSettings(name=name or DEMO, hotkey=role, path=Path(path))


def _is_missing(wallet: WalletSettings) -> bool:
    file = hotkey_file(wallet.name, wallet.hotkey, str(wallet.path))
    return read_hotkey(file).state is KeyState.MISSING


def _same(one: WalletSettings, other: WalletSettings) -> bool:
    paths = (one.path.expanduser(), other.path.expanduser())
    return (one.name, one.hotkey) == (other.name, other.hotkey) and paths[0] == paths[1]


def _address(wallet: WalletSettings) -> Hotkey:
    """
    Raises:
        UnusableHotkey: it is missing, and is not to be made; or no neuron can use it.
    """
    return Hotkey(_load(wallet).ss58_address)


def _load(wallet: WalletSettings) -> Keypair:
    return load_hotkey(wallet.name, wallet.hotkey, str(wallet.path))


def _require_listed(made: Made, present: Mapping[Role, Settings], metagraph: Mapping[str, NeuronInfo]) -> None:
    """
    Raises:
        ConfigurationError: the metagraph file exists, but not for these neurons.
    """
    file = made.directory / METAGRAPH
    for role in ORDER:
        if not _reads(present.get(role), file):
            continue
        wallet, hotkey = made.wallets[role], made.hotkeys.get(role)
        again = "move the file away, and run the command again to get a new one"
        if hotkey is None or hotkey not in metagraph:
            fault = f"it does not list the {role}, {wallet.name}/{wallet.hotkey}"
            add = "choose another --directory" if hotkey is None else f"add its hotkey {hotkey}"
            raise ConfigurationError(f"{file}: the file exists, and {fault}; {add}, or {again}")
        if role == "validator" and metagraph[hotkey].axon is None:
            raise ConfigurationError(f"{file}: the file exists, and has no axon for the validator; add it, or {again}")


def _reads(settings: Settings | None, file: Path) -> bool:
    """Whether a neuron with these settings, or with those that are to be written, reads this metagraph file."""
    if settings is None:
        return True
    static = settings.metagraph.static
    return static is not None and os.path.abspath(static) == os.path.abspath(file)  # noqa: PTH100 - links are no matter


def _known_endpoint(made: Made, settings: Settings | None, metagraph: Mapping[str, NeuronInfo] | None) -> str | None:
    """Where miners find the validator, if a file that exists says so."""
    if isinstance(settings, ValidatorSettings):
        return AnnounceSettings(axon=settings.axon).endpoint() or _local_endpoint(settings.axon)
    listed = (metagraph or {}).get(made.hotkeys.get("validator", Hotkey("")))
    return None if listed is None else listed.axon


def _local_endpoint(axon: AxonSettings) -> str:
    """Where this machine finds a validator that announces nothing."""
    ip = LOOPBACK if axon.ip in ("", "0.0.0.0", "::") else axon.ip  # noqa: S104 - nothing is bound
    return f"[{ip}]:{axon.port}" if ":" in ip else f"{ip}:{axon.port}"


def _new_endpoint(made: Made, wanted: int) -> str:
    """A free port of this machine: the wanted one, or else the next."""
    free, reason = _free_port(wanted)
    if reason:
        made.notes.append(f"port {wanted} cannot be used ({reason}), so the validator's port is {free}")
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


def _not_used(present: Mapping[Role, Settings], known: str | None, name: str | None, port: int | None) -> Iterator[str]:
    """The flags that the files that exist contradict."""
    for role, settings in present.items():
        if name not in (None, settings.wallet.name):
            yield f"--wallet.name {name} is not used for the {role}: {role}.yaml names wallet {settings.wallet.name}"
    if known is not None and port is not None and not known.endswith(f":{port}"):
        yield f"--port {port} is not used: a file that exists has {known}"


# --- what is made


def _make_directory(directory: Path, undo: ExitStack) -> None:
    if not directory.exists():
        directory.mkdir(parents=True)
        undo.callback(directory.rmdir)
    if not directory.is_dir():
        raise ConfigurationError(f"{directory}: it is not a folder; choose another --directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{directory}: this user may not write to this folder; choose another --directory")


def _make_wallets(made: Made, missing: Iterable[Role]) -> None:
    for role in missing:
        wallet = made.wallets[role]
        if coldkey_state(wallet.name, str(wallet.path)) is KeyState.ENCRYPTED:
            made.notes.append(f"the coldkey of wallet {wallet.name!r} is encrypted, but its new hotkey {role!r} is not")
        made.hotkeys[role] = new_wallet(wallet.name, wallet.hotkey, str(wallet.path), "sr25519")
        made.new.append(role)


def _write(texts: Mapping[str, str], made: Made, undo: ExitStack) -> None:
    """Write the files that do not exist; ``undo`` removes them again."""
    for name, text in texts.items():
        file = made.directory / name
        if os.path.lexists(file):
            made.kept.append(name)
            continue
        with file.open("x", encoding="utf-8") as opened:
            undo.callback(file.unlink)
            opened.write(text)
        made.written.append(name)


def _texts(made: Made, present: Mapping[Role, Settings]) -> dict[str, str]:
    """All files by name; without a metagraph file if both neurons read another one, or the chain."""
    texts = {"validator.yaml": _validator_text(made), "miner.yaml": _miner_text(made)}
    file = made.directory / METAGRAPH
    if any(_reads(present.get(role), file) for role in ORDER):
        return {METAGRAPH: _metagraph_text(made)} | texts
    return texts


def _metagraph_text(made: Made) -> str:
    validator, miner = (_entry(made, role) for role in ORDER)
    validator |= {"validator_permit": True, "axon": made.endpoint}
    return f"""\
# The neurons of the subnet, in place of the chain. A neuron's UID is its place in the list, from 0.
# Running neurons read this file again when it changes. To add a miner, make a hotkey, and add a line with it:
#   bettensor wallet new --wallet.name {quote(made.wallets["miner"].name)} --wallet.hotkey miner2
neurons:
  # The validator: miners connect to a neuron with a permit, at its axon.
  - {one_line(validator)}
  # The miner.
  - {one_line(miner)}
"""


def _entry(made: Made, role: Role) -> dict[str, Any]:
    scheme = scheme_of(_load(made.wallets[role]))
    return {"hotkey": str(made.hotkeys[role])} | ({} if scheme == "sr25519" else {"crypto": scheme})


def _head(made: Made, role: Role) -> str:
    """The keys that both roles have."""
    wallet = made.wallets[role]
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


def _validator_text(made: Made) -> str:
    return f"""\
{_head(made, "validator")}
# Where it listens: at {LOOPBACK} only for this machine. For miners elsewhere, replace this key by the next one;
# external_ip is the address at which they reach this machine, and is announced on the chain.
axon: {{ip: {LOOPBACK}, port: {made.endpoint.rpartition(":")[2]}}}
# axon: {{ip: 0.0.0.0, port: 8091, external_ip: 203.0.113.7}}

# The games that it offers; without this key, the sample games of the package. The file is watched:
#   bettensor games import odds.json --output games.json
# games: {{path: games.json}}

# Functions of yours that are called with events:
# handlers: {{prediction_accepted: ["my_subnet:on_prediction"]}}
"""


def _miner_text(made: Made) -> str:
    file, program = MODELS[FilePredictor], MODELS[ProgramPredictor]
    return f"""\
{_head(made, "miner")}
# The validators to connect to; without this key, all validators with a permit and an endpoint in the list of neurons.
# validators: [{made.hotkeys["validator"]}]

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


def _lines(made: Made) -> list[str]:
    names = {role: f"{wallet.name}/{wallet.hotkey}" for role, wallet in made.wallets.items()}
    width = max(len(name) for name in names.values())
    lines = [f"{role:9}  {name:{width}}  {made.hotkeys[role]}" for role, name in names.items()]
    if made.new:
        lines.append(
            f"made throwaway keys, not encrypted, for tests only: {', '.join(names[role] for role in made.new)}"
        )
    if made.written:
        lines.append(f"wrote {', '.join(made.written)}")
    if made.kept:
        lines.append(f"left as they are: {', '.join(made.kept)}")
    return [*lines, *made.notes]


def _as_json(made: Made, steps: list[str]) -> dict[str, Any]:
    return {
        "directory": str(made.directory),
        "wallets": {
            role: {
                "name": wallet.name,
                "hotkey": wallet.hotkey,
                "path": str(wallet.path.expanduser()),
                "address": made.hotkeys[role],
                "new": role in made.new,
            }
            for role, wallet in made.wallets.items()
        },
        "endpoint": made.endpoint,
        "written": made.written,
        "kept": made.kept,
        "notes": made.notes,
        "next": steps,
    }
