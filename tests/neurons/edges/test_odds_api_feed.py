"""The feed of The Odds API on real sockets: the last good slate survives whatever the service does."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bettensor.bus.bus import EventBus
from bettensor.bus.clock import ManualClock
from bettensor.bus.errors import ConfigurationError
from bettensor.bus.events import FeedFailed, GamesFetched, RowsSkipped
from bettensor.bus.identifiers import SECOND, Micros
from bettensor.neurons.config.settings import parse
from bettensor.neurons.edges import odds_api_feed
from bettensor.neurons.edges.edge import StateDir
from bettensor.neurons.edges.odds_api_client import Failed, OddsApiClient
from bettensor.neurons.edges.odds_api_feed import FILE, OddsApiFeed, OddsApiSettings
from bettensor.neurons.odds.forms import read_answer
from bettensor.neurons.odds.listing import ReadOdds
from tests.neurons.edges.odds_service import KEY, Answer, OddsService
from tests.neurons.odds.feeds import CUBS, GIANTS, make_bookmaker, make_event

AT = Micros(int(datetime(2027, 6, 17, 21, 0, tzinfo=UTC).timestamp()) * SECOND)
HOUR = Micros(3600 * SECOND)
LATER = "2028-01-01T00:00:00Z"
MLB, EPL = "baseball_mlb", "soccer_epl"
BAD_KEY = Answer({"message": "API key is not valid"}, 401)


def slate(*names: str, **headers: str) -> Answer:
    return Answer([make_event(id=name, commence_time=LATER) for name in names], headers=headers)


class CountedFeed(OddsApiFeed):
    """Counts its steps: no event says that nothing is to be done."""

    steps = 0

    async def _step(self, client: OddsApiClient) -> None:
        self.steps += 1
        await super()._step(client)


class Bench:
    """A feed whose clock is moved by hand; it looks at it every few milliseconds."""

    def __init__(self, service: OddsService, folder: Path, **settings: Any) -> None:
        self.service = service
        self.settings = parse(OddsApiSettings, {"sports": [MLB], "url": service.url} | settings, "edges.game_feed")
        self.folder = folder
        self.clock = ManualClock(AT)
        self.events: list[Any] = []
        self.feed: CountedFeed

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.feed = CountedFeed(self.settings, self, self.clock, StateDir(self.folder))
        self.feed.attach(EventBus(self.clock, record=lambda envelope: self.events.append(envelope.event)))
        try:
            await self.feed.open()
            yield
            await self.feed.pause()
        finally:
            await self.feed.close()

    async def settle(self) -> None:
        """As a store that has nothing to do."""

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - the service is in another thread
                await asyncio.sleep(0.005)

    async def has_looked(self) -> None:
        """Wait until the feed has looked at the clock, and published what there was to publish."""
        steps = self.feed.steps + 2  # the next step begins when this one is over, and the one after it saw this moment
        await self.until(lambda: self.feed.steps >= steps)

    async def has_asked(self, number: int) -> None:
        """Wait until the feed has asked so often, and has published what came of it."""
        await self.until(lambda: len(self.service.asked) == number)
        await self.has_looked()

    async def pass_time(self, by: int) -> None:
        self.clock.advance(Micros(by))
        await self.has_looked()

    def slates(self) -> list[list[str]]:
        return [[game.game_id for game in event.games] for event in self.events if isinstance(event, GamesFetched)]

    def faults(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, FeedFailed)]

    def failing(self) -> list[bool]:
        """Whether the feed fails, as each slate and each failure says."""
        of_feed = [event for event in self.events if isinstance(event, FeedFailed | GamesFetched)]
        return [isinstance(event, FeedFailed) or bool(event.fault) for event in of_feed]

    def wrong_sports(self) -> list[tuple[str, ...]]:
        return [event.faults for event in self.events if isinstance(event, RowsSkipped) and event.what == "sports"]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(odds_api_feed, "NAP", 0.005)
    monkeypatch.setenv("ODDS_API_KEY", KEY)


@pytest.fixture
def service() -> Iterator[OddsService]:
    with OddsService().running() as service:
        yield service


async def test_the_slate_of_all_sports_is_published_and_follows_the_service(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(MLB, slate("one"), slate("one", "two"))
    service.will(EPL, slate("three"))
    bench = Bench(service, tmp_path, sports=[MLB, EPL], regions=["us", "uk"])
    async with bench.running():
        assert bench.slates() == [["one", "three"]]
        assert service.asked[0].query["regions"] == ["us,uk"]
        await bench.pass_time(5399 * SECOND)
        assert len(service.asked) == 2, "the interval is not over"
        bench.clock.advance(SECOND)
        await bench.until(lambda: len(bench.slates()) == 2)
    assert bench.slates()[1] == ["one", "two", "three"]
    assert bench.faults() == []


async def test_what_has_not_changed_is_neither_sent_again_nor_published_again(
    service: OddsService, tmp_path: Path
) -> None:
    later = [make_event(id="one", commence_time=LATER, bookmakers=[make_bookmaker(updated="2027-06-17T20:59:00Z")])]
    service.will(
        MLB, slate("one", ETag='"1"'), Answer(status=304), Answer(later, headers={"ETag": '"2"'}), Answer(status=304)
    )
    bench = Bench(service, tmp_path, interval=60)
    async with bench.running():
        for number in (2, 3, 4):
            bench.clock.advance(Micros(60 * SECOND))
            await bench.has_asked(number)
    assert [asked.headers.get("If-None-Match") for asked in service.asked] == [None, '"1"', '"1"', '"2"']
    assert bench.slates() == [["one"]]


async def test_a_game_is_dropped_when_it_starts_not_at_the_next_request(service: OddsService, tmp_path: Path) -> None:
    events = [make_event(id="first", commence_time="2027-06-17T21:30:00Z"), make_event(id="second")]
    service.will(MLB, Answer(events))
    bench = Bench(service, tmp_path)
    async with bench.running():
        bench.clock.advance(Micros(HOUR // 2))
        await bench.until(lambda: len(bench.slates()) == 2)
    assert bench.slates() == [["first", "second"], ["second"]]
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (BAD_KEY, "The Odds API: baseball_mlb: 401 API key is not valid; check the key in ODDS_API_KEY"),
        (Answer({"message": "bad region"}, 422), "422 bad region; check the sport and the regions"),
        (Answer(b"", 500), "The Odds API: baseball_mlb: 500"),
        (Answer(b"<html>"), "The Odds API: baseball_mlb: not JSON"),
        (Answer([{}]), "baseball_mlb: none of 1 event can be used; row 0: id: this field is required"),
    ],
)
async def test_the_last_good_slate_stays_and_a_failure_is_told_once_until_it_ends(
    service: OddsService, tmp_path: Path, failure: Answer, reason: str
) -> None:
    service.will(MLB, slate("one"), failure, failure, slate("one"), failure)
    bench = Bench(service, tmp_path, interval=7200)
    told = []
    async with bench.running():
        for number in (2, 3, 4, 5):
            bench.clock.advance(Micros(2 * HOUR))
            await bench.has_asked(number)
            told.append(len(bench.faults()))
    assert told == [1, 1, 1, 2]
    assert reason in bench.faults()[0]
    assert bench.slates() == [["one"], ["one"]]


async def test_the_end_of_a_failure_is_a_slate_although_nothing_has_changed(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(MLB, slate("one", ETag='"1"'), BAD_KEY, Answer(status=304), BAD_KEY)
    bench = Bench(service, tmp_path, interval=3600)
    async with bench.running():
        for number in (2, 3, 4):
            bench.clock.advance(HOUR)
            await bench.has_asked(number)
    assert [type(event) for event in bench.events] == [GamesFetched, FeedFailed, GamesFetched, FeedFailed]


async def test_a_slate_in_an_outage_carries_the_failure_which_is_neither_told_again_nor_ended(
    service: OddsService, tmp_path: Path
) -> None:
    events = [make_event(id="first", commence_time="2027-06-17T22:30:00Z"), make_event(id="second")]
    service.will(MLB, Answer(events), BAD_KEY)
    bench = Bench(service, tmp_path, interval=3600)
    async with bench.running():
        bench.clock.advance(HOUR)
        await bench.until(lambda: len(bench.faults()) == 1)
        bench.clock.advance(Micros(HOUR // 2))
        await bench.until(lambda: len(bench.slates()) == 2)
        await bench.has_looked()
    assert [type(event) for event in bench.events] == [GamesFetched, FeedFailed, GamesFetched]
    assert bench.slates()[1] == ["second"]
    assert [event.fault for event in bench.events[::2]] == ["", bench.faults()[0]]


UNKNOWN = Answer({"message": "Unknown sport"}, 404)


async def test_one_wrong_sport_is_told_and_takes_no_other_along(service: OddsService, tmp_path: Path) -> None:
    service.will("basebal", UNKNOWN)
    service.will(MLB, slate("one"), slate("one", "two"))
    bench = Bench(service, tmp_path, sports=["basebal", MLB], interval=600)
    async with bench.running():
        bench.clock.advance(Micros(600 * SECOND))
        await bench.until(lambda: len(bench.slates()) == 2)
        await bench.has_looked()
    assert len(service.of("basebal")) == 1, "it is repeated slowly"
    assert bench.slates() == [["one"], ["one", "two"]]
    assert bench.failing() == [False, False]
    assert bench.wrong_sports() == [
        ("basebal: 404 Unknown sport; check the sport: https://the-odds-api.com lists them",)
    ]


async def test_a_sport_that_is_right_again_is_told(service: OddsService, tmp_path: Path) -> None:
    service.will("basebal", UNKNOWN, slate("two"))
    service.will(MLB, slate("one"))
    bench = Bench(service, tmp_path, sports=["basebal", MLB], interval=7200)
    async with bench.running():
        bench.clock.advance(HOUR)
        await bench.until(lambda: len(bench.slates()) == 2)
    assert [len(faults) for faults in bench.wrong_sports()] == [1, 0]
    assert bench.failing() == [False, False]


async def test_a_sport_that_goes_wrong_is_a_failure_for_as_long_as_its_games_are_in_force(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(EPL, Answer([make_event(id="old", commence_time="2027-06-17T22:30:00Z")]), UNKNOWN)
    service.will(MLB, slate("one"))
    bench = Bench(service, tmp_path, sports=[EPL, MLB], interval=3600)
    async with bench.running():
        bench.clock.advance(HOUR)
        await bench.until(bench.faults)
        bench.clock.advance(Micros(HOUR // 2))
        await bench.until(lambda: len(bench.slates()) == 2)
    assert bench.failing() == [False, True, False]
    assert bench.slates() == [["old", "one"], ["one"]]
    assert [len(faults) for faults in bench.wrong_sports()] == [1]


@pytest.mark.parametrize("answers", [(UNKNOWN,), (Answer([]), UNKNOWN)])
async def test_if_all_sports_are_wrong_the_feed_fails(
    service: OddsService, tmp_path: Path, answers: tuple[Answer, ...]
) -> None:
    service.will("basebal", *answers)
    service.will("bal", *answers)
    bench = Bench(service, tmp_path, sports=["basebal", "bal"], interval=3600)
    async with bench.running():
        bench.clock.advance(HOUR)
        await bench.until(bench.faults)
    assert "basebal: 404" in bench.faults()[0]
    assert "bal: 404" in bench.faults()[0]
    assert bench.wrong_sports() == []


async def test_too_many_requests_are_repeated_when_the_service_says_so_and_no_other_sport_is_asked_meanwhile(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(MLB, Answer(b"", 429, {"Retry-After": "30"}), slate("one"))
    service.will(EPL, slate("two"))
    bench = Bench(service, tmp_path, sports=[MLB, EPL])
    async with bench.running():
        await bench.pass_time(29 * SECOND)
        assert len(service.asked) == 1
        bench.clock.advance(SECOND)
        await bench.until(bench.slates)
    assert bench.slates() == [["one", "two"]]


async def test_the_reserve_of_the_quota_is_not_touched_until_the_next_month(
    service: OddsService, tmp_path: Path
) -> None:
    few, many = {"x-requests-remaining": "11"}, {"x-requests-remaining": "500"}
    service.will(MLB, slate("one", **few), slate("two", **many))
    bench = Bench(service, tmp_path, regions=["us", "eu"], interval=3600, reserve=10)
    async with bench.running():
        bench.clock.advance(HOUR)
        await bench.until(lambda: len(bench.faults()) == 1)
        assert "11 requests are left of the quota, and edges.game_feed.reserve is 10" in bench.faults()[0]
        assert "until 2027-07-01" in bench.faults()[0]
        await bench.pass_time(13 * 24 * HOUR)
        assert len(service.asked) == 1
        bench.clock.advance(Micros(2 * HOUR))
        await bench.has_asked(2)
        await bench.pass_time(HOUR)
    assert len(service.asked) == 3


async def test_a_restart_begins_with_the_kept_odds_and_asks_only_when_it_is_time(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(MLB, slate("one", ETag='"1"'), Answer(status=304))
    bench = Bench(service, tmp_path, interval=3600)
    async with bench.running():
        pass
    bench.clock.advance(Micros(HOUR // 2))
    async with bench.running():
        assert bench.slates() == [["one"], ["one"]]
        assert len(service.asked) == 1
        bench.clock.advance(Micros(HOUR // 2))
        await bench.has_asked(2)
    assert service.asked[1].headers["If-None-Match"] == '"1"'


async def test_a_restart_while_the_service_fails_has_the_kept_odds(service: OddsService, tmp_path: Path) -> None:
    service.will(MLB, slate("one"), BAD_KEY)
    bench = Bench(service, tmp_path, interval=3600)
    async with bench.running():
        pass
    bench.clock.advance(HOUR)
    async with bench.running():
        assert bench.slates() == [["one"], ["one"]]
        assert bench.failing() == [False, True]


@pytest.mark.parametrize("change", [{"regions": ["eu"]}, {"sports": [EPL]}])
async def test_kept_odds_of_another_question_do_not_count(
    service: OddsService, tmp_path: Path, change: dict[str, Any]
) -> None:
    service.will(MLB, slate("one"), slate("two"))
    service.will(EPL, slate("two"))
    async with Bench(service, tmp_path).running():
        pass
    bench = Bench(service, tmp_path, **change)
    async with bench.running():
        assert bench.slates() == [["two"]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"games": []}',
        b"\xff",
        json.dumps(
            {
                "source": "The Odds API",
                "date": "2027-06-17T21:00:00Z",
                "games": [],
                "question": ["URL", "us"],
                "answers": {MLB: {"at": AT, "version": {}, "games": [{"game_id": 1}]}},
            }
        ).encode(),
    ],
)
async def test_a_kept_file_that_is_none_does_not_count(service: OddsService, tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content.replace(b"URL", service.url.encode()))
    service.will(MLB, slate("one"))
    bench = Bench(service, tmp_path)
    async with bench.running():
        assert bench.slates() == [["one"]]


async def test_a_first_request_that_fails_leaves_the_slate_of_the_last_run(
    service: OddsService, tmp_path: Path
) -> None:
    service.will(MLB, Answer(b"", 500), slate("one"))
    bench = Bench(service, tmp_path)
    async with bench.running():
        assert bench.slates() == []
        assert len(bench.faults()) == 1
        bench.clock.advance(Micros(10 * SECOND))
        await bench.until(bench.slates)
    assert bench.slates() == [["one"]]


async def test_odds_that_cannot_be_kept_are_told(service: OddsService, tmp_path: Path) -> None:
    service.will(MLB, slate("one"))
    folder = tmp_path / "state"
    bench = Bench(service, folder)
    async with bench.running():
        assert bench.slates() == []
        assert f"{folder / FILE}: cannot be written: No such file" in bench.faults()[0]
        folder.mkdir()
        await bench.until(bench.slates)
    assert bench.slates() == [["one"]]


async def test_a_wrong_event_is_withheld_and_one_without_odds_is_not_mentioned(
    service: OddsService, tmp_path: Path
) -> None:
    bad = make_event(id="bad", bookmakers=[make_bookmaker(prices={CUBS: 120, GIANTS: 105})])
    service.will(MLB, Answer([make_event(id="good"), bad, make_event(id="early", bookmakers=[])]))
    bench = Bench(service, tmp_path)
    async with bench.running():
        (fetched,) = bench.events
    assert [game.game_id for game in fetched.games] == ["good"]
    assert [(game.game_id, game.reason) for game in fetched.withheld] == [
        ("bad", "bookmakers: none of them has usable odds")
    ]


async def test_a_wrong_event_that_has_moved_to_another_place_is_no_news(service: OddsService, tmp_path: Path) -> None:
    def wrong(name: str) -> dict[str, Any]:
        return make_event(id=name, bookmakers=[make_bookmaker(prices={CUBS: 120, GIANTS: 105})])

    good = make_event(id="good")
    service.will(MLB, Answer([good, wrong("a"), wrong("b")]), Answer([wrong("b"), good, wrong("a")]))
    bench = Bench(service, tmp_path, interval=60)
    async with bench.running():
        bench.clock.advance(Micros(60 * SECOND))
        await bench.has_asked(2)
    assert len(bench.events) == 1


async def test_a_large_answer_is_read_beside_the_event_loop(
    service: OddsService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def read(body: bytes, now: datetime) -> ReadOdds:
        threads.append(threading.current_thread().name)
        return read_answer(body, now)

    monkeypatch.setattr(odds_api_feed, "read_answer", read)
    service.will(MLB, slate("one"))
    async with Bench(service, tmp_path).running():
        assert len(threads) == 1
        assert threads != [threading.main_thread().name]


async def test_a_feed_without_a_key_does_not_start(
    service: OddsService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ODDS_API_KEY")
    with pytest.raises(ConfigurationError, match="ODDS_API_KEY is not set"):
        async with Bench(service, tmp_path).running():
            raise AssertionError


async def test_the_key_is_neither_kept_nor_published(service: OddsService, tmp_path: Path) -> None:
    service.will(MLB, slate("one"), Answer({"message": KEY}, 401))
    bench = Bench(service, tmp_path, interval=60)
    async with bench.running():
        bench.clock.advance(Micros(60 * SECOND))
        await bench.until(bench.faults)
    everything = (tmp_path / FILE).read_text() + json.dumps([repr(event) for event in bench.events])
    assert KEY not in everything


@pytest.mark.parametrize(
    ("failed", "failures", "seconds"),
    [
        (Failed("x"), 1, 10),
        (Failed("x"), 3, 40),
        (Failed("x"), 100, 900),
        (Failed("x", retry_after=3), 1, 10),
        (Failed("x", retry_after=4000), 2, 4000),
        (Failed("x", lasting=True), 1, 3600),
    ],
)
def test_a_failed_request_is_repeated_later_and_later(failed: Failed, failures: int, seconds: float) -> None:
    assert odds_api_feed._pause(failed, failures) == seconds  # noqa: SLF001


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sports", []),
        ("sports", ["MLB!"]),
        ("regions", []),
        ("interval", 0),
        ("reserve", -1),
        ("url", "http://example.com"),
    ],
)
def test_wrong_settings_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=key):
        parse(OddsApiSettings, {"sports": [MLB]} | {key: value}, "edges.game_feed")
