"""The certificate in force: read at the start and at each change, and never given up for a worse one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import SystemClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import CertificateLoaded, CertificateRefused, Event
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.bus.timestamps import DAY
from bettensor.neurons.config.settings import CertificateSettings, ListeningSettings, ValidatorSettings
from bettensor.neurons.edges import certificates
from bettensor.neurons.edges.certificates import Certificates
from bettensor.neurons.edges.edge import Plan
from tests.neurons.edges.certificates import Pair, copy_pair, make_pair

PATIENCE = 10.0
HOUR = 3600 * SECOND


class Ahead(SystemClock):
    """A clock that can be put on."""

    ahead = 0
    """Microseconds."""

    def wall(self) -> Micros:
        return Micros(super().wall() + self.ahead)


class Bench:
    """The edge, and the events that it publishes."""

    def __init__(self, **tls: Any) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.clock = Ahead()
        bus = EventBus(SystemClock(), record=lambda envelope: self.events.put_nowait(envelope.event))
        self.edge = Certificates(ListeningSettings(tls=CertificateSettings(**tls)), self.clock)
        self.edge.attach(bus)

    async def next(self) -> Event:
        return await asyncio.wait_for(self.events.get(), PATIENCE)

    @property
    def serves(self) -> str | None:
        context = self.edge.context()
        return None if context is None else context.key


@asynccontextmanager
async def opened(pair: Pair | None, **tls: Any) -> AsyncIterator[Bench]:
    own = {} if pair is None else {"certificate": pair.pem, "key": pair.key}
    bench = Bench(**own, **tls)
    await bench.edge.open()
    try:
        yield bench
    finally:
        await bench.edge.close()


@pytest.fixture(autouse=True)
def settles_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "SETTLE", 0.2)


async def test_a_new_pair_serves_the_next_connections_and_the_event_names_its_key(tmp_path: Path) -> None:
    pair, newer = make_pair(tmp_path), make_pair(tmp_path, "newer")
    async with opened(pair) as bench:
        assert bench.edge.serves
        first = await bench.next()
        assert isinstance(first, CertificateLoaded)
        assert first.key == bench.serves == pair.digest
        before = bench.edge.context()
        copy_pair(newer, pair)
        second = await bench.next()
        assert isinstance(second, CertificateLoaded)
        assert second.key == bench.serves == newer.digest
        assert before is not bench.edge.context()


async def test_a_pair_that_cannot_be_used_changes_nothing_and_a_good_one_is_taken_again(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    async with opened(pair) as bench:
        first = await bench.next()
        kept = pair.key.read_bytes()
        pair.key.write_text("hello")
        refused = await bench.next()
        assert isinstance(refused, CertificateRefused)
        assert refused.reason.startswith(f"axon.tls.key: {pair.key} is no private key in PEM")
        assert bench.serves == pair.digest
        pair.key.write_bytes(kept)
        assert await bench.next() == first  # the same one, but it is news that it can be read again


async def test_two_files_that_are_renewed_one_after_the_other_are_no_fault(tmp_path: Path) -> None:
    pair, newer = make_pair(tmp_path), make_pair(tmp_path, "newer")
    async with opened(pair) as bench:
        await bench.next()
        pair.key.write_bytes(newer.key.read_bytes())
        await asyncio.sleep(0.1)
        pair.pem.write_bytes(newer.pem.read_bytes())
        found = await bench.next()
        assert isinstance(found, CertificateLoaded)
        assert found.key == newer.digest


async def test_an_expired_pair_does_not_replace_one_that_is_valid_and_may_replace_an_expired_one(
    tmp_path: Path,
) -> None:
    pair, expired = make_pair(tmp_path), make_pair(tmp_path, "expired", days=-1)
    async with opened(pair) as bench:
        await bench.next()
        copy_pair(expired, pair)
        refused = await bench.next()
        assert isinstance(refused, CertificateRefused)
        assert "it has expired at " in refused.reason
    async with opened(pair) as bench:  # at a start there is nothing better
        assert isinstance(await bench.next(), CertificateLoaded)
        copy_pair(make_pair(tmp_path, "older", days=-2), pair)
        assert isinstance(await bench.next(), CertificateLoaded)


@pytest.mark.parametrize(
    ("days", "begins", "later"),
    [
        (30, HOUR, HOUR + SECOND),  # it has become valid
        (1, 2 * DAY, DAY + HOUR),  # the old one has expired
    ],
)
async def test_a_pair_that_is_not_yet_valid_waits_while_the_old_one_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, begins: int, later: int
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.05)
    pair, early = make_pair(tmp_path, days=days), make_pair(tmp_path, "early", begins=begins // SECOND)
    async with opened(pair) as bench:
        await bench.next()
        copy_pair(early, pair)
        refused = await bench.next()
        assert isinstance(refused, CertificateRefused)
        assert "it is not valid before " in refused.reason
        assert bench.serves == pair.digest
        bench.clock.ahead = later
        begun = await bench.next()  # no file has changed
        assert isinstance(begun, CertificateLoaded)
        assert begun.key == bench.serves == early.digest


async def test_files_that_change_while_a_pair_is_not_yet_valid_are_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK", 0.05)
    pair, newer = make_pair(tmp_path), make_pair(tmp_path, "newer")
    async with opened(pair) as bench:
        await bench.next()
        copy_pair(make_pair(tmp_path, "early", begins=HOUR // SECOND), pair)
        assert isinstance(await bench.next(), CertificateRefused)
        copy_pair(newer, pair)
        found = await bench.next()
        assert isinstance(found, CertificateLoaded)
        assert found.key == newer.digest
        before = bench.edge.context()
        (waiting,) = [task for task in asyncio.all_tasks() if task.get_name() == "certificate to come"]
        bench.clock.ahead = HOUR + SECOND
        await asyncio.wait_for(waiting, PATIENCE)
        assert bench.edge.context() is before  # they were not read again


async def test_a_pair_that_is_not_yet_valid_may_replace_an_expired_one_and_is_taken_at_a_start(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, days=-1)
    async with opened(pair) as bench:
        await bench.next()
        early = make_pair(tmp_path, "early", begins=3600)
        copy_pair(early, pair)
        taken = await bench.next()
        assert isinstance(taken, CertificateLoaded)
        assert taken.key == bench.serves == early.digest
    async with opened(pair) as bench:
        assert isinstance(await bench.next(), CertificateLoaded)
        assert bench.serves == early.digest


async def test_files_that_are_touched_and_say_the_same_are_no_news(tmp_path: Path) -> None:
    pair, newer = make_pair(tmp_path), make_pair(tmp_path, "newer")
    async with opened(pair) as bench:
        await bench.next()
        before = bench.edge.context()
        pair.pem.write_bytes(pair.pem.read_bytes())
        async with asyncio.timeout(PATIENCE):
            while bench.edge.context() is before:  # noqa: ASYNC110 - there is no event, which is what is tested
                await asyncio.sleep(0.01)
        copy_pair(newer, pair)
        found = await bench.next()
        assert isinstance(found, CertificateLoaded)
        assert found.key == newer.digest


async def test_the_proxys_certificate_is_followed_too_and_makes_this_validator_serve_no_tls(tmp_path: Path) -> None:
    proxys, newer = make_pair(tmp_path, "proxy"), make_pair(tmp_path, "newer")
    async with opened(None, proxy_key=proxys.pem) as bench:
        assert not bench.edge.serves
        assert bench.serves is None
        first = await bench.next()
        assert isinstance(first, CertificateLoaded)
        assert (first.key, first.of_proxy) == (proxys.digest, True)
        copy_pair(newer, proxys)
        second = await bench.next()
        assert isinstance(second, CertificateLoaded)
        assert (second.key, second.of_proxy) == (newer.digest, True)
    async with opened(None, proxy_key="ab" * 32) as bench:
        assert await bench.next() == CertificateLoaded("ab" * 32, of_proxy=True)


async def test_what_cannot_be_used_at_the_start_ends_it(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    pair.key.unlink()
    bench = Bench(certificate=pair.pem, key=pair.key)
    with pytest.raises(ConfigurationError, match=r"^axon\.tls\.key: "):
        await bench.edge.open()
    assert bench.events.empty()
    await bench.edge.close()


def faults(settings: ValidatorSettings) -> list[str]:
    return [*Certificates.check(Plan(None, settings, ()))]


def test_the_check_of_a_configuration_names_each_fault(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, days=-1)
    pair.key.chmod(0o644)
    tls = CertificateSettings(certificate=pair.pem, key=pair.key, proxy_key=pair.pem)
    settings = ValidatorSettings(state_dir=tmp_path, axon=ListeningSettings(tls=tls))
    expired, readable, proxys = faults(settings)
    assert expired.startswith(f"axon.tls.certificate: {pair.pem}: it has expired")
    assert readable.startswith(f"axon.tls.certificate: {pair.pem}: every user of this machine may read its key")
    assert proxys.startswith(f"axon.tls.proxy_key: {pair.pem}: it has expired")
    alone = replace(settings, axon=ListeningSettings(tls=CertificateSettings(proxy_key="ab" * 32)))
    assert faults(alone) == []
    pair.pem.unlink()
    with pytest.raises(ConfigurationError, match=r"^axon\.tls\.certificate: "):
        faults(settings)
