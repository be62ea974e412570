"""The commands that read event logs: replay, trace, log and audit. ``main.py`` parses their arguments."""

import argparse
import gc
import json
import sys
import textwrap
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.tree import Tree

from bettensor.actors.actor import Actor
from bettensor.bus.errors import BadEventLog, ConfigurationError
from bettensor.bus.eventlog import Row
from bettensor.bus.events import TOPICS, Observed
from bettensor.bus.identifiers import SECOND, Hotkey
from bettensor.bus.text import counted, hint
from bettensor.neurons.cli import views
from bettensor.neurons.cli.ask import parse_time
from bettensor.neurons.cli.screen import ShownText as Text
from bettensor.neurons.config.plugins import load
from bettensor.neurons.recordings import audit as auditing
from bettensor.neurons.recordings.inspection import EventFilter, Step, Summary, prediction_ids, trace_in
from bettensor.neurons.recordings.recording import (
    NotReplayable,
    Recording,
    ReplayedEvent,
    WhatIf,
    import_events,
    log_files,
)
from bettensor.neurons.recordings.text import (
    Abridged,
    abridged,
    brief,
    clock,
    explain,
    explain_replay,
    heading,
    line,
    plain,
    topic,
)

COLLECTOR_THRESHOLD = 200_000
"""Objects between two garbage collections; events have no cycles, so collections only cost time."""
SHOWN = 20
"""Changes that are printed in full."""
CANDIDATES = 10
"""Ids that are listed if a beginning fits several."""
Read = TypeVar("Read")


def replay(arguments: argparse.Namespace) -> int:
    """Replay a log; returns 0 if all decisions are equal."""
    gc.set_threshold(COLLECTOR_THRESHOLD)
    instead = dict(_named(spec) for spec in arguments.instead or ())
    reports = []
    for file in log_files(arguments.log):
        with views.progress("replaying"):
            report, text = _decided_again(file, instead, arguments)
        reports.append(report)
        if text and not arguments.json:
            print(views.shown(text))
    if arguments.json:
        print(json.dumps(reports, indent=2))
    return 0 if all(report.get("equal", True) for report in reports) else 1


def _decided_again(file: Path, instead: dict[str, str], arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Replay one file; a file that cannot be read or replayed is reported, and the next one follows."""
    try:
        recording = _open(file, arguments)
        return _what_if(recording, instead) if instead else _replay(recording)
    except BadEventLog as fault:
        print(f"bettensor: {fault}", file=sys.stderr)
        return {"file": str(file), "equal": False, "fault": str(fault)}, ""


def _open(file: Path, arguments: argparse.Namespace) -> Recording:
    return Recording(file, chained=not arguments.unchained, imports=arguments.imports)


class _Logs:
    """The files of a log; a file that cannot be read is reported, and the next one follows."""

    def __init__(self, arguments: argparse.Namespace, *, quiet: bool = False) -> None:
        self._arguments = arguments
        self._quiet = quiet
        self._told_of_decisions = False
        self.whole = True
        """Whether all that was asked for could be read or decided again."""

    def read(self, what: Callable[[Recording], Iterable[Read]]) -> Generator[Read, None, None]:
        """What ``what`` yields for each file."""
        for file in log_files(self._arguments.log):
            try:
                with _open(file, self._arguments) as recording:
                    yield from what(recording)
            except BadEventLog as fault:
                self._tell(str(fault))

    def decided(self, recording: Recording) -> Generator[ReplayedEvent, None, None]:
        """Every event of a file, all decisions made again; if they cannot be made, every recorded event."""
        try:
            replayed = yield from recording.decided()
        except NotReplayable as fault:
            self._tell(f"{fault}; only the recorded events are shown")
            with _open(recording.file, self._arguments) as again:
                yield from (ReplayedEvent(row, "") for row in again.rows())
            return
        if not replayed.equal:
            place = replayed.difference and (replayed.difference.recorded or replayed.difference.replayed)
            since = f" from seq {place.seq} on" if place else ""
            self._tell(
                f"{recording.file}: the neuron decided otherwise{since}, so the decisions shown are not all its own; "
                "`bettensor replay` shows the difference"
            )

    def rows(self, recording: Recording) -> Iterable[Row]:
        """Every event of a file; decisions that were not recorded are made again."""
        if recording.header.record == "all":
            return recording.rows()
        if not self._told_of_decisions:
            self._told_of_decisions = True
            print(
                "bettensor: this log was recorded with recorder.record: observed; its decisions are made again",
                file=sys.stderr,
            )
        return (decided.row for decided in self.decided(recording))

    def _tell(self, fault: str) -> None:
        self.whole = False
        if not self._quiet:
            print(f"bettensor: {fault}", file=sys.stderr)


def _replay(recording: Recording) -> tuple[dict[str, Any], str]:
    replayed = recording.replay()
    rate = replayed.events / max(replayed.seconds, 1e-9)
    equal = replayed.equal
    explained = "" if equal else explain_replay(replayed)
    cut = recording.reader.cut
    report = {
        "file": str(recording.file),
        "role": recording.header.role,
        "recorded": recording.header.record,
        "equal": equal,
        "events": replayed.events,
        "events_per_second": rate,
        "cut_line": cut,
        "difference": explained or None,
    }
    compared = "every decision" if recording.header.record == "all" else "every message, and the number of decisions"
    text = f"{recording.file}: {replayed.events} events, {rate:.0f} per second: "
    text += f"equal ({compared})" if equal else f"first difference {explained}"
    return report, text + (f"\n  line {cut} is cut off; all lines before it were replayed" if cut else "")


def _what_if(recording: Recording, instead: dict[str, str]) -> tuple[dict[str, Any], str]:
    what_if = recording.what_if(instead)
    report = {
        "file": str(recording.file),
        "with": [*instead.values()],
        "unchanged": what_if.unchanged,
        "changes": [
            {
                "recorded": None if change.recorded is None else _as_json(change.recorded),
                "replayed": None if change.replayed is None else _as_json(change.replayed),
            }
            for change in what_if.changes
        ],
    }
    return report, "\n".join(_what_if_lines(recording, what_if))


def _what_if_lines(recording: Recording, what_if: WhatIf) -> Iterator[str]:
    yield f"{recording.file}: {counted(what_if.unchanged, 'decision')} unchanged, {len(what_if.changes)} changed"
    topics = Counter(topic(change.recorded or change.replayed) for change in what_if.changes)  # type: ignore[arg-type]
    yield from (f"  {count} x {name}" for name, count in topics.most_common())
    for change in what_if.changes[:SHOWN]:
        yield explain(change)
    if len(what_if.changes) > SHOWN:
        yield f"and {len(what_if.changes) - SHOWN} more; --json lists all"


def _named(spec: str) -> tuple[str, str]:
    cls = load(spec, "--with", "actors")
    if not isinstance(cls, type) or not issubclass(cls, Actor):
        raise ConfigurationError(f"--with: {spec} is not a subclass of bettensor.actors.Actor")
    if not hasattr(cls, "name"):
        raise ConfigurationError(f"--with: {spec} has no `name`; give it the name of the actor that it replaces")
    return cls.name, spec


def trace(arguments: argparse.Namespace) -> int:
    """The way of one prediction through the actors, as a tree."""
    gc.set_threshold(COLLECTOR_THRESHOLD)
    logs = _Logs(arguments)
    with views.progress("reading the log"):
        prediction_id = _meant(arguments)
        roots = list(logs.read(lambda recording: trace_in(logs.decided(recording), prediction_id)))
    if not roots:
        where = "this log" if logs.whole else "the readable part of this log"
        raise BadEventLog(f"{arguments.log}: no event in {where} concerns a prediction {prediction_id!r}")
    if arguments.json:
        print(json.dumps([_tree_as_json(root) for root in roots], indent=2))
    else:
        _draw(roots, prediction_id)
    return 0 if logs.whole else 1


def _meant(arguments: argparse.Namespace) -> str:
    """The id of the prediction, of which the beginning is enough.

    Raises:
        ConfigurationError: several ids in the log begin so.
    """
    beginning: str = arguments.prediction_id
    found: dict[str, None] = {}
    logs = _Logs(arguments, quiet=True)  # the trace itself tells the faults
    with closing(logs.read(lambda recording: prediction_ids(recording.rows(), beginning))) as ids:
        for prediction_id in ids:
            if prediction_id == beginning:
                return beginning
            if len(found) <= CANDIDATES:
                found[prediction_id] = None
    if len(found) <= 1:
        return next(iter(found), beginning)
    shown = [*found][:CANDIDATES]
    more = "" if len(shown) == len(found) else " and more"
    raise ConfigurationError(
        f"{arguments.log}: several predictions begin with {beginning!r}: {', '.join(shown)}{more}; "
        "give more characters of one of them"
    )


INDENT = 4
"""Columns that a tree's branch takes."""


def _draw(roots: Iterable[Step], prediction_id: str) -> None:
    screen = views.console()
    for root in roots:
        drawn = _Drawn(screen, root.envelope.mono, prediction_id)
        tree = Tree(drawn.step(root, 0, f"{clock(root.envelope.at)}  "))
        drawn.grow(tree, root, 1)
        screen.print(tree)


class _Drawn:
    """The steps of one tree; on a terminal without the id that all of them share."""

    def __init__(self, screen: Console, began: int, prediction_id: str) -> None:
        self._screen = screen
        self._began = began
        self._prediction_id = prediction_id

    def grow(self, tree: Tree, step: Step, depth: int) -> None:
        """Add all that follows."""
        for following in step.following:
            self.grow(tree.add(self.step(following, depth)), following, depth + 1)

    def step(self, step: Step, depth: int, before: str = "") -> RenderableType:
        """One event; on a terminal, a reason that does not fit behind it is below it."""
        who = f" ({step.actor})" if step.actor else ""
        after = (step.envelope.mono - self._began) * 1000 / SECOND
        head = f"{before}{after:+.3f} ms  {topic(step.envelope)}{who}"
        if not self._screen.is_terminal:
            return Text(f"{head}  {brief(step.event, whole=True)}", no_wrap=True, overflow="ellipsis")
        width = self._screen.width - INDENT * depth
        first, reason = _fitting(head, abridged(step.event, self._prediction_id), width)
        drawn = Text(first, no_wrap=True, overflow="ellipsis")
        return Group(drawn, Text(reason)) if reason else drawn


def _fitting(head: str, event: Abridged, width: int) -> tuple[str, str]:
    """The first line of an event, which may be cut off, and its reason if that does not fit into the line."""
    why = ": ".join(filter(None, (event.code, event.reason)))
    for beside, below in ((why, ""), (event.code, event.reason)):
        if cell_len(f"{head}  {beside}") <= width:
            return "  ".join(filter(None, (head, beside, event.rest))), below
    return f"{head}  {event.rest}", why


def _tree_as_json(step: Step) -> dict[str, Any]:
    return _placed(step.envelope) | {
        "actor": step.actor or None,
        "event": step.event,
        "following": [_tree_as_json(following) for following in step.following],
    }


def log(arguments: argparse.Namespace) -> int:
    """Print or summarise the events of a log."""
    wanted = EventFilter(
        tuple(arguments.event or ()),
        None if arguments.hotkey is None else Hotkey(arguments.hotkey),
        None if arguments.since is None else parse_time(arguments.since, "--since"),
        None if arguments.until is None else parse_time(arguments.until, "--until"),
    )
    logs = _Logs(arguments)
    topics = _Topics(wanted.topics, arguments.imports)
    with closing(logs.read(lambda file: logs.rows(file) if topics.are_decided(file) else file.rows())) as rows:
        every = wanted.of(rows)
        chosen = every if arguments.limit is None else deque(every, maxlen=arguments.limit)
        found = _sum_up(chosen, as_json=arguments.json) if arguments.summary else _print(chosen, as_json=arguments.json)
    known = found or topics.are_known()
    if arguments.hotkey is not None and not found:
        fitting = "event" if wanted == EventFilter(hotkey=wanted.hotkey) else "event that fits the other options"
        print(f"bettensor: {arguments.log}: no {fitting} concerns a neuron {arguments.hotkey!r}", file=sys.stderr)
    return 0 if known and logs.whole else 1


class _Topics:
    """The topics that ``--event`` asks for."""

    def __init__(self, patterns: tuple[str, ...], imports: Sequence[str]) -> None:
        self._patterns = patterns
        self._imports = imports
        self._not_imported = ""
        """Why topics of the log's own modules are not known."""

    def are_decided(self, recording: Recording) -> bool:
        """Whether one of them is a decision, perhaps of a module that the recording names."""
        if self._patterns:
            try:
                import_events(recording.header, self._imports)
            except BadEventLog as fault:
                self._not_imported = f"; {fault}"
        return any(not issubclass(TOPICS[name], Observed) for name in TOPICS if self._wanted(name))

    def _wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._patterns)

    def are_known(self) -> bool:
        """Whether every pattern matches a topic; says on standard error which does not."""
        unknown = [pattern for pattern in self._patterns if not any(fnmatchcase(name, pattern) for name in TOPICS)]
        for pattern in unknown:
            told = f"no event is called {pattern!r}{hint(pattern, TOPICS)}{self._not_imported}"
            print(f"bettensor: {told}", file=sys.stderr)
        return not unknown


def _print(rows: Iterable[Row], *, as_json: bool) -> bool:
    """Print every event; returns whether there is one."""
    show = _in_json if as_json else _on_terminal() if sys.stdout.isatty() else _in_pipe
    found = False
    for row in rows:
        print(show(row))
        found = True
    return found


def _in_json(row: Row) -> str:
    return json.dumps(_as_json(row))


def _in_pipe(row: Row) -> str:
    return line(row, whole=True)


def _on_terminal() -> Callable[[Row], str]:
    width = views.console().width
    indent = " " * (width // 8)

    def show(row: Row) -> str:
        first, reason = _fitting(heading(row), abridged(plain(row)), width)
        below = textwrap.wrap(reason, width, initial_indent=indent, subsequent_indent=indent)
        return "\n".join([views.fitted(first, width), *below])

    return show


def _as_json(recorded: Any) -> dict[str, Any]:
    return _placed(recorded) | {"event": plain(recorded)}


def _placed(recorded: Any) -> dict[str, Any]:
    place = {"seq": recorded.seq, "at": recorded.at, "mono": recorded.mono, "causes": recorded.causes}
    return place | {"topic": topic(recorded)}


def _sum_up(rows: Iterable[Row], *, as_json: bool) -> bool:
    """Print the summary; returns whether there is an event."""
    summary = Summary()
    with views.progress("reading the log"):
        for row in rows:
            summary.add(row)
    figures = summary.as_json()
    if as_json:
        print(json.dumps(figures, indent=2))
    elif summary.first is None:
        print("no event matches")
    else:
        _print_figures(figures)
    return summary.first is not None


def _print_figures(figures: dict[str, Any]) -> None:
    print(f"{clock(figures['first'])} to {clock(figures['last'])}, {figures['seconds']:.1f} s")
    for name, count in figures["events"].items():
        print(f"{count:>10}  {figures['events_per_second'][name]:>10.1f}/s  {name}")
    print(f"verdicts: {sum(figures['results'].values())}, {figures['results_per_second']:.1f}/s")
    for code, count in figures["results"].items():
        print(f"{count:>10}  {code}")
    if figures["latency_ms"]:
        shown = ", ".join(f"{name} {value:.1f} ms" for name, value in figures["latency_ms"].items())
        print(f"latency from prediction to answer: {shown}")


def audit(arguments: argparse.Namespace) -> int:
    """Verify a log; returns 0 if it has no fault."""
    with views.progress("verifying every line and signature"):
        report = auditing.audit(log_files(arguments.log))
    if arguments.json:
        print(json.dumps(auditing.as_json(report), indent=2))
    else:
        print("\n".join(auditing.text(report)))
    if report.faults:
        print(f"bettensor: found {counted(len(report.faults), 'fault')}", file=sys.stderr)
    return 1 if report.faults else 0
