"""The command ``bettensor``: its arguments. Each command imports what it needs only when it runs."""

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.text import counted

if TYPE_CHECKING:
    from bettensor.neurons.config.settings import Settings

_NOT_WRITTEN = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)
"""The errors of a file or device that takes no more bytes."""
EXIT_FAILED = 1
EXIT_USAGE = 2
"""Wrong usage or configuration, as argparse has it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 success, 1 failure, 2 wrong usage or configuration, 130 Ctrl-C.
    """
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
    except BrokenPipeError:  # the reader of our output, as `head`, has ended
        _write_no_more()
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        _write_no_more()
        print(f"bettensor: cannot write: {error.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    return code


def _write_no_more() -> None:
    """Discard the rest of the buffer: flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flags(rest: Sequence[str]) -> dict[str, str]:
    """``--a.b=c`` or ``--a.b c``, as dotted keys with their values.

    Raises:
        ConfigurationError: a word is not such a flag, or a flag has no value.
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
                raise ConfigurationError(f"--{key}: expected a value, for example --{key}=VALUE")
            value = following
        flags[key] = value
    return flags


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bettensor",
        description="Real-time, authenticated communication between the miners and validators of the Bettensor subnet.",
        epilog="exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 Ctrl-C",
        allow_abbrev=False,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for role in ("validator", "miner"):
        neuron = _add(commands, role, f"run a {role}", f"bettensor {role} --config {role}.yaml --logging.level=DEBUG")
        neuron.usage = f"bettensor {role} [-h] --config FILE [{_KEYS}]"
        neuron.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration (YAML)")
        _add_keys(neuron, f"`bettensor config show --role {role}` lists all keys")
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


_KEYS = "--KEY=VALUE ..."


def _add_keys(parser: argparse.ArgumentParser, all_keys: str) -> None:
    """The flags that argparse does not know: ``main`` reads them."""
    parser.add_argument_group(
        "configuration keys",
        "--KEY=VALUE replaces the value of one key in the file, for example --logging.level=DEBUG; " + all_keys,
    )


class _Help(argparse.HelpFormatter):
    """Keeps an example on one line, so that it can be copied, and gives long command names room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if action.nargs == argparse.PARSER:  # argparse measures commands without their indentation
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLE) else super()._fill_text(text, width, indent)


_EXAMPLE = "example:\n  "


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str, example: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"{_EXAMPLE}{example}",
        allow_abbrev=False,
        formatter_class=_Help,
    )
    parser.set_defaults(takes_flags=False)
    return parser


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = _add(
        commands,
        "demo",
        "run a validator and some miners on this machine for a short time",
        "bettensor demo --miners 3 --duration 20",
    )
    demo.add_argument("--miners", type=_count, default=3, metavar="N", help="number of miners (default 3)")
    demo.add_argument(
        "--duration", type=_amount, metavar="S", help="duration in seconds (default 60 in a terminal, otherwise 20)"
    )
    demo.add_argument("--json", action="store_true", help="print only the outcome, as JSON")
    demo.set_defaults(command=_run_demo)


def _add_operations(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def asking(name: str, what: str, example: str, *, data: bool = True) -> argparse.ArgumentParser:
        parser = _add(commands, name, what, f"bettensor {name}{example}")
        _add_neuron(parser, _DEFAULT_MINER if name == "predict" else _DEFAULT_NEURON)
        if data:
            parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=_operate, operation=name)
        return parser

    asking("top", "watch a running neuron live", " --config validator.yaml")
    asking("peers", "list a neuron's peers; if a peer is not connected, say why", "")
    predict = asking(
        "predict", "send a prediction through the running miner", " --game G --outcome 'Arsenal' --wager 2.5"
    )
    predict.add_argument("--game", required=True, metavar="G", help="the game's id, as `bettensor games` shows it")
    predict.add_argument("--outcome", required=True, metavar="O", help="the winning team's name, or Tie")
    predict.add_argument(
        "--wager", required=True, type=float, metavar="W", help="the amount to wager, in the subnet's units"
    )
    predict.add_argument(
        "--validator",
        metavar="HOTKEY",
        help="send the prediction to this validator only (default: to all that offer the game)",
    )
    example = " --code game_started --since 1h"
    history = asking(
        "predictions", "list the predictions in a validator's ledger or a miner's outbox", example, data=False
    )
    form = history.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    history.add_argument(
        "--hotkey",
        metavar="HOTKEY",
        help="only predictions of this miner (in a ledger) or to this validator (in an outbox)",
    )
    history.add_argument(
        "--code",
        metavar="CODE",
        help="only predictions with this verdict, a code from docs/protocol.md such as accepted or game_started; "
        "`none` lists the predictions without a verdict",
    )
    history.add_argument("--game", metavar="G", help="only predictions on the game with this id")
    history.add_argument("--since", metavar="TIME", help=f"only predictions since this time: {_TIME}")
    history.add_argument("--limit", type=_count, metavar="N", help="only the newest N predictions")
    asking("stop", "stop a running neuron gracefully", " --config miner.yaml", data=False)


def _add_ledger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "bettensor ledger backup copy.sqlite3 --config validator.yaml"
    ledger = _add(commands, "ledger", "check, back up or restore a validator's ledger", example)
    actions = ledger.add_subparsers(metavar="ACTION", required=True)
    for action, what, file in (
        ("check", "read every page of a ledger, and report damage", None),
        ("backup", "copy a ledger; its validator may be running", "the copy to write"),
        ("restore", "replace a ledger with a copy; stop its validator first", "the copy to restore"),
    ):
        name = "copy.sqlite3 " if file else ""
        parser = _add(actions, action, what, f"bettensor ledger {action} {name}--config validator.yaml")
        if file:
            parser.add_argument("file", type=Path, metavar="FILE", help=file)
        _add_neuron(parser, _NO_DEFAULT if action == "restore" else _DEFAULT_NEURON)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=_operate, operation="ledger", action=action)


def _add_logs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def reading(name: str, what: str, example: str) -> argparse.ArgumentParser:
        parser = _add(commands, name, what, f"bettensor {name} {example}")
        parser.add_argument(
            "log",
            type=Path,
            metavar="LOG",
            help="an event log file (a neuron's recording), or the state_dir that contains the event log",
        )
        parser.set_defaults(command=_read_log, operation=name, unchained=False)
        return parser

    def unchained(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--unchained", action="store_true", help="read on even if a line's hash is wrong")
        parser.add_argument("--json", action="store_true", help="print JSON")

    example = "validator-state --with my_subnet.actors:StrictPredictionActor"
    replay = reading("replay", "replay an event log, and compare the decisions with the recorded ones", example)
    replay.add_argument(
        "--with",
        dest="instead",
        action="append",
        metavar="MODULE:CLASS",
        help="use this actor in place of the recorded actor with the same name, and show the decisions that change; "
        "may be repeated",
    )
    unchained(replay)
    trace = reading(
        "trace",
        "show every event about one prediction, each with the actor that published it",
        "validator-state PREDICTION_ID",
    )
    trace.add_argument(
        "prediction_id",
        type=_prediction_id,
        metavar="PREDICTION_ID",
        help="the prediction's id, as `bettensor predictions` shows it",
    )
    unchained(trace)
    log = reading(
        "log", "print or summarise the events in an event log", "validator-state --event 'frame_*' --since 1h"
    )
    log.add_argument(
        "--event",
        action="append",
        metavar="TOPIC",
        help="only events with this topic, such as frame_received, or with a topic that fits this pattern, such as "
        "'frame_*'; may be repeated",
    )
    log.add_argument("--hotkey", metavar="HOTKEY", help="only events that concern this neuron")
    log.add_argument("--since", metavar="TIME", help=f"only events since this time: {_TIME}")
    log.add_argument("--until", metavar="TIME", help="only events until this time, written as for --since")
    log.add_argument("--limit", type=_count, metavar="N", help="only the last N events")
    log.add_argument("--summary", action="store_true", help="print rates, latencies and verdicts instead of events")
    unchained(log)
    audit = reading("audit", "verify an event log: hash chain, seals and every signature", "validator-state")
    audit.add_argument("--json", action="store_true", help="print JSON")


_TIME = "an age (30s, 15m, 2h or 1d) or a time such as 2026-12-01T18:00:00Z"


_LOADS = "confirm, batch, bus"
"""The scenarios of ``bench`` whose load has a rate."""


def _add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    bench = _add(
        commands,
        "bench",
        "measure performance, and compare it with the limits of this machine",
        "bettensor bench confirm --miners 50 --window 8 --duration 10 --json",
    )
    bench.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help="confirm, batch, broadcast, connect, idle, storm, fallback, bus, ledger, recording, replay, growth or "
        "start (default: all of them)",
    )
    bench.add_argument(
        "--miners",
        type=_count,
        metavar="N",
        help=f"number of miners ({_LOADS}, recording, broadcast, connect, idle, storm, growth)",
    )
    bench.add_argument("--clients", type=_count, metavar="N", help="number of HTTP clients (fallback)")
    bench.add_argument(
        "--window", type=_count, metavar="N", help=f"frames of each miner that wait for an answer ({_LOADS}, recording)"
    )
    bench.add_argument(
        "--batch",
        type=_count,
        metavar="N",
        help=f"predictions in each frame or request ({_LOADS}, recording, fallback)",
    )
    bench.add_argument(
        "--rate",
        type=_amount,
        metavar="N",
        help=f"predictions per second of all miners together, sent without waiting for answers ({_LOADS})",
    )
    bench.add_argument(
        "--duration",
        type=_amount,
        metavar="S",
        help=f"seconds of each measurement ({_LOADS}, recording, idle, fallback, growth)",
    )
    bench.add_argument(
        "--record", choices=["off", "observed", "all"], help="the validator's recorder.record (confirm, batch)"
    )
    bench.add_argument(
        "--verify-workers", type=_count, metavar="N", help="the validator's auth.verify_workers (confirm, batch)"
    )
    bench.add_argument(
        "--bystanders",
        type=_count,
        metavar="N",
        help="further miners that are not measured, each with 1,280 predictions per second (confirm, batch)",
    )
    bench.add_argument(
        "--stalled",
        action="store_true",
        default=None,
        help="the bystanders never read the validator's messages (confirm, batch)",
    )
    bench.add_argument(
        "--rows",
        type=_count,
        metavar="N",
        help="verdicts in a long ledger, which is compared with an empty ledger (ledger, growth)",
    )
    bench.add_argument(
        "--predictions", type=_count, metavar="N", help="predictions sent while the memory is measured (growth)"
    )
    bench.add_argument("--events", type=_count, metavar="N", help="minimum number of events in the event log (replay)")
    bench.add_argument("--json", action="store_true", help="print JSON: one object, or a list for several scenarios")
    bench.add_argument("--compare", nargs=2, metavar=("A", "B"), help="compare two files written with --json")
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


_DEFAULT_NEURON = "default: the running neuron whose state_dir is inside ~/.bettensor, if there is exactly one"
_DEFAULT_MINER = "default: the running miner whose state_dir is inside ~/.bettensor, if there is exactly one"
_NO_DEFAULT = "needed, unless --state-dir is given: without both, only running neurons are found"


def _add_neuron(parser: argparse.ArgumentParser, default: str = _DEFAULT_NEURON) -> None:
    """How to name a neuron; the default is the only running one with its state_dir inside ``~/.bettensor``."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the neuron's configuration ({default})",
    )
    which.add_argument("--state-dir", type=Path, metavar="DIR", help="the neuron's state_dir, instead of --config")


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = _add(
        commands,
        "doctor",
        "check whether a neuron can run; if not, say how to repair it",
        "bettensor doctor --role validator",
    )
    doctor.usage = f"bettensor doctor [-h] [--role ROLE] [--config FILE] [--json]\n                        [{_KEYS}]"
    doctor.add_argument("--role", choices=["validator", "miner"], help="examine ROLE.yaml, unless --config is given")
    doctor.add_argument("--config", type=Path, metavar="FILE", help="the neuron's configuration (YAML)")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    _add_keys(doctor, "`bettensor config show --role ROLE` lists all keys")
    doctor.set_defaults(command=_run_doctor, takes_flags=True)


def _add_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = _add(commands, "config", "show or check a configuration", "bettensor config check validator.yaml")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    show = _add(actions, "show", "print every key with its default", "bettensor config show --role validator")
    show.add_argument("--role", choices=["validator", "miner"], required=True, help="the role whose keys are printed")
    show.set_defaults(command=_show_config)
    check = _add(actions, "check", "check a file without starting anything", "bettensor config check validator.yaml")
    check.usage = f"bettensor config check [-h] FILE [{_KEYS}]"
    check.add_argument("file", type=Path, metavar="FILE", help="the configuration (YAML)")
    _add_keys(check, "`bettensor config show --role ROLE` lists all keys")
    check.set_defaults(command=_check_config, takes_flags=True)


def _add_wallet(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    wallet = _add(
        commands, "wallet", "make throwaway wallets", "bettensor wallet new --wallet.name test --wallet.hotkey miner1"
    )
    actions = wallet.add_subparsers(metavar="ACTION", required=True)
    new = _add(
        actions,
        "new",
        "make a throwaway wallet with unencrypted keys, for tests only",
        "bettensor wallet new --wallet.name test --wallet.hotkey miner1",
    )
    new.add_argument(
        "--wallet.name", dest="name", default="default", metavar="NAME", help="name of the wallet (default: default)"
    )
    new.add_argument(
        "--wallet.hotkey",
        dest="hotkey",
        default="default",
        metavar="NAME",
        help="name of the hotkey (default: default)",
    )
    new.add_argument(
        "--wallet.path",
        dest="path",
        default="~/.bittensor/wallets",
        metavar="DIR",
        help="folder of all wallets (default ~/.bittensor/wallets)",
    )
    new.add_argument("--json", action="store_true", help="print JSON")
    new.add_argument(
        "--crypto", choices=["sr25519", "ed25519"], default="sr25519", help="the signature scheme (default sr25519)"
    )
    new.set_defaults(command=_new_wallet)


def _add_games(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    games = _add(commands, "games", "list a running neuron's games, or make a games file", "bettensor games --json")
    games.usage = (
        "bettensor games [-h] [--config FILE | --state-dir DIR] [--json]\n"
        "       bettensor games import FILE --output FILE [--starting TIME]"
    )
    _add_neuron(games)
    games.add_argument("--json", action="store_true", help="print JSON")
    games.set_defaults(command=_operate, operation="games")
    actions = games.add_subparsers(
        metavar="ACTION", prog="bettensor games", description="Without an action, this command lists the games."
    )
    importer = _add(
        actions,
        "import",
        "make a games file from an odds service's snapshots",
        "bettensor games import odds.json --output games.json",
    )
    importer.add_argument("file", type=Path, metavar="FILE", help="the snapshots, a JSON list")
    importer.add_argument("--output", type=Path, required=True, metavar="FILE", help="the games file to write")
    importer.add_argument(
        "--starting",
        metavar="TIME",
        help="shift all games so that the first starts at this time, for example 2026-12-01T18:00:00Z",
    )
    importer.set_defaults(command=_import_games)


def _add_completion(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    completion = _add(
        commands, "completion", "print a completion script for your shell", 'eval "$(bettensor completion bash)"'
    )
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="your shell")
    completion.set_defaults(command=_print_completion)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for, because that is slow."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"bettensor {version('bettensor')}")
        parser.exit()


# --- the commands


def _prepare_standard_streams() -> None:
    """Reopen standard streams that the parent closed: a socket would otherwise get fd 0-2, on which libuv aborts.

    A line that a handler prints, or the result of a measurement, is written at once, also into a file or a pipe.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), number)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _require_bittensor() -> None:
    """Check its version before it is imported: an error of that import would not tell an operator what to do."""
    from bettensor.neurons.cli.versions import require_bittensor

    require_bittensor()


def _run_neuron(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    _prepare_standard_streams()
    from bettensor.neurons.config.settings import load_settings
    from bettensor.neurons.launch import run

    def read() -> "Settings":
        return load_settings(arguments.config, arguments.flags, arguments.role)

    return run(read(), str(arguments.config), read)


def _run_demo(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    _prepare_standard_streams()
    from bettensor.neurons.cli.demo import run_demo

    return run_demo(miners=arguments.miners, duration=arguments.duration, as_json=arguments.json)


def _run_doctor(arguments: argparse.Namespace) -> int:
    import json

    from bettensor.neurons.cli import doctor, views
    from bettensor.neurons.config.settings import load_settings

    if arguments.config is None and arguments.role is None:
        raise ConfigurationError("doctor: name the neuron with --role or --config")
    file: Path = arguments.config or Path(f"{arguments.role}.yaml")
    with views.progress("checking keys, network and disk"):
        findings = doctor.examine(load_settings(file, arguments.flags, arguments.role), str(file))
    if arguments.json:
        print(json.dumps(doctor.as_json(findings), indent=2))
    else:
        print("\n".join(doctor.text(findings, views.console().width)))
    return 0 if doctor.can_run(findings) else EXIT_FAILED


def _run_bench(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    _prepare_standard_streams()
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
    print(f"{arguments.file}: valid configuration of a {settings.role} for netuid {settings.netuid}")
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
    print(f"made wallet {arguments.name}/{arguments.hotkey} in {arguments.path}; its keys are not encrypted")
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
    print(f"{arguments.output}: {counted(len(imported.games), 'game')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
