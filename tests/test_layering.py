"""bettensor.bus <- bettensor.actors <- bettensor.neurons; and what is pure stays pure."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("bus", "actors", "neurons")
IMPURE = {"asyncio", "time", "random", "secrets", "uuid", "socket", "os", "threading", "subprocess"}
MAY_READ_THE_TIME = {"bus/clock.py"}
WHERE = {
    "bittensor": {
        "neurons/edges/chain.py",
        "neurons/edges/keys.py",
        "neurons/edges/wallets.py",
        "neurons/simulation/substrate.py",
        "neurons/bench/load.py",
        "neurons/cli/demo_visitor.py",  # a client of its own
        "neurons/existing/program.py",  # an older one
    },
    "bittensor_core": {
        "neurons/config/settings.py",
        "neurons/edges/keys.py",
        "neurons/edges/wallets.py",
        "neurons/bench/load.py",
        "neurons/bench/rig.py",
        "neurons/bench/sessions.py",
        "neurons/bench/yardsticks.py",
        "neurons/cli/demo_visitor.py",
    },
    "cryptography": {
        "neurons/edges/tls.py",
        "neurons/edges/certificate_files.py",
        "neurons/edges/certificate_maker.py",
    },
    "dataclasses_json": {"bus/records.py"},
    "httpx": {
        "neurons/edges/odds_api_client.py",
        "neurons/cli/demo_visitor.py",
    },
    "h11": {"neurons/edges/http_exchange.py"},
    "loguru": {"neurons/edges/log.py"},
    "prometheus_client": {"neurons/edges/metrics.py"},
    "pyee": {"bus/bus.py"},
    "sqlalchemy": {
        "neurons/edges/database.py",
        "neurons/edges/game_stream.py",
        "neurons/edges/ledger.py",
        "neurons/edges/outbox.py",
    },
    "httptools": {"neurons/edges/request_protocol.py"},
    "uvicorn": {
        "neurons/edges/http_server.py",
        "neurons/edges/protocols.py",
        "neurons/edges/request_protocol.py",
        "neurons/bench/bare.py",
    },
    "uvloop": {"neurons/launch.py", "neurons/bench/budget.py"},
    "watchfiles": {"neurons/system/files.py"},
    "websockets": {
        "neurons/edges/protocols.py",
        "neurons/edges/dialer.py",
        "neurons/bench/load.py",
        "neurons/edges/shared_frames.py",
    },
    "rich": {
        "neurons/cli/ask.py",
        "neurons/cli/demo.py",
        "neurons/cli/demo_outcome.py",
        "neurons/cli/demo_view.py",
        "neurons/cli/logs.py",
        "neurons/cli/screen.py",
        "neurons/cli/views.py",
        "neurons/bench/command.py",
        "neurons/bench/report.py",
    },
    "yaml": {
        "neurons/config/yaml_text.py",
        "neurons/cli/config_file.py",
        "neurons/cli/demo_files.py",
        "neurons/bench/rig.py",
        "neurons/bench/start.py",
    },
}
"""Libraries that are imported in these files and nowhere else."""
STDLIB_NAMES = {"cli", "config", "launch", "models", "system", "validator", "miner"}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(module: Path) -> set[str]:
    return imports_of(module.read_text(), name(module))


def imports_of(source: str, module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            found.add(node.module or "")
    return found


def name(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_nothing_above_it(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    for module in modules(layer):
        ours = {imported.split(".")[1] for imported in imports(module) if imported.startswith("bettensor.")}
        assert not ours & above, name(module)
        roots = {imported.partition(".")[0] for imported in imports(module)}
        assert not roots & {*LAYERS, "tests"}, f"{name(module)}: the layers are imported as bettensor.bus and so on"


def home_of(imported: str) -> str | None:
    """The file of a module of ours."""
    if imported == "bettensor" or not imported.startswith("bettensor."):
        return None
    path = imported.removeprefix("bettensor.").replace(".", "/")
    candidates = (f"{path}.py", f"{path}/__init__.py", f"neurons/package/{path}.py")
    return next((file for file in candidates if (ROOT / file).is_file()), None)


def needs(module: Path) -> set[str]:
    """The files that ``module`` imports, whether at once or later; not what it starts when it is a program."""
    tree = ast.parse(module.read_text())
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    found: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {home_of(f"{node.module}.{alias.name}") or home_of(node.module) for alias in node.names}
    return {file for file in found if file is not None and file != name(module)}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Files that import each other, if there are any: what is left when those are taken away that need no other."""
    left = {file: set(needed) for file, needed in graph.items()}
    while free := {file for file, needed in left.items() if not needed & left.keys()}:
        left = {file: needed for file, needed in left.items() if file not in free}
    return sorted(left)


def test_no_files_import_each_other_in_a_circle() -> None:
    doors = {"bus/__init__.py", "actors/__init__.py"}  # their names are loaded when they are used
    graph = {name(module): needs(module) for layer in LAYERS for module in modules(layer)}
    assert circle({file: needed for file, needed in graph.items() if file not in doors}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


def test_an_edge_knows_nothing_of_the_neuron_that_it_is_part_of() -> None:
    for module in (ROOT / "neurons" / "edges").rglob("*.py"):
        above = {file for file in needs(module) if file.count("/") == 1 and file.startswith("neurons/")}
        above |= {file for file in needs(module) if file.startswith(("neurons/cli/", "neurons/recordings/"))}
        assert above == set(), name(module)


def touches_the_world(source: str, module: str = "") -> list[str]:
    """What no bus and no actor may do, with its line."""
    tree = ast.parse(source)
    roots = {imported.partition(".")[0] for imported in imports_of(source, module)}
    found = [f"imports {root}" for root in roots & IMPURE - ({"time"} if module in MAY_READ_THE_TIME else set())]
    for node in ast.walk(tree):
        match node:
            case ast.Await() | ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith():
                found.append(f"{node.lineno}: awaits")
            case ast.Call(func=ast.Attribute(attr="now" | "utcnow" | "today")):
                found.append(f"{node.lineno}: reads a clock")
            case ast.Call(func=ast.Name(id="id" | "hash" | "input" | "open" | "__import__")):
                found.append(f"{node.lineno}: knows what no event says")
    return found


@pytest.mark.parametrize("layer", ["bus", "actors"])
def test_what_decides_touches_no_world(layer: str) -> None:
    for module in modules(layer):
        assert touches_the_world(module.read_text(), name(module)) == [], name(module)


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "from uuid import uuid4",
        "import os.path",
        "def f():\n    import random",
        "async def handle(self, event, envelope): self.publish(event)",
        "at = datetime.now(UTC)",
        "key = hash(hotkey)",
    ],
)
def test_a_touch_of_the_world_is_found(planted: str) -> None:
    assert touches_the_world(planted)


def test_actors_import_no_other_actor_but_their_base() -> None:
    bases = {
        "bettensor.actors.actor",
        "bettensor.actors.budget",
        "bettensor.actors.cures",
        "bettensor.actors.existing",
        "bettensor.actors.health",
        "bettensor.actors.miner.patience",
        "bettensor.actors.miner.targets",
        "bettensor.actors.miner.tls",
        "bettensor.actors.nonces",
        "bettensor.actors.odds",
        "bettensor.actors.outages",
        "bettensor.actors.schemes",
        "bettensor.actors.settings",
        "bettensor.actors.stream",
        "bettensor.actors.tls_offers",
        "bettensor.actors.validator.rules",
    }
    extends = {
        "actors/validator/connection.py": {"bettensor.actors.connection"},
        "actors/miner/connection.py": {"bettensor.actors.connection"},
        "actors/validator/announce.py": {"bettensor.actors.announce"},
        "actors/miner/announce.py": {"bettensor.actors.announce"},
        "actors/validator/auth.py": {"bettensor.actors.auth"},
    }
    for module in set(modules("actors")) - {ROOT / "actors" / "__init__.py"}:  # which is the door to all of them
        own = {imported for imported in imports(module) if imported.startswith("bettensor.actors")}
        assert own <= bases | extends.get(name(module), set()), name(module)


IN_ORDER = {"list", "tuple", "iter", "next", "enumerate", "zip", "map", "filter", "deque", "dict", "join", "extend"}
"""Calls that take things one after the other."""


def iterates_over_a_set(source: str) -> list[int]:
    """The lines in which the order of a set matters."""
    tree = ast.parse(source)
    sets: set[str] = set()
    for node in ast.walk(tree):
        sets |= called_sets(node, sets)
    return [taken.lineno for node in ast.walk(tree) for taken in taken_in_order(node) if is_set(taken, sets)]


def called_sets(node: ast.AST, sets: set[str]) -> set[str]:
    """The names that this makes names of sets."""
    match node:
        case ast.Assign(targets=[ast.Name(id=called) | ast.Attribute(attr=called)], value=value):
            return {called} if is_set(value, sets) else set()
        case (
            ast.AnnAssign(target=ast.Name(id=called) | ast.Attribute(attr=called), annotation=ast.AST() as kind)
            | ast.arg(arg=called, annotation=ast.AST() as kind)
        ):
            return {called} if ast.unparse(kind).startswith(("set", "frozenset")) else set()
    return set()


def is_set(node: ast.AST, sets: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Name(id=called) | ast.Attribute(attr=called):
            return called in sets
        case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.BitXor() | ast.Sub()):
            return any(is_set(side, sets) or is_view(side) for side in (left, right))
    return False


def is_view(node: ast.AST) -> bool:
    """Of a dictionary: what is computed of two of them is a set."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")


def taken_in_order(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated) | ast.Starred(value=iterated):
            return [iterated]
        case ast.Call(func=ast.Name(id=call) | ast.Attribute(attr=call), args=arguments) if call in IN_ORDER:
            return arguments
        case ast.Call(func=ast.Attribute(attr="pop", value=iterated), args=[]):
            return [iterated]
    return []


def test_no_actor_iterates_over_a_set() -> None:
    for module in modules("actors"):
        assert iterates_over_a_set(module.read_text()) == [], name(module)


@pytest.mark.parametrize(
    "planted",
    [
        "for peer in {a, b}: tell(peer)",
        "told = [tell(peer) for peer in set(peers)]",
        'text = " ".join({f"miner{i}" for i in range(20)})',
        "peers: set[Hotkey] = field(default_factory=set)\nfor peer in self.state.peers: tell(peer)",
        "peers = frozenset(others)\nfirst = next(iter(peers))",
        "def tell(peers: set[str]) -> None: told = [*peers]",
        "for name in old.keys() | new.keys(): tell(name)",
        "peers = {a, b}\nfirst = peers.pop()",
    ],
)
def test_an_iteration_over_a_set_is_found(planted: str) -> None:
    assert iterates_over_a_set(planted)


def test_what_has_an_order_is_no_set() -> None:
    assert iterates_over_a_set("for peer in sorted({a, b}): tell(peer)\nknown = a in {b}\nlast = stack.pop()") == []


def test_each_library_is_imported_where_it_belongs() -> None:
    for layer in LAYERS:
        for module in modules(layer):
            for imported in imports(module):
                root = imported.partition(".")[0]
                assert root not in WHERE or name(module) in WHERE[root], f"{name(module)} imports {imported}"


def test_no_module_of_neurons_hides_one_of_the_standard_library() -> None:
    import sys

    names = {path.stem for path in (ROOT / "neurons").iterdir()} - {"__init__", "__main__", "__pycache__"}
    assert not names & sys.stdlib_module_names
    assert names >= STDLIB_NAMES


def test_the_command_line_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = "sqlalchemy httpx uvicorn bittensor pydantic yaml"
    code = f"import bettensor.neurons.cli.main, sys; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
