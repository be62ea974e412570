"""The command ``bettensor``: its arguments. Each command imports what it needs only when it runs."""

import argparse
import contextlib
import errno
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bettensor.bus.errors import BettensorError, ConfigurationError
from bettensor.bus.redaction import without_keys, without_named
from bettensor.bus.text import counted, harmless, hint
from bettensor.neurons.cli import streams
from bettensor.neurons.system import crashes

if TYPE_CHECKING:
    from bettensor.neurons.config.loading import Configuration
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
    streams.prepare()
    crashes.hide_secrets()
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        if rest and not arguments.takes_flags:
            arguments.parser.refuse(rest)
        arguments.words = rest
        with streams.guarded():
            code: int = arguments.command(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except ConfigurationError as error:
        return _fail(str(error), EXIT_USAGE)
    except BettensorError as error:
        return _fail(str(error), EXIT_FAILED)
    except UnicodeEncodeError as error:
        return _fail(f"this locale cannot name the file {error.object!a}; set LANG=C.UTF-8", EXIT_USAGE)
    except BrokenPipeError:  # the reader of our output, as `head`, has ended
        streams.discard(sys.stdout)
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in _NOT_WRITTEN:
            raise
        streams.discard(sys.stdout)
        return _fail(f"cannot write: {error.strerror}", EXIT_FAILED)
    except KeyboardInterrupt:
        return 128 + 2  # as shells report SIGINT
    finally:
        streams.let_go(sys.stderr)
    return code


def _fail(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody can read it
        print(f"bettensor: {harmless(text)}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="bettensor",
        description="Real-time, authenticated communication between the miners and validators of the Bettensor subnet.",
        epilog="exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 Ctrl-C (a neuron: 0)",
        allow_abbrev=False,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action=_Version)
    parser.set_defaults(command=_print_help, parser=parser, takes_flags=False)
    commands = parser.add_subparsers(metavar="COMMAND")
    for role in ("validator", "miner"):
        example = f"bettensor {role} --wallet.name W --subtensor.network test --logging.debug"
        neuron = _add(commands, role, f"run a {role}", example, add_help=False)
        neuron.usage = f"bettensor {role} [-h] [--config FILE] [{_KEYS}]"
        neuron.add_argument("-h", "--help", action=_HelpWithKeys, help="show this help, with all keys, and exit")
        _add_file(neuron, f"{role}.yaml")
        _add_keys(neuron, "All keys follow, in a group for each section of the file")
        neuron.set_defaults(command=_run_neuron, role=role, takes_flags=True)
    _add_init(commands)
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


_KEYS = "--KEY[=VALUE] ..."


def _add_keys(parser: argparse.ArgumentParser, all_keys: str) -> None:
    """The flags that argparse does not know: ``main`` reads them."""
    parser.add_argument_group(
        "configuration keys",
        "--KEY=VALUE or --KEY VALUE sets one key, instead of the file, for example --logging.level=DEBUG. If a key is "
        "true or false, --KEY and --no-KEY suffice; --no-KEY also unsets a key that may be null. If a key is set "
        "twice, the last flag wins. A variable such as BETTENSOR_LOGGING__LEVEL sets a key too; flags override it. "
        f"{all_keys}.",
    )


def _add_file(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the configuration (YAML); default: {default} in this directory if it is there, otherwise no file",
    )


_MISSING = " required"
"""In argparse's messages about a missing argument, and in no other."""


class _Parser(argparse.ArgumentParser):
    """Suggests a word for a mistyped one."""

    _words: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = sys.argv[1:] if args is None else [*args]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with this message; if an option is missing, a mistyped one is told instead."""
        unknown = [word for word in self._words if word.startswith("--") and not self._has(word)]
        if unknown and _MISSING in message and not self.get_default("takes_flags"):
            self.refuse(unknown)
        super().error(without_named(message))

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """End with a message about words that this command does not know, and a suggestion for the first option."""
        unknown = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
        near = hint(unknown, self._option_string_actions) if unknown else ""
        super().error(without_named(f"unrecognized arguments: {' '.join(words)}{near}"))

    def _has(self, word: str) -> bool:
        return word == "--" or word.partition("=")[0] in self._option_string_actions

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            fault = f"invalid choice: {value!r}{hint(str(value), map(str, action.choices))}"
            raise argparse.ArgumentError(action, f"{fault}; `{self.prog} --help` lists all")


class _HelpWithKeys(argparse.Action):
    """Adds the keys only when help is asked for, because reading them is slow."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse names it
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from bettensor.neurons.cli.key_help import add_keys

        add_keys(parser, [parser.get_default("role")])
        parser.print_help()
        parser.exit()


class _Help(argparse.HelpFormatter):
    """Keeps an example on one line, so that it can be copied, and gives long command names room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        if action.nargs == argparse.PARSER:  # argparse measures commands without their indentation
            self._action_max_length += self._indent_increment

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"  # the value once, as Python 3.13 shows it

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith(_EXAMPLE) else super()._fill_text(text, width, indent)


_EXAMPLE = "example:\n  "


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    what: str,
    example: str,
    *,
    add_help: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"{_EXAMPLE}{example}",
        add_help=add_help,
        allow_abbrev=False,
        formatter_class=_Help,
    )
    parser.set_defaults(command=_print_help, parser=parser, takes_flags=False)
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
        "--existing",
        type=_count,
        default=0,
        metavar="N",
        help="number of existing miners beside them, of bittensor 10, which is installed for them the first time",
    )
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
    asking(
        "peers",
        "list a neuron's peers, and why one is not connected; if several neurons run, list these",
        "",
    )
    predict = asking(
        "predict", "send a prediction through the running miner", " --game G --outcome 'Arsenal' --wager 2.5"
    )
    predict.description = (
        "Send a prediction through the running miner, and wait up to 60 s for the verdict. Whether or not this command "
        "still waits, the prediction stays in the miner's outbox until it has its verdict or its game starts."
    )
    predict.add_argument("--game", required=True, metavar="G", help="the game's id, as `bettensor games` shows it")
    predict.add_argument("--outcome", required=True, metavar="O", help="the winning team's name, or Tie")
    predict.add_argument(
        "--wager", required=True, type=float, metavar="W", help="the amount to wager, in the subnet's units"
    )
    predict.add_argument(
        "--validator",
        metavar="HOTKEY",
        help=f"send the prediction to this validator only: {_HOTKEY} (default: to all that offer the game)",
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
        help=f"only predictions of this miner (in a ledger) or to this validator (in an outbox): {_HOTKEY}",
    )
    history.add_argument(
        "--code",
        metavar="CODE",
        help="only predictions with this verdict, a code from docs/protocol.md such as accepted or game_started; "
        "`none` lists the predictions without a verdict",
    )
    history.add_argument(
        "--proof",
        choices=["signature", "endpoint", "imported"],
        metavar="PROOF",
        help="only predictions whose sender is proven so: by their `signature`, by the `endpoint` that gave them over "
        "Synapse, or `imported` from an existing validator (in a ledger)",
    )
    history.add_argument("--game", metavar="G", help="only predictions on the game with this id")
    history.add_argument("--since", metavar="TIME", help=f"only predictions since this time: {_TIME}")
    history.add_argument("--limit", type=_count, metavar="N", help="only the newest N predictions")
    history.usage = (
        "bettensor predictions [-h] [--config FILE | --state-dir DIR]\n"
        "                             [--json | --csv] [--hotkey HOTKEY] [--code CODE]\n"
        "                             [--proof PROOF] [--game G] [--since TIME]\n"
        "                             [--limit N]\n"
        "       bettensor predictions import FILE [...]"
    )
    _add_predictions_import(history)
    asking("stop", "stop a running neuron gracefully", " --config miner.yaml", data=False)


def _add_predictions_import(history: argparse.ArgumentParser) -> None:
    actions = history.add_subparsers(
        metavar="ACTION", prog="bettensor predictions", description="Without an action, this command lists predictions."
    )
    importer = _add(
        actions,
        "import",
        "take an existing miner's open predictions into the outbox; stop our miner first",
        "bettensor predictions import predictions.csv --config miner.yaml",
    )
    importer.add_argument("file", type=Path, metavar="FILE", help="a CSV file, made by the query in docs/operating.md")
    importer.add_argument(
        "--validator",
        action="append",
        default=[],
        metavar="HOTKEY",
        help="the predictions are for this validator; may be repeated (default: all that the miner connects to)",
    )
    _add_import(importer)
    importer.set_defaults(command=_import_predictions)


def _add_ledger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "bettensor ledger backup copy.sqlite3 --config validator.yaml"
    ledger = _add(commands, "ledger", "check, back up, restore or fill a validator's ledger", example)
    actions = ledger.add_subparsers(metavar="ACTION")
    for action, what, file in (
        ("check", "read every page of a ledger, and report damage", None),
        ("backup", "copy a ledger; its validator may be running", "the copy to write"),
        ("restore", "replace a ledger with a copy; stop its validator first", "the copy to restore"),
    ):
        name = "copy.sqlite3 " if file else ""
        parser = _add(actions, action, what, f"bettensor ledger {action} {name}--config validator.yaml")
        if file:
            parser.add_argument("file", type=Path, metavar="FILE", help=file)
        which = _add_neuron(parser, _NO_DEFAULT if action == "restore" else _DEFAULT_NEURON)
        if not file:
            which.add_argument("file", type=Path, nargs="?", metavar="FILE", help="check this copy of a ledger instead")
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=_operate, operation="ledger", action=action)
    importer = _add(
        actions,
        "import",
        "take what an existing validator has accepted into the ledger; stop our validator first",
        "bettensor ledger import validator.db --config validator.yaml",
    )
    importer.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the existing validator's database, bettensor/validator/state/validator.db in its clone; that validator "
        "may be running, and the file is only read",
    )
    _add_import(importer)
    importer.set_defaults(command=_import_ledger)


def _add_import(parser: argparse.ArgumentParser) -> None:
    """The arguments of commands that fill a neuron's database."""
    _add_neuron(parser, _NO_DEFAULT)
    parser.add_argument("--dry-run", action="store_true", help="count only, and write nothing; the neuron may run")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_logs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    def reading(name: str, what: str, example: str) -> argparse.ArgumentParser:
        parser = _add(commands, name, what, f"bettensor {name} {example}")
        parser.add_argument(
            "log",
            type=Path,
            metavar="LOG",
            help="an event log file (a neuron's recording), or the state_dir that contains the event log",
        )
        parser.set_defaults(command=_read_log, operation=name, unchained=False, imports=[])
        return parser

    def unchained(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--import",
            dest="imports",
            action="append",
            metavar="MODULE",
            help="allow this module, or this package, to be imported if the log was made with actors, events or "
            "messages of it; only if you trust the code; may be repeated",
        )
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
        help="the prediction's id, as `bettensor predictions` shows it; its beginning is enough",
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
        "'frame_*'; may be repeated; decisions that the log does not hold are made again",
    )
    log.add_argument("--hotkey", metavar="HOTKEY", help=f"only events that concern this neuron: {_HOTKEY}")
    log.add_argument("--since", metavar="TIME", help=f"only events since this time: {_TIME}")
    log.add_argument("--until", metavar="TIME", help="only events until this time, written as for --since")
    log.add_argument("--limit", type=_count, metavar="N", help="only the last N events")
    log.add_argument("--summary", action="store_true", help="print rates, latencies and verdicts instead of events")
    unchained(log)
    audit = reading("audit", "verify an event log: hash chain, seals and every signature", "validator-state")
    audit.add_argument("--json", action="store_true", help="print JSON")


_HOTKEY = "its address, the beginning of it, or the short form as in 5DFzyX…8mTv"
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
        "--tls",
        action="store_true",
        default=None,
        help="measure with and without TLS in turn, and show its cost (confirm, batch)",
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


def _port(text: str) -> int:
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < port < 65536:
        raise argparse.ArgumentTypeError(f"expected a port, 1 to 65535, not {text!r}")
    return port


def _days(text: str) -> int:
    days = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError(f"expected a number of days, 1 to 36500, not {text!r}")
    return days


def _prediction_id(text: str) -> str:
    text = text.removesuffix("…")  # as a terminal shows it
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"expected 1 to 64 of A-Z a-z 0-9 _ -, not {text!r}")
    return text


_DEFAULT_NEURON = "default: your running neuron, if there is exactly one"
_DEFAULT_MINER = "default: your running miner, if there is exactly one"
_NO_DEFAULT = "needed, unless --state-dir is given: without both, only running neurons are found"


def _add_neuron(parser: argparse.ArgumentParser, default: str = _DEFAULT_NEURON) -> "argparse._MutuallyExclusiveGroup":
    """How to name a neuron; the default is the only running one of this user. Other ways may be added to the group."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"the neuron's configuration ({default})",
    )
    which.add_argument("--state-dir", type=Path, metavar="DIR", help="the neuron's state_dir, instead of --config")
    return which


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    doctor = _add(
        commands,
        "doctor",
        "check whether a neuron can run; if not, say how to repair it",
        "bettensor doctor --role validator",
    )
    doctor.usage = f"bettensor doctor [-h] [--role ROLE] [--config FILE] [--json]\n                        [{_KEYS}]"
    doctor.add_argument("--role", choices=["validator", "miner"], help="the neuron's role, unless the file names it")
    _add_file(doctor, "ROLE.yaml")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    _add_keys(doctor, "`bettensor ROLE --help` lists all keys")
    doctor.set_defaults(command=_run_doctor, takes_flags=True)


def _add_config(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    config = _add(commands, "config", "show or check a configuration", "bettensor config check validator.yaml")
    actions = config.add_subparsers(metavar="ACTION")
    show = _add(
        actions,
        "show",
        "print every key with its default; with --config or keys, what is in force and where each value comes from",
        "bettensor config show --config validator.yaml --logging.debug",
    )
    show.usage = f"bettensor config show [-h] [--role ROLE] [--config FILE]\n                             [{_KEYS}]"
    show.add_argument("--role", choices=["validator", "miner"], help="the role, unless the file names it")
    show.add_argument("--config", type=Path, metavar="FILE", help="show what is in force with this file (YAML)")
    _add_keys(show, "`bettensor ROLE --help` lists all keys")
    show.set_defaults(command=_show_config, takes_flags=True)
    check = _add(actions, "check", "check a file without starting anything", "bettensor config check validator.yaml")
    check.usage = f"bettensor config check [-h] FILE [{_KEYS}]"
    check.add_argument("file", type=Path, metavar="FILE", help="the configuration (YAML)")
    _add_keys(check, "`bettensor ROLE --help` lists all keys")
    check.set_defaults(command=_check_config, role=None, takes_flags=True)


def _add_init(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = _add(
        commands,
        "init",
        "make what a first validator and miner on this machine need: wallets, metagraph file and configurations",
        "bettensor init",
    )
    init.add_argument("--wallet.name", dest="name", metavar="NAME", help="name of the wallet (default: demo)")
    _add_wallet_path(init)
    init.add_argument(
        "--directory", type=Path, default=Path(), metavar="DIR", help="folder of the files (default: this folder)"
    )
    init.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="the validator's port, or the first to try if it is in use (default 8091)",
    )
    init.add_argument("--json", action="store_true", help="print JSON")
    init.set_defaults(command=_init)


def _add_wallet(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    example = "bettensor wallet new --wallet.name test --wallet.hotkey miner1"
    wallet = _add(commands, "wallet", "list wallets, make throwaway wallets, or a certificate for TLS", example)
    actions = wallet.add_subparsers(metavar="ACTION")
    new = _add(actions, "new", "make a throwaway wallet with unencrypted keys, for tests only", example)
    new.add_argument(
        "--wallet.name", dest="name", metavar="NAME", help="name of the wallet (default: default, with --yes)"
    )
    _add_wallet_hotkey(new)
    _add_wallet_path(new)
    new.add_argument(
        "--crypto", choices=["sr25519", "ed25519"], default="sr25519", help="the signature scheme (default sr25519)"
    )
    new.add_argument("--yes", action="store_true", help="make it in the wallet `default`, if no wallet is named")
    listing = _add(
        actions, "list", "list wallets and their hotkeys, and say which hotkeys can sign", "bettensor wallet list"
    )
    _add_wallet_path(listing)
    certificate = _add(
        actions,
        "certificate",
        "make a self-signed certificate for the TLS of a validator; an existing key is kept",
        "bettensor wallet certificate --wallet.name demo --wallet.hotkey validator",
    )
    certificate.add_argument(
        "--wallet.name", dest="name", default="default", metavar="NAME", help="name of the wallet (default: default)"
    )
    _add_wallet_hotkey(certificate)
    _add_wallet_path(certificate)
    certificate.add_argument(
        "--axon.external_ip", dest="address", metavar="IP", help="the address at which miners reach the validator"
    )
    certificate.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="folder of both files (default: this folder)"
    )
    certificate.add_argument(
        "--days", type=_days, default=3650, metavar="N", help="days for which it is valid (default 3650)"
    )
    for parser, operation in ((new, "new"), (listing, "show"), (certificate, "certificate")):
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(command=_wallet, operation=operation)


def _add_wallet_hotkey(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wallet.hotkey",
        dest="hotkey",
        default="default",
        metavar="NAME",
        help="name of the hotkey (default: default)",
    )


def _add_wallet_path(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wallet.path",
        dest="path",
        default="~/.bittensor/wallets",
        metavar="DIR",
        help="folder of all wallets (default ~/.bittensor/wallets)",
    )


def _add_games(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    games = _add(commands, "games", "list a running neuron's games, or make a games file", "bettensor games --json")
    games.usage = (
        "bettensor games [-h] [--config FILE | --state-dir DIR]\n"
        "                       [--limit N] [--json]\n"
        "       bettensor games import (FILE | --odds-api SPORT) --output FILE [...]\n"
        "       bettensor games schema"
    )
    _add_neuron(games)
    games.add_argument("--limit", type=_count, metavar="N", help="only the next N games of each validator")
    games.add_argument("--json", action="store_true", help="print JSON")
    games.set_defaults(command=_operate, operation="games")
    actions = games.add_subparsers(
        metavar="ACTION", prog="bettensor games", description="Without an action, this command lists the games."
    )
    importer = _add(
        actions,
        "import",
        "make a games file from the odds of a service, or from an existing validator's games",
        "bettensor games import odds.json --output games.json",
    )
    importer.usage = (
        "bettensor games import [-h] (FILE | --odds-api SPORT) --output FILE\n"
        "                              [--odds-format FORMAT] [--regions LIST]\n"
        "                              [--url URL] [--starting TIME] [--json]"
    )
    source = importer.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="a JSON list, of snapshots, of events of The Odds API or of an existing validator's games, or that "
        "validator's database, validator.db (docs/games.md shows all)",
    )
    source.add_argument(
        "--odds-api",
        action="append",
        metavar="SPORT",
        help="ask The Odds API for this sport, such as baseball_mlb, with the key in the environment variable "
        "ODDS_API_KEY; may be repeated",
    )
    importer.add_argument("--output", type=Path, required=True, metavar="FILE", help="the games file to write")
    importer.add_argument(
        "--odds-format",
        choices=["decimal", "american", "fractional"],
        metavar="FORMAT",
        help="how FILE has its odds: decimal (2.2), american (+120) or fractional (6/5) (default decimal)",
    )
    importer.add_argument(
        "--regions",
        metavar="LIST",
        help="with --odds-api: whose bookmakers are averaged, separated by commas: us, us2, uk, eu, au (default us)",
    )
    importer.add_argument(
        "--url", metavar="URL", help="with --odds-api: the service (default https://api.the-odds-api.com)"
    )
    importer.add_argument(
        "--starting",
        metavar="TIME",
        help="shift all games so that the first starts at this time, for example 2026-12-01T18:00:00Z",
    )
    importer.add_argument("--json", action="store_true", help="print JSON")
    importer.set_defaults(command=_import_games)
    schema = _add(actions, "schema", "print the JSON Schema of games files", "bettensor games schema")
    schema.set_defaults(command=_print_games_schema)


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


def _require_bittensor() -> None:
    """Check its version before it is imported: an error of that import would not tell an operator what to do."""
    from bettensor.neurons.cli.versions import require_bittensor

    require_bittensor()


def _run_neuron(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    streams.prepare_for_neurons()
    from bettensor.neurons.config.loading import find_file
    from bettensor.neurons.launch import refuse_faults, run

    file: Path | None = arguments.config or find_file(arguments.role)
    loaded = _load(arguments, file)
    refuse_faults(loaded)
    if arguments.config is None:
        found = "no file, only flags, variables and defaults" if file is None else f"{file.absolute()}, found here"
        neurons = loaded.settings.metagraph.static or f"the chain, {without_keys(loaded.settings.subtensor.chosen)}"
        print(
            f"bettensor: configuration: {found}; metagraph: {neurons}; state_dir: {loaded.settings.state_dir}",
            file=sys.stderr,
        )

    def again() -> "Settings":
        return _load(arguments, file).checked

    try:
        return run(loaded.settings, loaded.sources, again)
    finally:
        streams.let_go(sys.stdout)  # a neuron whose terminal was closed, or whose log nobody reads, has not failed


def _load(arguments: argparse.Namespace, file: Path | None) -> "Configuration":
    """The configuration that a file, the environment and the command's flags make."""
    from bettensor.neurons.config.flags import read_flags
    from bettensor.neurons.config.loading import load_configuration

    flags = read_flags(arguments.words)
    loaded = load_configuration(file, flags.values, arguments.role)
    return loaded._replace(faults=(*flags.faults, *loaded.faults))


def _run_demo(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    streams.prepare_for_neurons()
    from bettensor.neurons.cli.demo import run_demo

    return run_demo(
        miners=arguments.miners, existing=arguments.existing, duration=arguments.duration, as_json=arguments.json
    )


def _run_doctor(arguments: argparse.Namespace) -> int:
    import json

    from bettensor.neurons.cli import doctor, views
    from bettensor.neurons.config.loading import find_file
    from bettensor.neurons.launch import refuse_faults

    if arguments.config is None and arguments.role is None:
        raise ConfigurationError("doctor: name the neuron with --role or --config")
    loaded = _load(arguments, arguments.config or find_file(arguments.role))
    if loaded.faults:
        refuse_faults(loaded)
    with views.progress("checking keys, network and disk"):
        findings = doctor.examine(loaded.settings, loaded.sources)
    if arguments.json:
        print(json.dumps(doctor.as_json(findings), indent=2))
    else:
        print("\n".join(doctor.text(findings, views.console().width)))
    return 0 if doctor.can_run(findings) else EXIT_FAILED


def _run_bench(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    streams.prepare_for_neurons()
    from bettensor.neurons.bench.command import bench

    return bench(arguments)


def _print_completion(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli.completion import completion

    print(completion(_parser(), arguments.shell))
    return 0


def _print_help(arguments: argparse.Namespace) -> int:
    arguments.parser.print_help()
    return EXIT_USAGE


def _operate(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli import ask

    code: int = getattr(ask, arguments.operation)(arguments)
    return code


def _read_log(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli import logs

    code: int = getattr(logs, arguments.operation)(arguments)
    return code


def _show_config(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli.config_file import commented_defaults, in_force
    from bettensor.neurons.config.loading import find_file
    from bettensor.neurons.launch import refuse_faults

    if arguments.config is None and arguments.role is None:
        raise ConfigurationError("config show: name the neuron with --role or --config")
    if arguments.config is None and not arguments.words:
        print(commented_defaults(arguments.role), end="")
        return 0
    loaded = _load(arguments, arguments.config or find_file(arguments.role))
    refuse_faults(loaded)
    print(in_force(loaded), end="")
    return 0


def _check_config(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.config.plugins import describe
    from bettensor.neurons.launch import check, refuse_faults

    loaded = _load(arguments, arguments.file)
    refuse_faults(loaded)
    settings = loaded.settings
    faults = check(settings, loaded.sources)
    if faults:
        print(*faults, sep="\n", file=sys.stderr)
        print(f"{arguments.file}: the {settings.role} would run {_with(faults)}", file=sys.stderr)
        return EXIT_FAILED
    print(f"{arguments.file}: valid configuration of a {settings.role} for netuid {settings.netuid}")
    for line in describe():
        print(line)
    return 0


def _with(faults: list[str]) -> str:
    """What these faults mean for a neuron that runs with them."""
    from bettensor.neurons.edges.certificate_files import is_of_tls

    of_tls = sum(map(is_of_tls, faults))
    rows = len(faults) - of_tls
    meant = {
        f"without {counted(rows, 'row')} of its files": rows,
        f"with {counted(of_tls, 'fault')} of its TLS": of_tls,
    }
    return " and ".join(text for text, count in meant.items() if count)


def _init(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.cli.init import init

    return init(arguments)


def _wallet(arguments: argparse.Namespace) -> int:
    _require_bittensor()
    from bettensor.neurons.cli import wallet

    code: int = getattr(wallet, arguments.operation)(arguments)
    return code


def _import_games(arguments: argparse.Namespace) -> int:
    import json

    from bettensor.neurons.cli import odds_import

    imported = odds_import.run(arguments)
    for fault in imported.faults():
        print(fault, file=sys.stderr)
    if arguments.json:
        print(json.dumps(imported.as_json(), indent=2))
    elif imported.reading.listings:
        print(imported.summary())
    if imported.reading.listings:
        return 0
    print(f"bettensor: {imported.summary()}", file=sys.stderr)
    return EXIT_FAILED


def _import_ledger(arguments: argparse.Namespace) -> int:
    from bettensor.neurons.cli import imports
    from bettensor.neurons.cli.ledger_import import import_ledger

    return imports.run(arguments, "validator", import_ledger)


def _import_predictions(arguments: argparse.Namespace) -> int:
    from functools import partial

    from bettensor.neurons.cli import imports
    from bettensor.neurons.cli.predictions_import import import_predictions

    return imports.run(arguments, "miner", partial(import_predictions, named=arguments.validator))


def _print_games_schema(_: argparse.Namespace) -> int:
    from bettensor.neurons.edges.game_schema import schema_text

    print(schema_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
