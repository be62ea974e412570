"""Where the modules of release 0.1.0 are now: recordings and configurations name them, and people's programs do.

Knows names alone, and imports nothing. A module that people import has moved to its door, which stays; any other to
where it is today.
"""

from typing import Final

ROOTS: Final = ("actors", "bus", "neurons")
"""The top-level packages of 0.1.0; today all is in ``bettensor``."""

_ACTORS: Final = (
    *("actor", "announce", "auth", "broadcast", "connection", "games", "heartbeat", "http_fallback", "logbook"),
    *("metagraph", "miner_connection", "model", "monitor", "outbox", "prediction", "reconnect", "slate", "supervisor"),
    *("validator_auth", "validator_connection"),
)

MOVED: Final[dict[str, str]] = {
    **{f"actors.{name}": "bettensor.actors" for name in _ACTORS},
    "actors.disk": "bettensor.actors.health",
    "actors.rules": "bettensor.actors.validator.rules",
    "actors.targets": "bettensor.actors.miner.targets",
    "bus.bus": "bettensor.bus",
    "bus.clock": "bettensor.bus",
    "bus.envelope": "bettensor.bus",
    "bus.printable": "bettensor.bus.text",
    "neurons": "bettensor",
    "neurons.audit": "bettensor.recordings",
    "neurons.child_process": "bettensor.neurons.system.processes",
    "neurons.cli": "bettensor.neurons.cli.main",
    "neurons.commands": "bettensor.neurons.cli.ask",
    "neurons.config_file": "bettensor.neurons.cli.config_file",
    "neurons.control_client": "bettensor.neurons.cli.control_client",
    "neurons.demo": "bettensor.neurons.cli.demo",
    "neurons.doctor": "bettensor.neurons.cli.doctor",
    "neurons.edges.history": "bettensor.neurons.cli.history",
    "neurons.edges.ledger_file": "bettensor.neurons.cli.ledger_file",
    "neurons.file_model": "bettensor.models",
    "neurons.file_watch": "bettensor.neurons.system.files",
    "neurons.inspection": "bettensor.recordings",
    "neurons.launch": "bettensor",
    "neurons.log_commands": "bettensor.neurons.cli.logs",
    "neurons.log_text": "bettensor.neurons.recordings.text",
    "neurons.loopback": "bettensor.neurons.system.ports",
    "neurons.miner": "bettensor",
    "neurons.models": "bettensor.models",
    "neurons.odds_import": "bettensor.neurons.cli.odds_import",
    "neurons.plugins": "bettensor.neurons.config.plugins",
    "neurons.program_model": "bettensor.models",
    "neurons.recordings": "bettensor.recordings",
    "neurons.reload": "bettensor.neurons.config.reload",
    "neurons.settings": "bettensor.neurons.config.settings",
    "neurons.simulation": "bettensor.simulation",
    "neurons.unfinished": "bettensor.neurons.system.files",
    "neurons.validator": "bettensor",
    "neurons.versions": "bettensor.neurons.cli.versions",
    "neurons.views": "bettensor.neurons.cli.views",
}
"""Today's module by that of 0.1.0; any other module has kept its place below ``bettensor``."""


def current_module(module: str) -> str | None:
    """Where the public names of ``module`` of 0.1.0 are today; None for another project's module."""
    if module.partition(".")[0] not in ROOTS:
        return None
    return MOVED.get(module, f"bettensor.{module}")


def current_name(path: str) -> str:
    """``path``, as ``actors.prediction:PredictionActor``, by its name of today; other people's names stay."""
    module, _, name = path.partition(":")
    return f"{current_module(module) or module}:{name}" if name else path
