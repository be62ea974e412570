"""The commands that read event logs: replay, trace, log and audit. ``main.py`` parses their arguments."""

import argparse
import gc
import json
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.text import Text
from rich.tree import Tree

from bettensor.actors.actor import Actor
from bettensor.bus.errors import BadEventLog, ConfigurationError
from bettensor.bus.eventlog import Row
from bettensor.bus.events import TOPICS, Observed
from bettensor.bus.identifiers import SECOND, Hotkey
from bettensor.bus.text import counted, hint, short
from bettensor.neurons.cli import views
from bettensor.neurons.cli.ask import parse_time
from bettensor.neurons.config.plugins import load
from bettensor.neurons.recordings import audit as auditing
from bettensor.neurons.recordings.inspection import EventFilter, Step, Summary
from bettensor.neurons.recordings.inspection import trace as follow
from bettensor.neurons.recordings.recording import Recording, WhatIf, log_files
from bettensor.neurons.recordings.text import brief, clock, explain, explain_replay, line, plain, topic

COLLECTOR_THRESHOLD = 200_000
"""Objects between two garbage collections; events have no cycles, so collections only cost time."""
SHOWN = 20
"""Changes that are printed in full."""
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
            print(text)
    if arguments.json:
        print(json.dumps(reports, indent=2))
    return 0 if all(report.get("equal", True) for report in reports) else 1


def _decided_again(file: Path, instead: dict[str, str], arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Replay one file; a file that cannot be read or replayed is reported, and the next one follows."""
    try:
        recording = Recording(file, chained=not arguments.unchained)
        return _what_if(recording, instead) if instead else _replay(recording)
    except BadEventLog as fault:
        print(f"bettensor: {fault}", file=sys.stderr)
        return {"file": str(file), "equal": False, "fault": str(fault)}, ""


class _Logs:
    """The files of a log; a file that cannot be read is reported, and the next one follows."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self.whole = True
        """Whether every file could be read to its end."""
        self.decided = True
        """Whether every file that was read has decisions."""

    def read(self, what: Callable[[Recording], Iterable[Read]]) -> Generator[Read, None, None]:
        """What ``what`` yields for each file."""
        for file in log_files(self._arguments.log):
            try:
                with Recording(file, chained=not self._arguments.unchained) as recording:
                    self.decided &= recording.header.record == "all"
                    yield from what(recording)
            except BadEventLog as fault:
                print(f"bettensor: {fault}", file=sys.stderr)
                self.whole = False


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
        roots = list(logs.read(lambda recording: follow(recording, arguments.prediction_id)))
    if not roots:
        where = "this log" if logs.whole else "the readable part of this log"
        raise BadEventLog(f"{arguments.log}: no event in {where} concerns a prediction {arguments.prediction_id!r}")
    if arguments.json:
        print(json.dumps([_tree_as_json(root) for root in roots], indent=2))
    else:
        _draw(roots)
    return 0 if logs.whole else 1


def _draw(roots: Iterable[Step]) -> None:
    screen = views.console()
    for root in roots:
        began = root.envelope.mono
        tree = Tree(_fitting(f"{clock(root.envelope.at)}  {_step(root, began)}"))
        _grow(tree, root, began)
        screen.print(tree)


def _grow(tree: Tree, step: Step, began: int) -> None:
    for following in step.following:
        _grow(tree.add(_fitting(_step(following, began))), following, began)


def _fitting(text: str) -> Text:
    """One line of the screen: hotkeys shortened, the end cut off if there is no room."""
    return Text(_HOTKEY.sub(lambda found: short(found[0]), text), no_wrap=True, overflow="ellipsis")


_HOTKEY: Final = re.compile(r"\b5[1-9A-HJ-NP-Za-km-z]{47}\b")


def _step(step: Step, began: int) -> str:
    who = f" ({step.actor})" if step.actor else ""
    after = (step.envelope.mono - began) * 1000 / SECOND
    return f"{after:+.3f} ms  {step.envelope.event.topic}{who}  {brief(step.event)}"


def _tree_as_json(step: Step) -> dict[str, Any]:
    seq, at, mono, causes, event = step.envelope
    return {
        "seq": seq,
        "at": at,
        "mono": mono,
        "causes": causes,
        "topic": event.topic,
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
    with closing(logs.read(Recording.rows)) as rows:
        every = wanted.of(rows)
        chosen = every if arguments.limit is None else deque(every, maxlen=arguments.limit)
        found = _sum_up(chosen, as_json=arguments.json) if arguments.summary else _print(chosen, as_json=arguments.json)
    known = found or _explain_nothing(wanted.topics, decided=logs.decided)
    return 0 if known and logs.whole else 1


def _print(rows: Iterable[Row], *, as_json: bool) -> bool:
    """Print every event; returns whether there is one."""
    show: Callable[[Row], str] = (lambda row: json.dumps(_as_json(row))) if as_json else line
    found = False
    for row in rows:
        print(show(row))
        found = True
    return found


def _explain_nothing(patterns: tuple[str, ...], *, decided: bool) -> bool:
    """Say on standard error why no event matches; returns whether every pattern matches a topic."""
    unknown = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in TOPICS)]
    for pattern in unknown:
        print(f"bettensor: no event is called {pattern!r}{hint(pattern, TOPICS)}", file=sys.stderr)
    meant = (name for name in TOPICS if any(fnmatchcase(name, pattern) for pattern in patterns))
    decision = next((name for name in meant if not issubclass(TOPICS[name], Observed)), None)
    if decision is not None and not decided:
        print(
            f"bettensor: this log was recorded with recorder.record: observed, so it has no decisions like {decision}; "
            "`bettensor trace` shows the decisions about one prediction",
            file=sys.stderr,
        )
    return not unknown


def _as_json(recorded: Any) -> dict[str, Any]:
    place = {"seq": recorded.seq, "at": recorded.at, "mono": recorded.mono, "causes": recorded.causes}
    return place | {"topic": topic(recorded), "event": plain(recorded)}


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
