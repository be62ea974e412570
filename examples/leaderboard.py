"""A handler on the bus: a leaderboard of accepted predictions.

Copy this file beside a validator's YAML file, and name it there. It hears every accepted prediction::

    handlers:
      prediction_accepted: ["leaderboard:on_prediction_accepted"]
"""

from collections import Counter

from bettensor.bus.events import PredictionAccepted

accepted: Counter[str] = Counter()


def on_prediction_accepted(event: PredictionAccepted) -> None:
    """Runs in its own thread, one event after the other: it may be slow, and cannot harm the validator."""
    accepted[event.hotkey] += 1
    best = ", ".join(f"{hotkey[:8]}... {count}" for hotkey, count in accepted.most_common(3))
    print(f"{event.prediction.predicted_outcome} to win {event.prediction.game_id} | leaders: {best}")
