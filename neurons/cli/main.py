"""The command ``bettensor``. Imports nothing heavy until it is known what is asked."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bettensor.bus.errors import BettensorError, ConfigurationError

if TYPE_CHECKING:
    from bettensor.neurons.config.settings import Settings

_NOT_WRITTEN = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
"""Why a file or a device takes no more."""
EXIT_FAILED = 1
EXIT_USAGE = 2
"""Wrong usage or configuration, as argparse has it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 fine, 1 failed, 2 wrong usage or configuration, 130 for Ctrl-C."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        if rest and not arguments.takes_flags:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.flags = _flags(rest)
        code: int = arguments.command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigurationError as error:
        print(f"bettensor: {error}", file=sys.stderr)
        return EXIT_USAGE
    except BettensorError as error:
        print(f"bettensor: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # whoever read this has seen enough
        _write_no_more()
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        _write_no_more()
        print(f"bettensor: nothing more can be written: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    return code


def _write_no_more() -> None:
    """What is left in the buffer would fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flags(rest: Sequence[str]) -> dict[str, str]:
    """``--a.b=c`` or ``--a.b c``, as dotted keys with their values.

    Raises:
        ConfigurationError: something is no such flag, or has no value.
    """
    flags: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        if not word.startswith("--") or word == "--":
            raise ConfigurationError(f"unrecognized argument: {word}")
        key, equals, value = word[2:].partition("=")
        if not equals:
            following = next(words, None)
            if following is None or following.startswith("--"):
                raise ConfigurationError(f"--{key}: expected a value, as in --{key}=VALUE")
            value = following
        flags[key] = value
    return flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bettensor",
        description="Real-time, authenticated communication between the miners and validators of the Bettensor subnet.",
        epilog="exit codes: 0 fine, 1 failed, 2 wrong usage or configuration, 130 interrupted by Ctrl-C",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for role in ("validator", "miner"):
        neuron = _add(commands, role, f"run a {role}", f"bettensor {role} --config {role}.yaml --logging.level=DEBUG")
        neuron.add_argument("--config", type=Path, required=True, metavar="FILE", help="the YAML file")
        all_keys = f"bettensor config show --role {role}"
        neuron.add_argument_group("keys of the configuration", f"--KEY=VALUE for each that `{all_keys}` prints")
        neuron.set_defaults(command=_run_neuron, role=role, takes_flags=True)
    _add_demo(commands)
    _add_operations(commands)
    _add_doctor(commands)
    _add_config(commands)
    _add_wallet(commands)
    _add_games(commands)
    _add_ledger(commands)
    _add_logs(commands)
    _add_bench(commands)
    _add_completion(commands)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example: {example}",
        allow_abbrev=False,
    )
    parser.set_defaults(takes_flags=False)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = _add(
        commands, "demo", "run a validator and miners on this machine", "bettensor demo --miners 3 --duration 20"
    )
    demo.add_argument("--miners", type=_count, default=3, metavar="N", help="how many miners (default 3)")
    demo.add_argument(
        "--duration", type=_amount, metavar="S", help="seconds of work (default 20, and 60 in a terminal)"
    )
    demo.add_argument("--json", action="store_true", help="print the outcome as JSON, and nothing else")
    demo.set_defaults(command=_run_demo)


def _add_operations(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def asking(name: str, what: str, example: str, *, data: bool = True) -> argparse.ArgumentParser:
        parser = _add(commands, name, what, f"bettensor {name}{example}")
        _add_neuron(parser)
        if data:
            parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.set_defaults(command=_operate, operation=name)
        return parser

    asking("top", "watch a running neuron", " --config validator.yaml")
    asking("peers", "show who is connected, and what keeps the others away", "")
    predict = asking(
        "predict", "predict by hand, through the running miner", " --game G --outcome 'Arsenal' --wager 2.5"
    )
    predict.add_argument("--game", required=True, metavar="G", help="the game's id, as `bettensor games` shows it")
    predict.add_argument("--outcome", required=True, metavar="O", help="a team's name, or Tie")
    predict.add_argument("--wager", required=True, type=float, metavar="W", help="how much")
    predict.add_argument("--validator", metavar="HOTKEY", help="only this one; by default each that offers the game")
    example = " --code game_started --since 1h"
    history = asking("predictions", "show the verdicts of a ledger or an outbox", example, data=False)
    form = history.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print it as JSON")
    form.add_argument("--csv", action="store_true", help="print it as CSV")
    history.add_argument("--hotkey", metavar="HOTKEY", help="of this miner; in an outbox, by this validator")
    history.add_argument("--code", metavar="CODE", help="with this verdict; none: without one")
    history.add_argument("--game", metavar="G", help="on this game")
    history.add_argument("--since", metavar="TIME", help="not before: 30s, 15m, 2h or 1d ago, or a time of RFC 3339")
    history.add_argument("--limit", type=_count, metavar="N", help="the newest N")
    asking("stop", "stop a running neuron in good order", " --config miner.yaml", data=False)


def _add_ledger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "bettensor ledger backup copy.sqlite3 --config validator.yaml"
    ledger = _add(commands, "ledger", "check, copy or put back a validator's ledger", example)
    actions = ledger.add_subparsers(metavar="ACTION", required=True)
    for action, what, file in (
        ("check", "read every page of a ledger, and say whether it is whole", None),
        ("backup", "copy a ledger, also while its validator runs", "the copy to write"),
        ("restore", "put a copy in the ledger's place; the validator must not run", "the copy to put back"),
    ):
        name = "copy.sqlite3 " if file else ""
        parser = _add(actions, action, what, f"bettensor ledger {action} {name}--config validator.yaml")
        if file:
            parser.add_argument("file", type=Path, metavar="FILE", help=file)
        _add_neuron(parser)
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.set_defaults(command=_operate, operation="ledger", action=action)


def _add_logs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def reading(name: str, what: str, example: str) -> argparse.ArgumentParser:
        parser = _add(commands, name, what, f"bettensor {name} {example}")
        parser.add_argument("log", type=Path, metavar="LOG", help="a recorded log: a file, or the folder of its files")
        parser.set_defaults(command=_read_log, operation=name, unchained=False)
        return parser

    def unchained(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--unchained", action="store_true", help="read a log though its lines were changed")
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    example = "validator-state --with my_subnet.actors:StrictPredictionActor"
    replay = reading("replay", "decide again what a recorded log holds, and compare", example)
    replay.add_argument(
        "--with",
        dest="instead",
        action="append",
        metavar="MODULE:CLASS",
        help="show what this actor would have decided, in the place of the one of its name",
    )
    unchained(replay)
    trace = reading("trace", "show the way of one prediction through the actors", "validator-state PREDICTION_ID")
    trace.add_argument(
        "prediction_id", type=_prediction_id, metavar="PREDICTION_ID", help="as `bettensor predictions` shows it"
    )
    unchained(trace)
    log = reading("log", "print or sum up a recorded log", "validator-state --event 'frame_*' --since 1h")
    log.add_argument("--event", action="append", metavar="TOPIC", help="only this topic, or pattern; may be repeated")
    log.add_argument("--hotkey", metavar="HOTKEY", help="only what concerns this neuron")
    log.add_argument("--since", metavar="TIME", help="not before: 30s, 15m, 2h or 1d ago, or a time of RFC 3339")
    log.add_argument("--until", metavar="TIME", help="not after; in the same forms")
    log.add_argument("--limit", type=_count, metavar="N", help="the last N")
    log.add_argument("--summary", action="store_true", help="rates, latencies and results instead of events")
    unchained(log)
    audit = reading("audit", "prove who said what: chain, seals and every signature", "validator-state")
    audit.add_argument("--json", action="store_true", help="print it as JSON")


def _add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = _add(
        commands,
        "bench",
        "measure how fast this software is on this machine, beside what the machine allows",
        "bettensor bench confirm --miners 50 --window 8 --batch 1 --duration 10 --json",
    )
    bench.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="confirm, batch, broadcast, connect, idle, storm, fallback, bus, ledger, recording, replay, growth, "
        "start; all where none is named",
    )
    bench.add_argument("--miners", type=_count, metavar="N", help="how many miners")
    bench.add_argument("--clients", type=_count, metavar="N", help="how many HTTP clients")
    bench.add_argument("--window", type=_count, metavar="N", help="frames that each miner keeps in flight")
    bench.add_argument("--batch", type=_count, metavar="N", help="predictions in a frame")
    bench.add_argument("--rate", type=_amount, metavar="N", help="predictions offered a second, in an open loop")
    bench.add_argument("--duration", type=_amount, metavar="S", help="seconds of each measurement")
    bench.add_argument("--record", choices=["off", "observed", "all"], help="the validator's recorded log")
    bench.add_argument("--verify-workers", type=_count, metavar="N", help="the validator's auth.verify_workers")
    bench.add_argument("--bystanders", type=_count, metavar="N", help="more miners, at 1,280 predictions a second each")
    bench.add_argument("--stalled", action="store_true", default=None, help="the bystanders never read")
    bench.add_argument("--rows", type=_count, metavar="N", help="verdicts in a long ledger")
    bench.add_argument("--predictions", type=_count, metavar="N", help="how many predictions, while memory is watched")
    bench.add_argument("--events", type=_count, metavar="N", help="events in a log")
    bench.add_argument("--json", action="store_true", help="print it as JSON: an object, or a list of several")
    bench.add_argument("--compare", nargs=2, metavar=("A", "B"), help="show what changed between two such files")
    bench.set_defaults(command=_run_bench)


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0.0
    if not 0 < amount < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return amount


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):  # SQLite and Python's containers count further, but not for ever
        raise argparse.ArgumentTypeError(f"expected a number above 0, of at most 18 digits, not {text!r}")
    return int(text)


def _prediction_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"expected 1 to 64 of A-Z a-z 0-9 _ -, not {text!r}")
    return text


def _add_neuron(parser: argparse.ArgumentParser) -> None:
    """Which neuron is meant; by default the one that runs with its state below ``~/.bettensor``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", type=Path, metavar="FILE", help="the neuron's YAML file")
    which.add_argument("--state-dir", type=Path, metavar="DIR", help="the neuron's state_dir")


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = _add(
        commands,
        "doctor",
        "see whether a neuron could run, and how to repair what is in its way",
        "bettensor doctor --role validator",
    )
    doctor.add_argument("--role", choices=["validator", "miner"], help="the role; its file is ROLE.yaml, or --config")
    doctor.add_argument("--config", type=Path, metavar="FILE", help="the neuron's YAML file")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    doctor.set_defaults(command=_run_doctor, takes_flags=True)


def _add_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = _add(commands, "config", "show or check a configuration", "bettensor config check validator.yaml")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    show = _add(actions, "show", "print every key with its default", "bettensor config show --role validator")
    show.add_argument("--role", choices=["validator", "miner"], required=True, help="whose keys")
    show.set_defaults(command=_show_config)
    check = _add(actions, "check", "check a file without starting anything", "bettensor config check validator.yaml")
    check.add_argument("file", type=Path, metavar="FILE", help="the YAML file")
    check.set_defaults(command=_check_config, takes_flags=True)


def _add_wallet(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    wallet = _add(commands, "wallet", "make wallets", "bettensor wallet new --wallet.name test --wallet.hotkey miner1")
    actions = wallet.add_subparsers(metavar="ACTION", required=True)
    new = _add(
        actions,
        "new",
        "make a throwaway wallet, its keys unencrypted: for trying things out, never for money",
        "bettensor wallet new --wallet.name test --wallet.hotkey miner1",
    )
    new.add_argument("--wallet.name", dest="name", default="default", metavar="NAME", help="the wallet's folder")
    new.add_argument("--wallet.hotkey", dest="hotkey", default="default", metavar="NAME", help="the hotkey's file")
    new.add_argument(
        "--wallet.path", dest="path", default="~/.bittensor/wallets", metavar="DIR", help="where to keep it"
    )
    new.add_argument("--json", action="store_true", help="print it as JSON")
    new.add_argument("--crypto", choices=["sr25519", "ed25519"], default="sr25519", help="the signature scheme")
    new.set_defaults(command=_new_wallet)


def _add_games(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    games = _add(commands, "games", "show the slate of a running neuron, or prepare one", "bettensor games --json")
    _add_neuron(games)
    games.add_argument("--json", action="store_true", help="print it as JSON")
    games.set_defaults(command=_operate, operation="games")
    actions = games.add_subparsers(metavar="ACTION")
    importer = _add(
        actions,
        "import",
        "make a games file of an odds service's snapshots",
        "bettensor games import odds.json --output games.json --starting 2026-12-01T18:00:00Z",
    )
    importer.add_argument("file", type=Path, metavar="FILE", help="a JSON list of snapshots")
    importer.add_argument("--output", type=Path, required=True, metavar="FILE", help="the games file to write")
    importer.add_argument("--starting", metavar="TIME", help="move all games so that the first starts then (RFC 3339)")
    importer.set_defaults(command=_import_games)


def _add_completion(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    completion = _add(
        commands, "completion", "print a completion script for your shell", 'eval "$(bettensor completion bash)"'
    )
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="which shell")
    completion.set_defaults(command=_print_completion)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all the rest."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"bettensor {version('bettensor')}")
        parser.exit()


# --- the commands


def _open_standard_streams() -> None:
    """Where whoever starts a neuron has closed them, sockets would take their numbers; libuv aborts at such a one."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _require_bittensor() -> None:
    """Before it is imported: what fails there says nothing to an operator."""
    from bettensor.neurons.cli.versions import require_bittensor

    require_bittensor()


def _run_neuron(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    _open_standard_streams()
    from bettensor.neurons.config.settings import load_settings
    from bettensor.neurons.launch import run

    def read() -> "Settings":
        return load_settings(arguments.config, arguments.flags, arguments.role)

    return run(read(), str(arguments.config), read)


def _run_demo(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.cli.demo import run_demo

    return run_demo(miners=arguments.miners, duration=arguments.duration, as_json=arguments.json)


def _run_doctor(arguments: argparse.Namespace) -> int:
    import json

    from bettensor.neurons.cli import doctor, views
    from bettensor.neurons.config.settings import load_settings

    if arguments.config is None and arguments.role is None:
        raise ConfigurationError("doctor: name the neuron, by --role or --config")
    file: Path = arguments.config or Path(f"{arguments.role}.yaml")
    with views.progress("looking at keys, network and disk"):
        findings = doctor.examine(load_settings(file, arguments.flags, arguments.role), str(file))
    if arguments.json:
        print(json.dumps(doctor.as_json(findings), indent=2))
    else:
        print("\n".join(doctor.text(findings, views.console().width)))
    return 0 if doctor.can_run(findings) else EXIT_FAILED


def _run_bench(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.bench.command import bench

    return bench(arguments)


def _print_completion(arguments: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(_parser(), arguments.shell))
    return 0


def _operate(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli import ask

    code: int = getattr(ask, arguments.operation)(arguments)
    return code


def _read_log(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli import logs

    code: int = getattr(logs, arguments.operation)(arguments)
    return code


def _show_config(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli.config_file import commented_defaults

    print(commented_defaults(arguments.role), end="")
    return 0


def _check_config(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.config.plugins import describe
    from bettensor.neurons.config.settings import load_settings
    from bettensor.neurons.launch import check

    settings = load_settings(arguments.file, arguments.flags)
    check(settings, str(arguments.file))
    print(f"{arguments.file}: a {settings.role} for netuid {settings.netuid}, nothing wrong")
    for line in describe():
        print(line)
    return 0


def _new_wallet(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.config.settings import WalletSettings, parse
    from bettensor.neurons.edges.keys import new_wallet

    wallet = {"name": arguments.name, "hotkey": arguments.hotkey, "path": arguments.path}
    parse(WalletSettings, wallet, "wallet", sources={key: f"--wallet.{key}" for key in wallet})
    hotkey = new_wallet(**wallet, scheme=arguments.crypto)
    if arguments.json:
        import json

        print(json.dumps(wallet | {"address": hotkey}, indent=2))
        return 0
    print(f"made the wallet {arguments.name}/{arguments.hotkey} in {arguments.path}, its keys unencrypted")
    print(f"hotkey: {hotkey}")
    return 0


def _import_games(arguments: argparse.Namespace) -> int:
    from datetime import datetime

    from bettensor.neurons.cli.odds_import import run_import

    try:
        starting = None if arguments.starting is None else datetime.fromisoformat(arguments.starting)
    except ValueError:
        raise ConfigurationError(
            f"--starting: expected a time like 2026-12-01T18:00:00Z, not {arguments.starting!r}"
        ) from None
    imported = run_import(arguments.file, arguments.output, starting)
    for skipped in imported.skipped:
        print(f"skipped {skipped}", file=sys.stderr)
    print(f"{arguments.output}: {len(imported.games)} games")
    return 0


if __name__ == "__main__":
    sys.exit(main())
