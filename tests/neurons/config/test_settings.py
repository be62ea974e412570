"""Configuration: what is wrong is told with file, key and what was expected; flags override the file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.actors.actor import Actor
from bettensor.actors.settings import (
    AxonSettings,
    ChosenValidators,
    MinerTlsSettings,
    WebSocketSettings,
)
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import BlacklistLoaded
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.cli.config_file import commented_defaults
from bettensor.neurons.composition import build_actors, build_predictor, load_handlers
from bettensor.neurons.config.loading import load_settings
from bettensor.neurons.config.settings import (
    ListeningSettings,
    MinerSettings,
    Settings,
    ValidatorSettings,
    parse,
    sections_of,
)
from bettensor.neurons.edges.static_files import read_blacklist, read_metagraph
from bettensor.neurons.models.kelly import KellyPredictor

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
BOB = "5FHneW46xGXgs5mUiveU4sbTyGBzmstUspZC92UhjJM694ty"
CHARLIE = "5FLSigC9HGRKVhB9FiEo4Y3koPsNmBmLJbpXg2mp1hXcS59Y"
MINIMAL: dict[str, Any] = {
    "role": "validator",
    "netuid": 30,
    "state_dir": "state",
    "metagraph": {"static": "metagraph.yaml"},
}


def load(folder: Path, flags: dict[str, str] | None = None, command: str | None = None, **changes: Any) -> Settings:
    file = folder / "neuron.yaml"
    document = {key: value for key, value in (MINIMAL | changes).items() if value is not ...}
    file.write_text(yaml.safe_dump(document))
    return load_settings(file, flags, command)


def test_a_minimal_file_has_every_default(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert isinstance(settings, ValidatorSettings)
    assert (settings.axon.port, settings.websocket.heartbeat_interval, settings.logging.level) == (8091, 60, "INFO")
    assert (settings.wallet.name, settings.blacklist, settings.games.path) == ("default", None, None)


def test_paths_of_the_file_are_relative_to_it_and_those_of_flags_are_not(tmp_path: Path) -> None:
    settings = load(tmp_path, {"blacklist": "here.yaml"}, state_dir="~/x", wallet={"path": "wallets"})
    assert isinstance(settings, ValidatorSettings)
    assert settings.metagraph.static == tmp_path / "metagraph.yaml"
    assert settings.blacklist == Path("here.yaml")
    assert settings.state_dir == Path.home() / "x"
    assert settings.wallet.path == tmp_path / "wallets"


def test_flags_override_the_file_and_are_read_as_their_keys_type(tmp_path: Path) -> None:
    flags = {
        "websocket.heartbeat_interval": "30",
        "websocket.enabled": "False",
        "wallet.name": "007",
        "actors.prediction.daily_wager_limit": "5",
        "handlers": '{prediction_accepted: ["a:b"]}',
    }
    settings = load(tmp_path, flags, websocket={"heartbeat_interval": 99})
    assert (settings.websocket.heartbeat_interval, settings.websocket.enabled) == (30.0, False)
    assert settings.wallet.name == "007"
    assert settings.handlers == {"prediction_accepted": ["a:b"]}
    actors = {actor.name: actor for actor in build_actors(settings)}
    assert actors["prediction"].settings.daily_wager_limit == 5
    assert actors["auth"].settings.websocket.enabled is False


@pytest.mark.parametrize(("role", "actor"), [("validator", "auth"), ("miner", "connection")])
def test_schemes_are_pinned_by_hotkey_on_both_roles(tmp_path: Path, role: str, actor: str) -> None:
    schemes = {ALICE: "ed25519", BOB: "sr25519"}
    settings = load(tmp_path, {"wallet.name": "w"}, role, role=role, auth={"schemes": schemes})
    actors = {built.name: built for built in build_actors(settings)}
    assert actors[actor].settings.auth.schemes == schemes
    settings = load(tmp_path, {f"auth.schemes.{ALICE}": "ed25519"}, role, role=role)
    assert settings.auth.schemes == {ALICE: "ed25519"}


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_the_miners_documented_spellings_work_on_both_roles(tmp_path: Path, role: str) -> None:
    flags = {
        "websocket_enabled": "false",
        "websocket_heartbeat_interval": "1",
        "websocket_reconnect_base_interval": "2",
        "websocket_max_reconnect_interval": "3",
    }
    websocket = load(tmp_path, flags, role, role=role).websocket
    assert (websocket.enabled, websocket.heartbeat_interval) == (False, 1)
    assert (websocket.reconnect_base_interval, websocket.max_reconnect_interval) == (2, 3)


def test_without_a_file_everything_has_a_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = load_settings(role="miner", environment={})
    assert isinstance(settings, MinerSettings)
    assert (settings.netuid, settings.subtensor.chosen, settings.metagraph.static) == (30, "finney", None)
    assert settings.state_dir == tmp_path / ".bettensor" / "miner-30-default.default"


@pytest.mark.parametrize(
    ("flags", "folder"),
    [
        ({"wallet.name": "a", "wallet.hotkey": "b.c"}, "validator-30-a.b%2Ec"),
        ({"wallet.name": "a.b", "wallet.hotkey": "c"}, "validator-30-a%2Eb.c"),
        ({"netuid": "31", "subtensor.network": "finney"}, "validator-31-default.default"),
        ({"netuid": "31", "subtensor.network": "test"}, "validator-test-31-default.default"),
        ({"state_dir": "null"}, "validator-30-default.default"),
    ],
)
def test_no_two_neurons_of_a_machine_have_one_state_dir_by_default(flags: dict[str, str], folder: str) -> None:
    settings = load_settings(flags=flags, role="validator", environment={})
    assert settings.state_dir == Path.home() / ".bettensor" / folder


@pytest.mark.parametrize("level", ["debug", "Trace", "INFO"])
def test_levels_of_the_log_may_be_in_lower_case(tmp_path: Path, level: str) -> None:
    assert load(tmp_path, {"logging.level": level}).logging.level == level.upper()
    assert load(tmp_path, logging={"level": level}).logging.level == level.upper()


def test_an_endpoint_is_chosen_before_a_network(tmp_path: Path) -> None:
    chain = {"network": "test", "chain_endpoint": "ws://127.0.0.1:9944"}
    assert load(tmp_path, metagraph={}, subtensor=chain).subtensor.chosen == "ws://127.0.0.1:9944"
    assert load(tmp_path, metagraph={}, subtensor={"network": "test"}).subtensor.chosen == "test"


def test_the_role_may_come_from_the_command(tmp_path: Path) -> None:
    file = tmp_path / "neuron.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in MINIMAL.items() if key != "role"}))
    assert isinstance(load_settings(file, role="miner"), MinerSettings)
    with pytest.raises(ConfigurationError, match="role: expected 'validator' or 'miner', but it is missing"):
        load_settings(file)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"netuid": "thirty"}, "neuron.yaml: netuid: must be a valid integer"),
        ({"netuid": 70000}, "less than or equal to 65535"),
        ({"state_dir": 7}, "neuron.yaml: state_dir"),
        ({"websoket": {}}, "websoket: there is no such key; the nearest is 'websocket'"),
        (
            {"websocket": {"hartbeat": 1}},
            "websocket.hartbeat: there is no such key; the nearest is 'websocket.heartbeat_interval'",
        ),
        (
            {"websocket": {"heartbeat_interval": 0}},
            "websocket.heartbeat_interval: must be greater than or equal to 0.001",
        ),
        ({"websocket": {"heartbeat_interval": float("nan")}}, "websocket.heartbeat_interval"),
        ({"websocket": 5}, "neuron.yaml: websocket: expected keys with values, but it is 5"),
        ({"actors": {"metagraph": 5}}, "neuron.yaml: actors.metagraph: expected keys with values, but it is 5"),
        ({"role": "miner", "validators": 5}, "neuron.yaml: validators: expected a list, but it is 5"),
        (
            {"websocket": {"reconnect_base_interval": 900}},
            "neuron.yaml: websocket: reconnect_base_interval must be at most max_reconnect_interval",
        ),
        ({"axon": {"port": 70000}}, "axon.port"),
        ({"axon": {"trusted_proxies": "10.0.0.0/8"}}, "neuron.yaml: axon.trusted_proxies: expected a list"),
        (
            {"axon": {"trusted_proxies": ["10.0.0.1", "proxy"]}},
            "axon.trusted_proxies: entry 2: expected an IP address, or a network like 10.0.0.0/8 or 2001:db8::/32",
        ),
        (
            {"axon": {"trusted_proxies": ["10.0.0.1/8"]}},
            "axon.trusted_proxies: entry 1: expected zeros behind the prefix of a network, as in 10.0.0.0/8",
        ),
        ({"axon": {"proxy_protocol": True}}, "neuron.yaml: axon: proxy_protocol needs trusted_proxies"),
        ({"role": "miner", "synapse": {"proxy_protocol": True}}, "synapse: proxy_protocol needs trusted_proxies"),
        ({"logging": {"level": "LOUD"}}, "logging.level: must be 'TRACE', 'DEBUG', 'INFO'"),
        ({"games": {"source": "oracle"}}, "games.source: must be 'file'"),
        (
            {"subtensor": {"network": "ws://127.0.0.1:9944"}},
            "subtensor.network: expected finney, test or local; the address of a node belongs in "
            "subtensor.chain_endpoint",
        ),
        (
            {"subtensor": {"chain_endpoint": "here"}},
            "subtensor.chain_endpoint: expected the address of a node with ws:// or wss:// before its host, "
            "but it is something else",
        ),
        (
            {"subtensor": {"chain_endpoint": "https://node.example/v2/KEY"}},
            "with ws:// or wss:// before its host, but it is 'https://node.example/...'",
        ),
        ({"subtensor": {"network": "node.example/v2/KEY"}}, "belongs in subtensor.chain_endpoint, but it is something"),
        (
            {"auth": {"schemes": {"nobody": "ed25519"}}},
            "neuron.yaml: auth.schemes.nobody: expected an ss58 address like",
        ),
        (
            {"auth": {"schemes": {ALICE: "mldsa"}}},
            f"neuron.yaml: auth.schemes.{ALICE}: must be 'sr25519' or 'ed25519', but it is 'mldsa'",
        ),
        ({"auth": {"schemes": "ed25519"}}, "neuron.yaml: auth.schemes: expected keys with values"),
        ({"role": "judge"}, "role: expected 'validator' or 'miner', not 'judge'"),
        ({"handlers": {"x": "y"}}, "handlers.x"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_place(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, **changes)
    assert fault in str(refused.value)


def test_another_role_than_the_commands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="role: expected 'miner', as in the command"):
        load(tmp_path, command="miner")


def test_a_flag_or_a_variable_can_unset_a_key(tmp_path: Path) -> None:
    settings = load(tmp_path, {"axon.external_ip": "null"}, axon={"external_ip": "203.0.113.7"})
    assert isinstance(settings, ValidatorSettings)
    assert settings.axon.external_ip is None


@pytest.mark.parametrize("name", ["../coldkey", "a/b", "..", ""])
@pytest.mark.parametrize("key", ["name", "hotkey"])
def test_a_wallet_is_named_by_names_and_not_by_paths(tmp_path: Path, key: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"wallet\.{key}: expected a name, and not a path"):
        load(tmp_path, wallet={key: name})


def test_a_path_in_nobodys_home_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"wallet\.path: .*~nobody-here/x: there is no such home folder"):
        load(tmp_path, wallet={"path": "~nobody-here/x"})


@pytest.mark.parametrize(("flag", "fault"), [("netuid.x=1", "netuid is not a section"), ("actors={", "not YAML")])
def test_a_flag_that_makes_no_sense_is_refused(tmp_path: Path, flag: str, fault: str) -> None:
    key, _, value = flag.partition("=")
    with pytest.raises(ConfigurationError, match=f"^--{key}: {fault}"):
        load(tmp_path, {key: value})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"actors": {"predicton": {}}}, "actors.predicton: there is no such actor; the nearest is 'prediction'"),
        ({"actors": {"prediction": {"limit": 5}}}, "actors.prediction.limit: there is no such key"),
        (
            {"actors": {"prediction": {"odds_grace": -1}}},
            "odds_grace: must be greater than or equal to 0, but it is -1",
        ),
        ({"actors": {"connection": {"heartbeat_interval": 5}}}, "set websocket.heartbeat_interval instead"),
        (
            {"actors": {"heartbeat": {"websocket": {"heartbeat_interval": 5}}}},
            "actors.heartbeat.websocket: set websocket instead",
        ),
        ({"actors": {"x": {"class": "no_such_module:X"}}}, "'no_such_module' cannot be imported"),
        ({"actors": {"x": {"class": "bettensor.bus.events:Nothing"}}}, "'bettensor.bus.events' has no 'Nothing'"),
        ({"actors": {"x": {"class": "bettensor.bus.events:Event"}}}, "is not a subclass of bettensor.actors.Actor"),
        ({"actors": {"x": {"class": "events"}}}, "expected 'module:name'"),
        (
            {"actors": {"x": {"class": "bettensor.actors.miner.model:ModelActor"}}},
            "must have name = 'x' like its key, not 'model'",
        ),
        (
            {"actors": {"model": {"class": "bettensor.actors.miner.slate:SlateActor"}}},
            "must have name = 'model' like its key",
        ),
        (
            {"actors": {"x": {"class": "bettensor.actors.actor:Actor"}}},
            "must have name = 'x' like its key, not None",
        ),
    ],
)
def test_wrong_actors_are_refused(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build_actors(load(tmp_path, **changes), "neuron.yaml")
    assert fault in str(refused.value)
    assert "neuron.yaml: actors." in str(refused.value)


class Surveyor(Actor):
    """An actor of a user, with a section under a name of its own, and keys that sections have too."""

    @dataclass(frozen=True, kw_only=True)
    class Settings:
        line: WebSocketSettings = field(default_factory=WebSocketSettings)
        chosen: ChosenValidators = field(default_factory=ChosenValidators)
        listener: AxonSettings = field(default_factory=AxonSettings)
        validators: int = 3
        enabled: float = 0.5

    name = "surveyor"


def test_an_actor_of_a_users_own_takes_sections_by_their_type_and_keeps_keys_of_any_name(tmp_path: Path) -> None:
    own = {"class": f"{__name__}:Surveyor", "validators": 7}
    sections: dict[str, Any] = {"websocket": {"send_timeout": 3}, "validators": [ALICE]}
    settings = load(tmp_path, role="miner", actors={"surveyor": own}, **sections)
    surveyor = next(actor for actor in build_actors(settings) if isinstance(actor, Surveyor))
    assert surveyor.settings == Surveyor.Settings(
        line=WebSocketSettings(send_timeout=3), chosen=ChosenValidators([ALICE]), validators=7
    )
    assert surveyor.settings.line is settings.websocket
    for key, setter in (("line", "websocket"), ("chosen", "validators"), ("send_timeout", "websocket.send_timeout")):
        section = {"class": own["class"], key: {}}
        wrong = load(tmp_path, role="miner", actors={"surveyor": section}, **sections)
        with pytest.raises(ConfigurationError) as refused:
            build_actors(wrong, "miner.yaml")
        assert str(refused.value) == f"miner.yaml: actors.surveyor.{key}: set {setter} instead"


def test_every_section_of_a_role_can_be_taken_by_its_type(tmp_path: Path) -> None:
    settings = load(tmp_path, axon={"port": 1})
    assert isinstance(settings, ValidatorSettings)
    sections = sections_of(settings)
    assert sections[ListeningSettings] is settings.axon
    assert sections[AxonSettings] == AxonSettings(port=1)
    assert {type(section) for section in sections.values()} == sections.keys()
    assert ChosenValidators not in sections
    assert sections_of(load(tmp_path, role="miner"))[ChosenValidators] == ()


@pytest.mark.parametrize(
    ("handlers", "fault"),
    [
        ({"prediction_acepted": ["a:b"]}, "no such event; the nearest is 'prediction_accepted'$"),
        ({"*": ["shutil:get_terminal_size"]}, r"takes 0 arguments; a handler takes \(event\)"),
        ({"*": ["builtins:getattr"]}, "no signature found"),
        ({"*": ["bettensor.bus.events:nothing"]}, "has no 'nothing'"),
        ({"*": ["bettensor.bus.events:TOPICS"]}, "cannot be called"),
    ],
)
def test_wrong_handlers_are_refused(tmp_path: Path, handlers: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        load_handlers(load(tmp_path, handlers=handlers))


def test_what_may_be_a_secret_is_not_printed() -> None:
    @dataclass
    class Own:
        api_key: int
        inner: dict[str, int]

    with pytest.raises(ConfigurationError) as refused:
        parse(Own, {"api_key": "hunter2", "inner": {"password": "hunter2"}}, "miner.yaml")
    assert "api_key: must be a valid integer" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_the_model_is_the_class_that_the_file_names(tmp_path: Path) -> None:
    predictor = build_predictor(load(tmp_path, role="miner", actors={"predictor": {"edge": 0.5}}))
    assert isinstance(predictor, KellyPredictor)
    assert predictor.settings.edge == 0.5
    for wrong, fault in (
        ({"class": "bettensor.bus.events:Event"}, "no method predict"),
        ({"edge": -1}, "edge: must be greater than or equal to 0"),
    ):
        with pytest.raises(ConfigurationError, match=fault):
            build_predictor(load(tmp_path, actors={"predictor": wrong}))


@pytest.mark.parametrize("role", ["validator", "miner"])
def test_the_whole_commented_configuration_is_one_that_can_be_read(tmp_path: Path, role: str) -> None:
    text = commented_defaults(role)  # type: ignore[arg-type]
    (tmp_path / "neuron.yaml").write_text(text)
    settings = load_settings(tmp_path / "neuron.yaml")
    assert settings.role == role
    build_actors(settings)
    for line in text.splitlines():
        key = line.strip().partition(":")[0]
        if line.strip() and not line.lstrip().startswith("#") and not line.endswith(":"):
            before = text.splitlines()[text.splitlines().index(line) - 1]
            assert before.lstrip().startswith("#"), f"{key} has no comment"


# --- metagraph and blacklist


def metagraph(folder: Path, *neurons: Any) -> Path:
    file = folder / "metagraph.yaml"
    file.write_text(yaml.safe_dump({"neurons": list(neurons)}))
    return file


def test_a_static_metagraph(tmp_path: Path) -> None:
    full = {"hotkey": BOB, "uid": 9, "coldkey": ALICE, "validator_permit": True, "stake": 5.5, "axon": "10.0.0.1:8091"}
    first, second = read_metagraph(metagraph(tmp_path, {"hotkey": ALICE}, full)).contents.neurons
    assert (first.uid, first.hotkey, first.validator_permit, first.axon) == (0, ALICE, False, None)
    assert (second.uid, second.stake, second.axon, second.validator_permit) == (9, 5.5, "10.0.0.1:8091", True)
    assert first.crypto is None
    (other,) = read_metagraph(metagraph(tmp_path, {"hotkey": BOB, "crypto": "ed25519"})).contents.neurons
    assert other.crypto == "ed25519"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"hotkey": "nobody"}, "neurons.1: hotkey: expected an ss58 address"),
        ({}, "neurons.1: hotkey: this key is required"),
        (None, "neurons.1: expected keys with values"),
        ("5x", "neurons.1: expected keys with values"),
        ({"hotkey": BOB, "axon": "localhost"}, "neurons.1: axon: expected ip:port like"),
        ({"hotkey": BOB, "axon": "10.0.0.1:65536"}, "neurons.1: axon: expected ip:port like"),
        ({"hotkey": ALICE}, f"neurons.1: hotkey: {ALICE} is already that of neurons.0"),
        ({"hotkey": BOB, "crypto": "hashed"}, "neurons.1: crypto: must be 'sr25519' or 'ed25519', but it is 'hashed'"),
        ({"hotkey": BOB, "uid": 0}, "neurons.1: uid: 0 is already that of neurons.0"),
        ({"hotkey": BOB, "permit": True}, "neurons.1: permit: there is no such key; the nearest is 'validator_permit'"),
        ({"hotkey": BOB, "stake": "1,5"}, "neurons.1: stake: expected a number with a decimal point like 1.5, but"),
        ({"hotkey": BOB, "stake": float("nan")}, "neurons.1: stake: expected a number, but it is nan"),
        ({"hotkey": BOB, "stake": -1}, "neurons.1: stake: must be greater than or equal to 0, but it is -1.0"),
        ({"hotkey": BOB, "stake": True}, "neurons.1: stake: expected a number, but it is True"),
    ],
)
def test_a_wrong_row_of_a_metagraph_is_skipped_alone(tmp_path: Path, row: Any, fault: str) -> None:
    read = read_metagraph(metagraph(tmp_path, {"hotkey": ALICE}, row, {"hotkey": CHARLIE}))
    assert [(neuron.uid, neuron.hotkey) for neuron in read.contents.neurons] == [(0, ALICE), (2, CHARLIE)]
    (found,) = read.faults
    assert found.startswith(fault)


@pytest.mark.parametrize("stake", [2.5, "2.50", " 2.5 "])
def test_a_stake_may_be_text(tmp_path: Path, stake: Any) -> None:
    assert read_metagraph(metagraph(tmp_path, {"hotkey": ALICE, "stake": stake})).contents.neurons[0].stake == 2.5


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("neurons: 7", "neurons: expected a list, but it is 7"),
        ("{}", "neurons: this key is required"),
        ("neuron: []", "neuron: there is no such key; the nearest is 'neurons'"),
        ("- hotkey", "expected keys with values"),
    ],
)
def test_a_file_that_is_no_metagraph_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "metagraph.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_metagraph(file)
    assert fault in str(refused.value)


def test_a_blacklist(tmp_path: Path) -> None:
    file = tmp_path / "blacklist.yaml"
    file.write_text(yaml.safe_dump({"hotkeys": [ALICE]}))
    assert read_blacklist(file).contents.hotkeys == (ALICE,)
    file.write_text("")
    assert read_blacklist(file).contents.hotkeys == ()
    file.write_text(yaml.safe_dump({"coldkeys": [ALICE], "networks": ["10.0.0.0/8", "2001:db8::/32"]}))
    assert read_blacklist(file) == (BlacklistLoaded((), (ALICE,), ("10.0.0.0/8", "2001:db8::/32")), ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_of_a_blacklist_each_right_row_blocks_whatever_the_others_are(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "blacklist.yaml"
    rows = {"hotkeys": ["x" * 1_000_000, ALICE, 7], "coldkeys": [BOB, None], "networks": ["10.0.0.1/8", "10.0.0.0/8"]}
    file.write_bytes(yaml.safe_dump(rows).replace("\n", "\r\n").encode(encoding))
    read = read_blacklist(file)
    assert read.contents == BlacklistLoaded((Hotkey(ALICE),), (BOB,), ("10.0.0.0/8",))
    places = ["hotkeys.0: expected an ss58 address", "hotkeys.2: must be a valid string", "coldkeys.1: must be"]
    places.append("networks.0: expected an IP network like 10.1.0.0/16 (10.0.0.1/8 has host bits set)")
    assert [fault[: len(place)] for fault, place in zip(read.faults, places, strict=True)] == places


@pytest.mark.parametrize("text", ["hotkey: []", "hotkeys: 7", "[]"])
def test_a_file_that_is_no_blacklist_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "blacklist.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"blacklist\.yaml: "):
        read_blacklist(file)


# --- TLS


def test_the_files_of_tls_are_relative_to_the_configuration_and_belong_together(tmp_path: Path) -> None:
    settings = load(tmp_path, axon={"tls": {"certificate": "a.pem", "key": "a.key", "proxy_key": "proxy.pem"}})
    assert isinstance(settings, ValidatorSettings)
    tls = settings.axon.tls
    assert (tls.certificate, tls.key, tls.proxy_key) == (
        tmp_path / "a.pem",
        tmp_path / "a.key",
        tmp_path / "proxy.pem",
    )
    key = load(tmp_path, axon={"tls": {"proxy_key": "AB" * 32}})
    assert isinstance(key, ValidatorSettings)
    assert key.axon.tls.proxy_key == "ab" * 32


@pytest.mark.parametrize(
    ("tls", "fault"),
    [
        ({"certificate": "a.pem"}, "certificate and key must be set together"),
        ({"key": "a.key"}, "certificate and key must be set together"),
        ({"required": True}, "required needs certificate and key"),
        ({"required": True, "proxy_key": "a.pem"}, "required needs certificate and key"),
    ],
)
def test_a_section_of_tls_that_makes_no_sense_is_refused(tmp_path: Path, tls: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=f"axon.tls: {fault}"):
        load(tmp_path, axon={"tls": tls})


@pytest.mark.parametrize("written", ["off", "'off'", "false"])
def test_yaml_reads_off_as_false_and_it_is_a_mode(tmp_path: Path, written: str) -> None:
    file = tmp_path / "miner.yaml"
    file.write_text(f"role: miner\ntls: {{mode: {written}}}\n")
    settings = load_settings(file)
    assert isinstance(settings, MinerSettings)
    assert settings.tls.mode == "off"


HOTKEY = Hotkey("5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY")


@pytest.mark.parametrize(
    ("tls", "fault"),
    [
        ({"mode": True}, "tls.mode: must be 'auto', 'required' or 'off'"),
        ({"keys": {HOTKEY: "abc"}}, f"tls.keys.{HOTKEY}: "),
        ({"keys": {"5abc": "ab" * 32}}, "tls.keys.5abc"),
        ({"mode": "off", "keys": {HOTKEY: "ab" * 32}}, "tls: mode must be auto or required if there are keys"),
    ],
)
def test_a_miners_tls_that_makes_no_sense_is_refused(tmp_path: Path, tls: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, role="miner", tls=tls)
    assert fault in str(refused.value)


def test_a_pinned_key_is_written_in_either_case(tmp_path: Path) -> None:
    settings = load(tmp_path, role="miner", tls={"keys": {HOTKEY: "AB" * 32}})
    assert isinstance(settings, MinerSettings)
    assert settings.tls.keys == {HOTKEY: "ab" * 32}
    assert sections_of(settings)[MinerTlsSettings] == MinerTlsSettings(keys={HOTKEY: "ab" * 32})
