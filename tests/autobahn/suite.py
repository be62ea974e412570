"""The Autobahn test suite, which is written for Python 2, made to run on this Python; and run.

Runs in an environment of its own, and imports nothing of Bettensor::

    python suite.py make FOLDER                convert the installed suite into FOLDER
    python suite.py client FOLDER URL CASES    run the cases against a server
    python suite.py server FOLDER PORT CASES   serve the cases to a client, until it asks to stop

The last two print the behaviour of the other side in each case, as JSON. Python 2 keeps bytes in ``str``. In the
converted suite a character of a ``str`` is one byte (Latin-1), and it becomes bytes where the suite meets the Autobahn
library, which runs on Python 3.
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any, Final

PACKAGE: Final = "autobahntestsuite"
SUBPROTOCOL: Final = "bettensor.v1"
_USED: Final = ("case", "testdata", "_version.py", "caseset.py", "fuzzing.py", "util.py")
"""What is needed of the package; the rest are other programs."""
_SHIM: Final = """\
from autobahn.websocket.utf8validator import Utf8Validator as _Validator


def hex_of(text):
    return (text.encode("latin-1") if isinstance(text, str) else text).hex()


class Utf8Validator(_Validator):
    def validate(self, text):
        return _Validator.validate(self, text.encode("latin-1"))
"""
_REWRITTEN: Final = {
    "pickle.dumps(obj1) == pickle.dumps(obj2)": "obj1 == obj2",  # equal objects may have different pickles
    "from autobahn.websocket.utf8validator": f"from {PACKAGE}.python2",
    "binascii.b2a_hex": f"__import__('{PACKAGE}.python2').python2.hex_of",
    '.encode("utf-8")': ".encode('utf-8').decode('latin-1')",
    '.encode("utf8")': ".encode('utf-8').decode('latin-1')",
    "dd.decode('utf8', errors = 'replace' if replace else 'strict')": "dd",
    "len(self.payload) / self.p": "len(self.payload) // self.p",
    "(object, Case, )": "(Case, )",
    "from zope.interface import implements": "implements = lambda *_: None",
    "textwrap, pkg_resources": "textwrap",
}


def make(folder: Path) -> None:
    """Convert the installed suite into ``folder``.

    Raises:
        CalledProcessError: a file cannot be converted.
    """
    found = find_spec(PACKAGE)
    assert found is not None
    source, target = Path(str(found.origin)).parent, folder / PACKAGE
    rmtree(folder, ignore_errors=True)
    target.mkdir(parents=True)
    for name in _USED:
        if (source / name).is_dir():
            copytree(source / name, target / name)
        else:
            (target / name).write_bytes((source / name).read_bytes())
    version = (target / "_version.py").read_text().rpartition("__version__ =")[2].strip(' "\n')
    (target / "__init__.py").write_text(f"version = {version!r}\n")
    (target / "python2.py").write_text(_SHIM)
    (target / "report.py").write_text("CSS_COMMON = CSS_DETAIL_REPORT = CSS_MASTER_REPORT = JS_MASTER_REPORT = ''\n")
    for file in target.rglob("*.py"):
        file.write_text(file.read_text("latin-1"), "utf-8")  # a byte of the source is a character
    convert = [sys.executable, "-m", "fissix", "-w", "-n", "--no-diffs", str(target)]
    subprocess.run(convert, check=True, capture_output=True)
    for file in target.rglob("*.py"):
        if file.name != "python2.py":
            text = file.read_text("utf-8")
            for before, after in _REWRITTEN.items():
                text = text.replace(before, after)
            file.write_text(text, "utf-8")


def _bytes(text: Any) -> Any:
    return text.encode("latin-1") if isinstance(text, str) else text


def _text(data: Any) -> Any:
    return data.decode("latin-1") if isinstance(data, bytes) else data


def _protocol(ours: Any, library: Any) -> Any:
    """The suite's protocol: what it sends becomes bytes, and what it receives becomes text."""

    def sends(name: str) -> Any:
        def send(self: Any, *arguments: Any, **named: Any) -> Any:
            named = {key: _bytes(value) for key, value in named.items()}
            length = named.pop("payload_len", None)
            if length is not None:  # the library divides as Python 2 does
                named["payload"] = (named["payload"] * (length // len(named["payload"]) + 1))[:length]
            return getattr(library, name)(self, *map(_bytes, arguments), **named)

        return send

    def receives(name: str) -> Any:
        return lambda self, *arguments: getattr(ours, name)(self, *map(_text, arguments))

    sent = ("sendFrame", "sendMessage", "sendMessageFrameData", "sendPing", "sendPong", "sendCloseFrame")
    received = ("onMessage", "onPing", "onPong")
    members = {name: sends(name) for name in sent} | {name: receives(name) for name in received}
    return type(ours.__name__, (ours,), members)


def _count_sent(protocol: Any, header: Any, *_: Any) -> None:
    protocol.txFrameStats[header.opcode] = protocol.txFrameStats.get(header.opcode, 0) + 1


def _run(folder: Path, role: str, place: str, patterns: list[str]) -> dict[str, Any]:
    sys.path.insert(0, str(folder))
    from autobahntestsuite import fuzzing
    from twisted.internet import reactor

    import autobahn.twisted.websocket as library

    def report(factory: Any, **_: Any) -> None:
        [results] = factory.agents.values() or [{}]
        found.update({case: [each["behavior"], each["behaviorClose"]] for case, each in results.items()})

    found: dict[str, Any] = {}
    spec: dict[str, Any] = {"cases": patterns}
    fuzzing.FuzzingFactory.createReports = report
    fuzzing.FuzzingProtocol.logRxOctets = fuzzing.FuzzingProtocol.logTxOctets = lambda *_: None
    fuzzing.FuzzingProtocol.logRxFrame = lambda *_: None
    fuzzing.FuzzingProtocol.logTxFrame = _count_sent
    if role == "client":
        fuzzing.FuzzingClientProtocol = _protocol(fuzzing.FuzzingClientProtocol, library.WebSocketClientProtocol)
        fuzzing.startClient(spec | {"servers": [{"agent": "bettensor", "url": place, "protocols": [SUBPROTOCOL]}]})
    else:
        served = _protocol(fuzzing.FuzzingServerProtocol, library.WebSocketServerProtocol)
        chosen = served.onConnect
        served.onConnect = lambda self, request: chosen(self, request) or SUBPROTOCOL
        fuzzing.FuzzingServerFactory.protocol = served
        fuzzing.startServer(spec | {"url": f"ws://127.0.0.1:{place}", "protocols": [SUBPROTOCOL]}, webport=None)
    reactor.run()
    return found


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    what, folder, *rest = arguments
    if what == "make":
        make(Path(folder))
        return
    place, patterns = rest
    standard_output, sys.stdout = sys.stdout, sys.stderr  # the suite prints its progress
    json.dump(_run(Path(folder), what, place, patterns.split(",")), standard_output)


if __name__ == "__main__":
    main(sys.argv[1:])
