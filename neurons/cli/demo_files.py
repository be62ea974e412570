"""The files of the demo: wallets, games, and for each neuron a metagraph and a configuration."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.cli.demo_existing import EVERY, ExistingPlayer
from bettensor.neurons.cli.demo_player import VALIDATOR, Player
from bettensor.neurons.cli.demo_visitor import Visitor
from bettensor.neurons.config.yaml_text import read_yaml
from bettensor.neurons.edges.game_feed import SHIPPED
from bettensor.neurons.edges.wallets import load_hotkey, new_wallet

NETUID: Final = 30
VISITOR: Final = "visitor"
KICK_OFF: Final = 5
"""Seconds from the validator's start to the start of its first game."""
QUERY_INTERVAL: Final = 1.0
"""Seconds between two questions to an existing miner."""
ODDS_GRACE: Final = 60.0
"""Seconds for which a prediction may quote odds that have moved: longer than a fault lasts, usually."""


def prepare(folder: Path, players: Sequence[Player], port: int, limit: float) -> Visitor:
    """Write all files; returns the visitor, who is registered as well."""
    wallets = str(folder / "wallets")
    names = [*(player.name for player in players), VISITOR]
    hotkeys = {name: new_wallet("demo", name, wallets, "sr25519") for name in names}
    _write_games(folder / "games.json")
    existing = [player for player in players if isinstance(player, ExistingPlayer)]
    axons = {player.name: {"axon": f"127.0.0.1:{player.port}"} for player in existing}
    for number, player in enumerate(players):
        if isinstance(player, ExistingPlayer):
            player.hotkey = hotkeys[player.name]
            _write_existing(player, number, wallets, hotkeys[VALIDATOR])
            continue
        neurons: list[dict[str, Any]] = [{"hotkey": hotkey} | axons.get(name, {}) for name, hotkey in hotkeys.items()]
        entrance = port if player.wire is None else player.wire.port
        neurons[0] |= {"validator_permit": True, "axon": f"127.0.0.1:{entrance}"}
        _write(folder / f"{player.name}-metagraph.yaml", {"neurons": neurons})
        settings: dict[str, Any] = {
            "role": VALIDATOR if player.name == VALIDATOR else "miner",
            "netuid": NETUID,
            "state_dir": f"{player.name}-state",
            "wallet": {"name": "demo", "hotkey": player.name, "path": wallets},
            "metagraph": {"static": f"{player.name}-metagraph.yaml"},
            "metrics": {"enabled": False},
            "websocket": {"reconnect_base_interval": 1.0, "max_reconnect_interval": 5.0},
        }
        if player.name == VALIDATOR:
            settings["axon"] = {"ip": "127.0.0.1", "port": port}
            settings["games"] = {"source": "random", "path": "games.json", "interval": 2.0}
            settings["actors"] = {"prediction": {"odds_grace": ODDS_GRACE, "daily_wager_limit": limit}}
            settings["synapse"] = {"enabled": bool(existing), "query_interval": QUERY_INTERVAL}
        else:
            settings["actors"] = {
                "model": {"interval": 1.0},
                "predictor": {"edge": 0.15, "bankroll": 100.0, "seed": number},
                "http_fallback": {"poll_interval": 1.0},
            }
        _write(folder / f"{player.name}.yaml", settings)
    return Visitor(load_hotkey("demo", VISITOR, wallets), NETUID, hotkeys[VALIDATOR], port, limit)


def _write_existing(player: ExistingPlayer, uid: int, wallets: str, validator: Hotkey) -> None:
    """What an existing miner's program reads; it answers the demo's validator alone."""
    settings = {
        "uid": uid,
        "wallet": {"name": "demo", "hotkey": player.name, "path": wallets},
        "port": player.port,
        "validators": [validator],
        "file": str(player.file),
        "every": EVERY,
    }
    player.settings.write_text(json.dumps(settings))


def _write_games(file: Path) -> None:
    """The games of this package, of which the first begins while the demo runs."""
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    document["games"][0]["event_start_date"] = f"PT{KICK_OFF}S"
    file.write_text(json.dumps(document))


def set_websocket(folder: Path, player: Player) -> None:
    """Edit the miner's file, as an operator would; the running miner reloads it."""
    file = folder / f"{player.name}.yaml"
    settings = read_yaml(file)
    settings["websocket"]["enabled"] = player.websocket
    _write(file, settings)


def _write(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(document, sort_keys=False))
