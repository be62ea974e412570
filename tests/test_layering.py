"""bus <- actors <- neurons; and what is pure stays pure."""

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
        "neurons/simulation/substrate.py",
        "neurons/bench/load.py",
    },
    "bittensor_core": {
        "neurons/edges/keys.py",
        "neurons/edges/static_files.py",
        "neurons/bench/load.py",
        "neurons/bench/rig.py",
        "neurons/bench/sessions.py",
        "neurons/bench/yardsticks.py",
    },
    "dataclasses_json": {"bus/games.py", "bus/messages.py"},
    "httpx": {"neurons/edges/http_client.py"},
    "loguru": {"neurons/edges/log.py"},
    "prometheus_client": {"neurons/edges/metrics.py"},
    "pyee": {"bus/bus.py"},
    "sqlalchemy": {
        "neurons/edges/database.py",
        "neurons/edges/game_stream.py",
        "neurons/edges/ledger.py",
        "neurons/edges/outbox.py",
    },
    "uvicorn": {"neurons/edges/listener.py", "neurons/bench/bare.py"},
    "uvloop": {"neurons/launch.py", "neurons/bench/budget.py"},
    "watchfiles": {"neurons/file_watch.py"},
    "websockets": {"neurons/edges/listener.py", "neurons/edges/dialer.py", "neurons/bench/load.py"},
    "rich": {
        "neurons/commands.py",
        "neurons/demo.py",
        "neurons/log_commands.py",
        "neurons/views.py",
        "neurons/bench/command.py",
        "neurons/bench/report.py",
    },
    "yaml": {
        "neurons/settings.py",
        "neurons/config_file.py",
        "neurons/demo.py",
        "neurons/bench/rig.py",
        "neurons/bench/start.py",
    },
}
"""Libraries that are imported in these files and nowhere else."""
STDLIB_NAMES = {"cli", "launch", "settings", "plugins", "models", "demo", "validator", "miner"}


def modules(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imports(module: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
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
        roots = {imported.partition(".")[0] for imported in imports(module)}
        assert not roots & above, name(module)
        assert "tests" not in roots, name(module)


@pytest.mark.parametrize("layer", ["bus", "actors"])
def test_what_decides_touches_no_world(layer: str) -> None:
    for module in modules(layer):
        roots = {imported.partition(".")[0] for imported in imports(module)}
        allowed = {"time"} if name(module) in MAY_READ_THE_TIME else set()
        assert not roots & IMPURE - allowed, name(module)
        tree = ast.parse(module.read_text())
        assert not any(isinstance(node, ast.Await | ast.AsyncFunctionDef) for node in ast.walk(tree)), name(module)
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not any(isinstance(call, ast.Attribute) and call.attr in ("now", "utcnow", "today") for call in calls)


def test_actors_import_no_other_actor_but_their_base() -> None:
    bases = {
        "actors.actor",
        "actors.budget",
        "actors.cures",
        "actors.disk",
        "actors.rules",
        "actors.stream",
        "actors.targets",
    }
    extends = {
        "actors/validator_connection.py": {"actors.connection"},
        "actors/miner_connection.py": {"actors.connection"},
        "actors/validator_auth.py": {"actors.auth"},
    }
    for module in modules("actors"):
        own = {imported for imported in imports(module) if imported.startswith("actors")}
        assert own <= bases | extends.get(name(module), set()), name(module)


def test_no_actor_iterates_over_a_set() -> None:
    for module in modules("actors"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.For | ast.comprehension):
                assert not isinstance(node.iter, ast.Set | ast.SetComp), name(module)
                is_call = isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name)
                assert not (is_call and node.iter.func.id in ("set", "frozenset")), name(module)  # type: ignore[attr-defined]


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
    code = f"import neurons.cli, sys; print([name for name in {heavy.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_exported_name_is_there() -> None:
    from importlib import import_module

    for package in ("bus", "neurons", "neurons.simulation"):
        module = import_module(package)
        assert all(hasattr(module, exported) for exported in module.__all__)
