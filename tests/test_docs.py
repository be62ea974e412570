# ruff: noqa: E501 - prose has no line length
"""Pages that follow from the code and from measurements. ``python -m tests.test_docs`` writes them anew."""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, Field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest

from bettensor.bus import events
from bettensor.bus.codes import CloseCode, ErrorCode, RefusalCode, VerdictCode
from bettensor.bus.events import TOPICS, Event, Observed, Role
from bettensor.bus.games import TeamGame
from bettensor.neurons.bench import report
from bettensor.neurons.cli.config_file import commented_defaults
from bettensor.neurons.composition import EDGES, Place
from bettensor.neurons.config.keys import field_docs, groups_of
from bettensor.neurons.config.reload import FIXED, RELOADABLE, is_reloadable
from bettensor.neurons.config.sources import ALIASES, ENVIRONMENT, LETTERS, SWITCHED, SWITCHES
from bettensor.neurons.edges.edge import Edge, Isolates, Records
from bettensor.neurons.edges.game_schema import schema, schema_text
from bettensor.neurons.edges.listener import Listener
from bettensor.neurons.edges.odds_api_feed import OddsApiSettings
from bettensor.neurons.edges.static_files import StaticFiles
from bettensor.neurons.edges.watches import SETTLE
from tests.attacks.page import security
from tests.autobahn import results as conformance
from tests.fuzz import results as fuzzing
from tests.prediction_trace import Step, trace

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
FOR_USERS_ALONE: Final = ["peer_stale", "miner_stats_reported"]
"""Events that nobody here listens to."""
_SECTION: Final = re.compile(r"^# --- (.+)$", re.MULTILINE)
_OURS: Final = "bettensor.bus.events"


# --- configuration.md


def configuration() -> str:
    """Every key of both roles."""
    taken = ", ".join(f"`{key}`" for key in RELOADABLE)
    fixed = ", ".join(f"`{key}`" for key in FIXED)
    roles = "\n".join(
        f"## {role.capitalize()}\n\n{_table_of_keys(role)}\n\n```yaml\n{commented_defaults(role)}```\n"
        for role in get_args(Role)
    )
    return f"""# Configuration

A neuron needs no configuration file: every key has a default, and each is a flag and a variable of the environment too. A YAML file
is the durable form, one for each neuron: `--config FILE`, or `validator.yaml` (`miner.yaml`) in the directory in which the neuron starts; the
neuron then says which file it has found. `bettensor doctor` follows the same rule.

**Required keys**: none. A neuron that is told nothing uses subnet 30 of the main network (`finney`) and the hotkey `default` of the wallet `default`, and keeps
its state in a folder of its own below `~/.bettensor`. Only a model may require keys: `path` of the FilePredictor, `command` of the ProgramPredictor.

**Commands**: `bettensor validator --help` explains every flag. `bettensor config show --role validator` prints the reference below.
`bettensor config show --config FILE` prints what is in force and where each value comes from, and takes flags too. `bettensor config check FILE` checks a file
without starting anything. Of wrong keys and values, all are told at once, each with its file, variable or flag, and what was expected (exit code 2).

**Order**: the defaults, then the file, then variables of the environment, then flags. The last one wins, and the last flag if a key is set by
several. Paths in the file are relative to it, those of variables and flags to the working directory. The value `null` unsets a key.

**Flags**: the flag of a key is its dotted path. `--KEY=VALUE` and `--KEY VALUE` set it; lists and mappings are YAML (`--validators='[HOTKEY]'`). If a key is true or
false, `--KEY` and `--no-KEY` suffice. `--no-KEY` also unsets a key that may be null, and `--no-metrics` is `--metrics.enabled=false`.
These spellings work too, on both roles, those of more than one letter also as variables:

| spelling | means |
|---|---|
{_spellings()}

Other flags of bittensor, such as `--logging.record_log`, `--neuron.*` or `--axon.max_workers`, do not exist here, and are refused with the nearest key.

**Variables**: the variable of a key is `{ENVIRONMENT}` and its path in capitals, with two underscores for each dot:
`BETTENSOR_WEBSOCKET__HEARTBEAT_INTERVAL=30`. Variables that Kubernetes sets for a Service with the name `bettensor` or `bettensor-...`, such as `BETTENSOR_PORT=tcp://10.0.0.1:8091`, are
recognised by their form and ignored; any other variable with this prefix that is no key is refused.

**While it runs**: a neuron reads its file, its blacklist and its metagraph again when one of them has changed and all have stayed as they are for
{SETTLE:g} s, and at once at SIGHUP (on a terminal, SIGHUP stops it). So nothing of a file that is written in parts is in force before its end. It takes {taken} (but
not {fixed}), and logs the changes that need a restart; whether the
metagraph comes from a file or from the chain waits for one too. A file that cannot be read changes nothing, and neither does an
empty configuration. A games file is watched too, and read at once.

No key holds a secret: of a wallet, a neuron reads only the hotkey's file, and never prints it.

{roles}"""


def _spellings() -> str:
    letters = {f"-{letter}": f"--{ALIASES[word]}" for letter, word in LETTERS.items()}
    aliases = {f"--{alias}": f"--{key}" for alias, key in ALIASES.items()}
    switches = {f"--{switch}": f"--{SWITCHED}={value}" for switch, value in SWITCHES.items()}
    return "\n".join(f"| `{spelling}` | `{key}` |" for spelling, key in (letters | aliases | switches).items())


def _table_of_keys(role: Role) -> str:
    """Every flag with its value, its default, and whether it can change while the neuron runs."""
    rows: dict[str, str] = {}
    for group in groups_of(role):
        for key in group.keys:
            value = ", ".join(f"`{choice}`" for choice in key.choices) or UNITS[key.form]
            default = f"required by {group.model.partition(':')[2]}" if key.default is None else f"`{key.default}`"
            change = "at once" if is_reloadable(key.path) else "restart"
            rows.setdefault(key.path, f"| `--{key.path}` | {value} | {default} | {change} |")
    del rows["role"]
    return "\n".join(["| flag | value | default | a change takes effect |", "|---|---|---|---|", *rows.values()])


UNITS: Final = {
    "SEC": "seconds",
    "PORT": "port",
    "N": "integer",
    "X": "number",
    "PATH": "path",
    "TEXT": "text",
    "YAML": "YAML",
}
"""What the forms of values mean."""


# --- events.md


class Usage:
    """Who publishes and who listens, read off the source."""

    def __init__(self) -> None:
        self.publishers: dict[str, list[str]] = {}
        self.listeners: dict[str, list[str]] = {}
        for layer in ("bus", "actors", "neurons"):
            for file in sorted((ROOT / layer).rglob("*.py")):
                place = file.relative_to(ROOT)  # the checkout itself may lie in a folder of any name
                if file.name != "events.py" and "simulation" not in place.parts:
                    self._read(place)

    def _read(self, file: Path) -> None:
        tree = ast.parse((ROOT / file).read_text())
        names = _names_of(file, tree)
        for node in ast.walk(_without_functions(tree) if "actors" in file.parts else tree):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "on":
                        self._note(self.listeners, decorator.args, names)
            elif isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in _BY_CLASS:
                    self._note(self.publishers, [node.func], names)
                elif called == "subscribe" and node.args:
                    self._note(self.listeners, node.args[:1], names)
            elif isinstance(node, ast.Tuple) and node.elts and getattr(node.elts[0], "id", "") in _BY_CLASS:
                self._note(self.listeners, node.elts[:1], names)

    def _note(self, where: dict[str, list[str]], nodes: list[Any], names: tuple[str, ...]) -> None:
        for node in nodes:
            cls = _BY_CLASS.get(getattr(node, "id", ""))
            if cls is not None:
                known = where.setdefault(cls.topic, [])
                known += [name for name in names if name not in known]


def _without_functions(tree: ast.Module) -> ast.Module:
    """Actors publish; what a function beside them makes, of a snapshot say, is published by nobody."""
    return ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])


_BY_CLASS: Final = {cls.__name__: cls for cls in TOPICS.values() if cls.__module__ == _OURS}


_FAMILY: Final = {
    "validator/connection": ("connection",),
    "miner/connection": ("connection",),
    "validator/auth": ("auth",),
    "protocols": ("listener",),
    "health": ("connection", "monitor"),
    "stream": ("connection", "heartbeat", "http_fallback", "reconnect"),
}
"""Modules of ``actors`` whose classes are called by another one's name, or are bases of several."""


def _names_of(file: Path, tree: ast.Module) -> tuple[str, ...]:
    """What an actor calls itself; of an edge its module."""
    if "actors" in file.parts:
        module = file.relative_to("actors").with_suffix("").as_posix()
        names = {
            target.id: statement.value.value
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            for statement in node.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
            for target in statement.targets
            if isinstance(target, ast.Name) and target.id == "name"
        }
        return (str(names["name"]),) if "name" in names else _FAMILY.get(module, ("any actor",))
    return ("the bus",) if file.parent.name == "bus" else _FAMILY.get(file.stem, (file.stem,))


def event_reference() -> str:
    """Every event, in the order of the source."""
    usage = Usage()
    source = Path(events.__file__).read_text()
    sections = [(match.start(), match[1]) for match in _SECTION.finditer(source)]
    text = [
        "# Events",
        "",
        "All events of a neuron. This page is generated from [bus/events.py](../bus/events.py). An **observed** event reports the outside",
        "world, and edges publish it; a **decided** one is an actor's conclusion. Subscribe by topic or class, in the YAML",
        '(`handlers: {prediction_accepted: ["my_subnet:on_prediction"]}`) or from code (`bus.on("prediction_accepted", handler)`); `"*"` hears everything. A handler',
        "gets the event and, if it takes two arguments, its envelope: `seq` (total order), `at` (wall clock, microseconds), `mono` (microseconds since the",
        "start), `causes` (the `seq` of the events that led to it).",
    ]
    for (start, title), (end, _) in zip(sections, [*sections[1:], (len(source), "")], strict=True):
        text += ["", f"## {title[0].upper()}{title[1:]}"]
        for cls in _classes(source[start:end]):
            text += ["", *_described(cls, usage)]
    return "\n".join(text).replace("``", "`") + "\n"


def _classes(source: str) -> Iterator[type[Event]]:
    for name in re.findall(r"^class (\w+)\(", source, re.MULTILINE):
        cls = _BY_CLASS.get(name)
        if cls is not None:
            yield cls


def _described(cls: type[Any], usage: Usage) -> Iterator[str]:
    kind = "observed" if issubclass(cls, Observed) else "decided"
    yield f"### `{cls.topic}`"
    yield ""
    yield f"`{cls.__name__}`, {kind}. {inspect.cleandoc(cls.__doc__ or '').replace(chr(10), ' ')}"
    yield ""
    docs = field_docs(cls)
    for field in fields(cls):
        kind = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
        kind = re.sub(r"\b(?:\w+\.)+", "", kind)
        doc = docs.get(field.name, "")
        yield f"- `{field.name}`: `{kind}`{' - ' + doc if doc else ''}"
    published = ", ".join(sorted(usage.publishers.get(cls.topic, [])))
    heard = ", ".join(sorted(usage.listeners.get(cls.topic, []))) or "yours"
    yield ""
    yield f"Published by {published}; heard by {heard}."


# --- performance.md

BESIDES: Final = {
    "confirm": ("predictions_per_second", "latency_ms.p50", "latency_ms.p99", "cpu_us_per_prediction"),
    "batch": ("ratio_to_verify_sign_limit", "cpu_us_per_prediction"),
    "broadcast": ("last_delivery_ms.p50", "bare_broadcast.last_delivery_ms.p50", "ratio_storing_included"),
    "connect": ("cpu_us_per_handshake",),
    "storm": ("longest_silence_s",),
    "fallback": ("latency_ms.p99",),
    "ledger": ("empty.predictions_per_second", "long.predictions_per_second"),
    "recording": ("cost_of_all",),
    "replay": ("events",),
}
"""Figures of a scenario that are worth a line, though no bar is set for them."""


def performance() -> str:
    """The page as it is, with the tables of ``benchmarks/baseline.json``."""
    results = report.read(ROOT / "benchmarks" / "baseline.json")
    page = (DOCS / "performance.md").read_text()
    for head, rows in (("| run |", _runs(results)), ("| step |", _steps(results))):
        table = re.compile(rf"^({re.escape(head)}.*\n\|[-|: ]+\n)(?:\|.*\n)*", re.MULTILINE)
        page = table.sub(lambda match, rows=rows: match[1] + "".join(f"{row}\n" for row in rows), page)  # type: ignore[misc]
    return page


def _runs(results: list[report.Result]) -> Iterator[str]:
    for result in results:
        bars = {bar["figure"]: f"{bar['side']} {report.text(bar['figure'], bar['bound'])}" for bar in result["bars"]}
        figures = dict(report.flat(result))
        run = f"`bettensor bench {report.title(result)}`"
        for figure in dict.fromkeys((*bars, *BESIDES.get(result["scenario"], ()))):
            yield f"| {run} | {figure} | {bars.get(figure, '')} | {report.text(figure, figures[figure])} |"
            run = ""


def _steps(results: list[report.Result]) -> Iterator[str]:
    measured = next(result for result in results if result["scenario"] == "bus")
    steps = {**measured["steps_us"], "**all**": measured["cpu_us_per_prediction"]}
    return (f"| {step} | {micros:.1f} |" for step, micros in steps.items())


# --- design.md


def design() -> str:
    """The page as it is, with the way of one prediction as a validator's trace shows it."""
    rows = (
        f"| {number} | `{step.event.topic}` | `{step.file}`, `{step.function}` | {_because(step)} |\n"
        for number, step in enumerate(trace(), start=1)
    )
    return _with_table("design.md", "| # | event | published by | because of |", rows)


def _because(step: Step) -> str:
    return ", ".join(map(str, step.because)) or "the socket"


def _with_table(page: str, head: str, rows: Iterable[str]) -> str:
    """A page as it is, with these rows in the table that begins with ``head``."""
    table = re.compile(rf"^({re.escape(head)}\n\|[-|: ]+\n)(?:\|.*\n)*", re.MULTILINE)
    return table.sub(lambda match: match[1] + "".join(rows), (DOCS / page).read_text())


# --- edges.md


def edges() -> str:
    """The page as it is, with all edges of both roles."""
    roles: dict[Place, list[Role]] = {}
    for role, places in EDGES.items():
        for place in places:
            roles.setdefault(place, []).append(role)
    asked = {Isolates, Listener, Records, StaticFiles}  # by the neuron itself
    for place in roles:
        asked |= set(get_type_hints(_class(place.real).__init__).values())
    rows = (_edge_row(place, " and ".join(of), asked) for place, of in roles.items())
    return _with_table("edges.md", "| edge | file | neuron | simulated by | a replacement inherits from |", rows)


def _edge_row(place: Place, roles: str, asked: set[Any]) -> str:
    cls, file = _class(place.real), place.real.partition(":")[0].replace(".", "/") + ".py"
    given = [f"`{kind.__name__}`" for kind in cls.__mro__ if kind in asked]
    link = f"[{cls.__name__}](../neurons/{file})"
    fake = f"`{place.simulated.partition(':')[2]}`" if place.simulated else "-"
    return f"| `{place.name}` | {link} | {roles} | {fake} | {', '.join(given) or '`Edge`'} |\n"


def _class(path: str) -> type[Edge]:
    module, _, name = path.partition(":")
    cls: type[Edge] = getattr(import_module(f"bettensor.neurons.{module}"), name)
    return cls


# --- games.md


def games() -> str:
    """The page as it is, with the keys of the feed of The Odds API, and the example of a feed."""
    docs = field_docs(OddsApiSettings)
    rows = (f"| `{key.name}` | {_default(key)} | {docs[key.name]} |\n" for key in fields(OddsApiSettings))
    page = _with_table("games.md", "| key | default | meaning |", rows)
    example = (ROOT / "examples" / "csv_feed.py").read_text()
    return re.sub(r"```python\n.*?```\n", lambda _: f"```python\n{example}```\n", page, flags=re.DOTALL)


def _default(key: Field[Any]) -> str:
    if key.default is not MISSING:
        return f"`{key.default}`"
    return "required" if key.default_factory is MISSING else f"`{key.default_factory()}`"


# --- testing.md


def proofs() -> str:
    """The page as it is, with the results of ``make autobahn`` and ``make fuzz``."""
    page = (DOCS / "testing.md").read_text()
    for name, table in (("autobahn", conformance.table()), ("fuzz", fuzzing.table())):
        page = re.sub(
            rf"<!-- {name} -->\n.*?<!-- /{name} -->",
            f"<!-- {name} -->\n{table}\n<!-- /{name} -->",
            page,
            flags=re.DOTALL,
        )
    return page


# --- the tests

PAGES: Final = {
    "design.md": design,
    "edges.md": edges,
    "configuration.md": configuration,
    "events.md": event_reference,
    "games.md": games,
    "games.schema.json": schema_text,
    "performance.md": performance,
    "security.md": security,
    "testing.md": proofs,
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_follows_from_the_code_is_up_to_date(page: str) -> None:
    assert (DOCS / page).read_text() == PAGES[page](), f"run: python -m tests.test_docs; {page} is out of date"


def test_every_event_is_published_and_heard() -> None:
    usage = Usage()
    ours = [cls.topic for cls in _BY_CLASS.values()]
    assert [topic for topic in ours if topic not in usage.publishers] == []
    assert [topic for topic in ours if topic not in usage.listeners] == FOR_USERS_ALONE


def test_troubleshooting_knows_every_code() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    codes = [*RefusalCode, *ErrorCode, *VerdictCode, *(str(int(code)) for code in CloseCode)]
    assert [code for code in codes if f"`{code}`" not in page] == []


def test_every_test_that_shows_a_guarantee_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (DOCS / "guarantees.md").read_text())
    assert len(named) > 40
    for file, function in named:
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(), f"{file}::{function}"


def test_the_page_on_games_has_every_field_and_what_is_needed() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [^|]+ \| (yes|no|if it can tie) \|", (DOCS / "games.md").read_text(), re.MULTILINE
    )
    game = schema()["$defs"]["game"]
    assert [name for name, _ in rows] == [field.name for field in fields(TeamGame)]
    assert sorted(name for name, needed in rows if needed == "yes") == sorted(game["required"])


def test_links_between_pages_lead_somewhere() -> None:
    for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write())
