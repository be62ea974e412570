"""The operator's files: read as a whole, and published when something in them is new."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import BlacklistLoaded, MetagraphFetched, RowsSkipped
from bettensor.bus.identifiers import Hotkey
from bettensor.neurons.config.settings import ROLES, Settings, parse
from bettensor.neurons.edges.static_files import StaticFiles, files_of, read_blacklist, read_metagraph
from bettensor.neurons.simulation import EventLog

ALICE = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"


class Bench(EventLog):
    """A neuron's files, and what is published of them."""

    def __init__(self, folder: Path, role: str = "validator", **document: Any) -> None:
        super().__init__()
        self.metagraph, self.blacklist = folder / "metagraph.yaml", folder / "blacklist.yaml"
        self.write()
        self.settings = self.configured(role, **document)
        self.files = StaticFiles(self.settings)
        self.files.attach(EventBus(ManualClock(), record=self.append))

    def configured(self, role: str = "validator", **document: Any) -> Settings:
        minimal = {"role": role, "netuid": 30, "state_dir": "state", "metagraph": {"static": str(self.metagraph)}}
        settings: Settings = parse(ROLES[role], minimal | document, "test")
        return settings

    def write(self, *blacklist: str, **neuron: Any) -> None:
        self.metagraph.write_text(yaml.safe_dump({"neurons": [{"hotkey": ALICE, **neuron}]}))
        self.blacklist.write_text(yaml.safe_dump({"hotkeys": list(blacklist)}))

    def topics(self) -> list[str]:
        return [envelope.event.topic for envelope in self.envelopes]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, blacklist=str(tmp_path / "blacklist.yaml"))


async def test_at_the_start_both_files_are_published(bench: Bench) -> None:
    bench.write(ALICE, stake=2.5)
    await bench.files.open()
    assert [neuron.stake for neuron in bench.last(MetagraphFetched).neurons] == [2.5]
    assert bench.last(BlacklistLoaded).hotkeys == (ALICE,)


async def test_a_neuron_without_files_publishes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, metagraph={"static": None}, subtensor={"network": "test"})
    await bench.files.open()
    assert bench.topics() == []


async def test_a_miner_has_no_blacklist(tmp_path: Path) -> None:
    bench = Bench(tmp_path, role="miner")
    await bench.files.open()
    assert bench.topics() == ["metagraph_fetched"]
    assert files_of(bench.settings) == (bench.metagraph, None)


async def test_a_file_that_cannot_be_read_stops_the_start(bench: Bench) -> None:
    bench.blacklist.write_text("hotkeys: 7")
    with pytest.raises(ConfigurationError, match=r"blacklist\.yaml: hotkeys"):
        await bench.files.open()
    assert bench.topics() == []


async def test_of_what_is_read_again_only_what_is_new_is_published(bench: Bench) -> None:
    await bench.files.open()
    bench.files.take(bench.files.read(bench.settings))
    assert len(bench.topics()) == 2
    bench.write(ALICE)
    bench.files.take(bench.files.read(bench.settings))
    assert bench.topics()[2:] == ["blacklist_loaded"]


async def test_another_file_is_read_where_the_settings_name_another(bench: Bench, tmp_path: Path) -> None:
    await bench.files.open()
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({"neurons": []}))
    bench.files.take(bench.files.read(bench.configured(metagraph={"static": str(other)})))
    assert bench.last(MetagraphFetched).neurons == ()


async def test_who_was_on_a_blacklist_that_is_gone_is_on_none(bench: Bench) -> None:
    bench.write(ALICE, "5x")
    await bench.files.open()
    without = bench.configured()
    for _ in range(2):
        bench.files.take(bench.files.read(without))
    assert bench.topics()[-2:] == ["rows_skipped", "blacklist_loaded"]
    assert [len(event.faults) for event in bench.all(RowsSkipped)] == [1, 0]
    assert bench.all(BlacklistLoaded) == [BlacklistLoaded((Hotkey(ALICE),)), BlacklistLoaded(())]
    bench.files.take(bench.files.read(bench.settings))
    assert bench.last(BlacklistLoaded).hotkeys == (ALICE,)


async def test_a_neuron_with_the_metagraph_of_the_chain_reads_none_from_a_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, metagraph={"static": None}, subtensor={"network": "test"})
    await bench.files.open()
    bench.files.take(bench.files.read(bench.configured()))
    assert bench.topics() == []


async def test_what_cannot_be_read_again_leaves_in_force_what_was(bench: Bench) -> None:
    await bench.files.open()
    bench.metagraph.unlink()
    with pytest.raises(ConfigurationError, match=r"metagraph\.yaml"):
        bench.files.read(bench.settings)
    assert len(bench.topics()) == 2


async def test_a_wrong_row_is_told_until_it_is_repaired_and_again_when_it_comes_back(bench: Bench) -> None:
    for listed in (("5x", ALICE), ("5x", ALICE), (ALICE,), ("5x", ALICE)):
        bench.write(*listed)
        bench.files.take(bench.files.read(bench.settings))
    assert bench.topics() == ["metagraph_fetched", "rows_skipped", "blacklist_loaded", *["rows_skipped"] * 2]
    assert [len(event.faults) for event in bench.all(RowsSkipped)] == [1, 0, 1]
    assert bench.all(BlacklistLoaded) == [BlacklistLoaded((Hotkey(ALICE),))]


async def test_wrong_rows_do_not_stop_the_start(bench: Bench) -> None:
    bench.metagraph.write_text(yaml.safe_dump({"neurons": [{"hotkey": "5x"}, {"hotkey": ALICE, "stake": "2.50"}]}))
    bench.blacklist.write_text(yaml.safe_dump({"hotkeys": ["5x"], "networks": ["10.0.0.0/8"]}))
    await bench.files.open()
    assert [(neuron.uid, neuron.stake) for neuron in bench.last(MetagraphFetched).neurons] == [(1, 2.5)]
    assert bench.last(BlacklistLoaded) == BlacklistLoaded((), (), ("10.0.0.0/8",))
    told = {event.what: (event.file, event.faults[0][:9]) for event in bench.all(RowsSkipped)}
    assert told == {"metagraph": ("metagraph.yaml", "neurons.0"), "blacklist": ("blacklist.yaml", "hotkeys.0")}


def test_a_file_whose_aliases_multiply_is_refused_and_one_of_five_thousand_rows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "metagraph.yaml"
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    file.write_text(f"a0: &a0 [lol]\n{laughs}neurons: *a11\n")
    with pytest.raises(
        ConfigurationError, match=r"metagraph\.yaml: not YAML: line 6: more than 100000 keys and values"
    ):
        read_metagraph(file)
    with pytest.raises(
        ConfigurationError, match=r"metagraph\.yaml: not YAML: line 6: more than 100000 keys and values"
    ):
        read_blacklist(file)
    file.write_text("neurons:\n" + f"  - {{hotkey: {ALICE}, uid: 7}}\n" * 5_000)
    assert len(read_metagraph(file).faults) == 4_999
