"""The forms of Synapse over HTTP, as real neurons of bittensor 9 and 10 were heard to send them."""

import json
from typing import Any

import msgspec
import pytest

from bettensor.bus import synapse
from bettensor.bus.errors import Unreadable
from bettensor.bus.games import TeamGamePrediction, UnreadablePrediction, content_digest
from bettensor.bus.identifiers import GameId, Hotkey, Micros, PredictionId, Uid
from bettensor.bus.synapse import Confirmation, Metadata, Query, Result, Terminal
from bettensor.neurons.simulation import make_game, make_prediction

HEARD_GAME: dict[str, Any] = {
    "game_id": "101",
    "team_a": "Boston",
    "team_b": "New York",
    "sport": "baseball",
    "league": "MLB",
    "create_date": "2026-01-01 00:00:00+00:00",
    "last_update_date": "2026-01-01 00:00:00",
    "event_start_date": "2030-01-01T00:00:00+00:00",
    "active": True,
    "outcome": "3",
    "team_a_odds": 1.9,
    "team_b_odds": 2.1,
    "tie_odds": 0.0,
    "can_tie": False,
}
HEARD_PREDICTION: dict[str, Any] = {
    "prediction_id": "5b2e3bb6-6f0a-4d6c-8a0c-90a4b6f7a111",
    "game_id": "101",
    "miner_uid": "5",
    "prediction_date": "2026-11-28T07:25:25.324063+00:00",
    "predicted_outcome": "Boston",
    "predicted_odds": 1.9,
    "team_a": "Boston",
    "team_b": "New York",
    "wager": 10.0,
    "team_a_odds": 1.9,
    "team_b_odds": 2.1,
    "tie_odds": 0.0,
    "model_name": None,
    "confidence_score": None,
    "outcome": "Unfinished",
    "payout": 0.0,
}
ID = HEARD_PREDICTION["prediction_id"]


def packed(kind: str, **parts: Any) -> bytes:
    """A body in which only ``parts`` are given."""
    return json.dumps({"metadata": {"synapse_type": kind, "neuron_uid": "3"}, "extra": 1} | parts).encode()


def read(**changes: Any) -> Any:
    return synapse.read_prediction(ID, HEARD_PREDICTION | changes)


# --- games


def test_a_game_is_read_with_dates_in_any_form_and_no_tie_odds_where_it_cannot_tie() -> None:
    game = synapse.read_game("101", HEARD_GAME)
    assert game.create_date == "2026-01-01T00:00:00.000000Z"
    assert game.last_update_date == game.create_date  # without an offset it is UTC
    assert game.event_start_date == "2030-01-01T00:00:00.000000Z"
    assert (game.tie_odds, game.can_tie, game.outcome) == (None, False, None)
    assert synapse.read_game("101", HEARD_GAME | {"can_tie": True, "tie_odds": 3.5}).tie_odds == 3.5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"game_id": "102"}, "its game_id must be its key"),
        ({"event_start_date": "tomorrow"}, "event_start_date: Invalid isoformat string: 'tomorrow'"),
        ({"event_start_date": "0001-01-01T00:00:00+23:59"}, "event_start_date: '0001-01-01T00:00:00+23:59' is not in"),
        ({"event_start_date": None}, "event_start_date"),
        ({"team_a_odds": None}, "team_a_odds"),
        ({"team_a": "x" * 257}, "team_a"),
        ({"active": "yes"}, "active"),
    ],
)
def test_a_game_that_cannot_be_read_is_left_out_alone(changes: dict[str, Any], reason: str) -> None:
    games = {"101": HEARD_GAME | changes, "7": HEARD_GAME | {"game_id": "7"}, "8": 5}
    query = synapse.read_query(packed("game_data", gamedata_dict=games))
    assert isinstance(query, Query)
    assert [game.game_id for game in query.games] == ["7"]
    assert [entry.key for entry in query.left_out] == ["101", "8"]
    assert reason in query.left_out[0].reason


def test_a_sent_game_is_what_a_miner_reads() -> None:
    game = make_game(tie_odds=None, can_tie=False)
    form = json.loads(msgspec.json.encode(synapse.game_form(game)))
    assert form["tie_odds"] == 0.0
    assert form["outcome"] == "3"
    assert form["event_start_date"].endswith("+00:00")
    assert synapse.read_game(game.game_id, form).team_a_odds == game.team_a_odds


# --- predictions


def test_a_prediction_is_read_as_our_protocol_has_it() -> None:
    prediction = read()
    assert isinstance(prediction, TeamGamePrediction)
    assert prediction.miner_uid == 5
    assert prediction.tie_odds is None
    assert prediction.predicted_outcome == "Boston"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("0", 0), ("1", 1), ("2", 2), ("tie", "Tie"), ("TIE", "Tie"), ("Nobody", "Nobody"), (1, 1), ("3", "3")],
)
def test_outcomes_in_digits_and_ties_in_any_case(said: Any, outcome: Any) -> None:
    assert read(predicted_outcome=said).predicted_outcome == outcome


def test_the_name_of_a_team_is_no_digit_and_no_tie() -> None:
    assert read(team_a="1", predicted_outcome="1").predicted_outcome == "1"
    assert read(team_b="tie", predicted_outcome="tie").predicted_outcome == "tie"


def test_numbers_in_digits_are_numbers() -> None:
    assert read(wager="10", team_a_odds="1.9").wager == 10.0
    assert isinstance(read(wager="ten"), UnreadablePrediction)
    assert isinstance(read(wager="inf"), UnreadablePrediction)


def test_fields_that_do_not_count_change_no_content() -> None:
    same = {content_digest(read(**c)) for c in ({}, {"miner_uid": "x"}, {"stake": 5}, {"outcome": 1}, {"payout": "1"})}
    assert len(same) == 1
    assert content_digest(read(wager=11.0)) not in same


def test_an_unreadable_prediction_has_a_verdict_and_little_content() -> None:
    prediction = read(wager=None, team_a="x" * 5000, team_b=[[[]]])
    assert isinstance(prediction, UnreadablePrediction)
    assert prediction.prediction_id == ID
    assert prediction.content["team_a"] is None
    assert prediction.content["team_b"] is None
    assert prediction.content["game_id"] == "101"


@pytest.mark.parametrize("entry", [5, None, [], {}, HEARD_PREDICTION | {"prediction_id": "other"}])
def test_a_prediction_without_a_readable_id_is_left_out_alone(entry: Any) -> None:
    answer = synapse.read_answer(packed("prediction", prediction_dict={ID: HEARD_PREDICTION, "key": entry}), 10)
    assert [prediction.prediction_id for prediction in answer.predictions] == [ID]
    assert [entry.key for entry in answer.left_out] == ["key"]


def test_an_id_of_other_characters_is_left_out() -> None:
    answer = synapse.read_answer(packed("prediction", prediction_dict={"a b": {"prediction_id": "a b"}}), 10)
    assert answer.predictions == ()


def test_a_sent_prediction_is_what_a_validator_reads() -> None:
    game = make_game()
    prediction = make_prediction(game, predicted_outcome=1, predicted_odds=game.team_b_odds, tie_odds=None)
    form = synapse.prediction_form(prediction, Uid(5))
    assert form["predicted_outcome"] == game.team_b
    assert form["miner_uid"] == "5"
    assert (form["outcome"], form["payout"], form["tie_odds"]) == ("Unfinished", 0.0, 0.0)
    assert form["prediction_date"].endswith("+00:00")
    assert isinstance(synapse.read_prediction(prediction.prediction_id, form), TeamGamePrediction)
    assert synapse.prediction_form(make_prediction(game, predicted_outcome=2), None)["predicted_outcome"] == "Tie"


@pytest.mark.parametrize("date", ["2026-11-28T07:25:25Z", "2026-11-28 07:25:25+00:00", "2026-11-28T08:25:25.000+01:00"])
def test_one_instant_is_one_content_however_it_is_written(date: str) -> None:
    assert content_digest(read(prediction_date=date)) == content_digest(read(prediction_date="2026-11-28T07:25:25"))


def test_a_prediction_that_is_repeated_over_websocket_has_the_same_content() -> None:
    prediction = make_prediction(make_game())
    form = synapse.prediction_form(prediction, Uid(5))
    assert content_digest(synapse.read_prediction(prediction.prediction_id, form)) == content_digest(prediction)


@pytest.mark.parametrize("date", ["yesterday", "", 5, None])
def test_what_is_no_date_stays_as_it_is(date: Any) -> None:
    prediction = read(prediction_date=date)
    said = (
        prediction.content
        if isinstance(prediction, UnreadablePrediction)
        else {"prediction_date": prediction.prediction_date}
    )
    assert said["prediction_date"] == date


# --- whole bodies


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b"[" * 5000 + b"]" * 5000, "not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "deeper than 32"),
        (b"{}", "metadata must be an object"),
        (b'{"metadata": null}', "metadata must be an object"),
        (b'{"metadata": {"synapse_type": "other"}}', "metadata.synapse_type must be"),
        (b'{"metadata": {"synapse_type": ["game_data"]}}', "metadata.synapse_type must be"),
        (b'{"x": [' + b"[]," * synapse.MAX_PARTS + b"0]}", "more than 100000 objects and lists"),
        (b'{"x": [' + b"{}," * synapse.MAX_PARTS + b"0]}", "more than 100000 objects and lists"),
    ],
)
def test_a_body_that_is_none(data: bytes, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        synapse.read_query(data)
    with pytest.raises(Unreadable, match=fault):
        synapse.read_answer(data, 10)


@pytest.mark.parametrize("kind", ["game_data", "confirmation"])
@pytest.mark.parametrize("value", [None, 5, []])
def test_a_query_without_its_part(kind: str, value: Any) -> None:
    with pytest.raises(Unreadable, match="must be an object"):
        synapse.read_query(packed(kind, gamedata_dict=value, confirmation_dict=value))


@pytest.mark.parametrize("kind", ["game_data", "confirmation"])
def test_a_query_with_more_entries_than_an_honest_one_is_not_read(kind: str) -> None:
    entries = {str(number): 0 for number in range(synapse.MAX_ENTRIES)}
    synapse.read_query(packed(kind, gamedata_dict=entries, confirmation_dict=entries))
    entries["one more"] = 0
    with pytest.raises(Unreadable, match="has 25001 entries; at most 25000 are read"):
        synapse.read_query(packed(kind, gamedata_dict=entries, confirmation_dict=entries))


def test_an_answer_without_predictions() -> None:
    nothing = synapse.Answer((), ())
    assert synapse.read_answer(packed("prediction", prediction_dict=None), 10) == nothing
    assert synapse.read_answer(packed("prediction", prediction_dict={}), 10) == nothing
    assert synapse.read_answer(packed("error", error=synapse.NO_PREDICTIONS), 10) == nothing


@pytest.mark.parametrize(
    ("entries", "fault"), [([], "must be an object"), ({"a": 1, "b": 2, "c": 3}, "3 predictions; at most 2 are read")]
)
def test_an_answer_that_counts_as_a_failure(entries: Any, fault: str) -> None:
    with pytest.raises(Unreadable, match=fault):
        synapse.read_answer(packed("prediction", prediction_dict=entries), 2)


def test_a_confirmation_is_read_entry_by_entry() -> None:
    said = {
        "p1": {"success": "True", "message": "fine"},
        "p2": {"success": "False", "message": "Prediction p2 already exists in database"},
        "p3": {"success": "False", "message": "x" * 5000},
        "p4": {"success": True, "message": "not a text"},
        "p5": {"success": "True", "message": None},
        "a b": {"success": "True", "message": ""},
        "p6": 5,
        "miner_stats": {"miner_rank": "3", "miner_current_roi": 0.5, "unknown": "1"},
    }
    confirmation = synapse.read_query(packed("confirmation", confirmation_dict=said))
    assert isinstance(confirmation, Confirmation)
    assert [result.prediction_id for result in confirmation.results] == ["p1", "p2", "p3", "p5"]
    assert [synapse.is_success(result) for result in confirmation.results] == [True, True, False, True]
    assert len(confirmation.results[2].message) == 256
    assert confirmation.stats == {"miner_rank": "3"}
    others: list[dict[str, Any]] = [{}, {"miner_stats": None}, {"miner_stats": {}}]
    for missing in others:
        assert synapse.read_query(packed("confirmation", confirmation_dict=missing)) == Confirmation((), {})


def test_a_sent_confirmation_is_what_a_miner_reads() -> None:
    results = (Result(PredictionId("p1"), True, "accepted"), Result(PredictionId("p2"), False, "invalid_wager: no"))
    stats = synapse.stats_form(Micros(1_780_000_000_000_000))
    form = synapse.confirmation_form(results, stats)
    assert set(form["miner_stats"]) == set(synapse.STATS)
    assert all(form["miner_stats"][f"miner_{name}"].isdecimal() for name in ("rank", "current_tier"))
    assert form["miner_stats"]["miner_last_prediction_date"] == "2026-05-28T20:26:40.000000+00:00"
    assert synapse.stats_form(None)["miner_last_prediction_date"] == "0"
    assert synapse.read_query(packed("confirmation", confirmation_dict=form)) == Confirmation(results, stats)


def test_a_body_has_the_keys_and_the_order_of_a_real_one() -> None:
    dendrite = Terminal(Hotkey("V"), "203.0.113.9", None, synapse.VERSION, 1, "uuid", "0x00")
    metadata = Metadata("id", Uid(3), Micros(0), "game_data")
    games = {GameId("101"): synapse.game_form(synapse.read_game("101", HEARD_GAME))}
    sent = json.loads(synapse.body(12, dendrite, Terminal(Hotkey("M"), "127.0.0.1", 9), metadata, games=games))
    assert list(sent) == [
        "name",
        "timeout",
        "total_size",
        "header_size",
        "dendrite",
        "axon",
        "computed_body_hash",
        "metadata",
        "gamedata_dict",
        "prediction_dict",
        "confirmation_dict",
        "error",
        "synapse_type",
    ]
    assert list(sent["dendrite"]) == list(sent["axon"])
    assert sent["dendrite"]["nonce"] == 1
    assert sent["metadata"] == {
        "synapse_id": "id",
        "neuron_uid": "3",
        "timestamp": "1970-01-01T00:00:00.000000+00:00",
        "subnet_version": "2041",
        "synapse_type": "game_data",
    }
    assert list(sent["gamedata_dict"]["101"]) == list(HEARD_GAME)


@pytest.mark.parametrize(
    ("predictions", "kind", "error"),
    [
        ((make_prediction(prediction_id="p1"),), "prediction", None),
        ((), "error", "No predictions available"),
        (None, "confirmation", None),
    ],
)
def test_an_answer_is_of_the_kind_that_was_asked_for(
    predictions: tuple[TeamGamePrediction, ...] | None, kind: str, error: str | None
) -> None:
    terminals = Terminal(Hotkey("v")), Terminal(Hotkey("m"))
    said = json.loads(synapse.answer(12.0, *terminals, predictions, synapse_id="an id", uid=Uid(5), at=Micros(0)))
    assert (said["metadata"]["synapse_type"], said["error"]) == (kind, error)
    assert list(said["prediction_dict"] or ()) == [p.prediction_id for p in predictions or ()]
    assert [form["miner_uid"] for form in (said["prediction_dict"] or {}).values()] == ["5"] * len(predictions or ())


def test_a_refusal_is_the_message_that_a_dendrite_reads() -> None:
    assert json.loads(synapse.refusal("no such path")) == {"message": "no such path"}


def test_a_head_has_the_names_and_the_order_of_a_real_one() -> None:
    sender = Terminal(Hotkey("V"), "203.0.113.9", None, synapse.VERSION, 17, "uuid", "0xab")
    head = synapse.head(3, sender, Terminal(Hotkey("M"), "127.0.0.1", 21540))
    assert head[:4] == [
        ("name", "GameData"),
        ("timeout", "3.0"),
        ("bt_header_axon_ip", "127.0.0.1"),
        ("bt_header_axon_port", "21540"),
    ]
    assert dict(head)["bt_header_dendrite_signature"] == "0xab"
    assert head[-1] == (
        "computed_body_hash",
        "a7ffc6f8bf1ed76651c14756a061d662f580ff4de43b49fa82d80a4b80f8434a",
    )
    assert synapse.signed_text("17", "V", "M", "uuid") == f"17.V.M.uuid.{synapse.BODY_HASH}".encode()
