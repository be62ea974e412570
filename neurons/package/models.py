"""The door of a miner's models: the protocol of a model, and the models that come with this package."""

from typing import TYPE_CHECKING

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor.neurons.models.file import FilePredictor
    from bettensor.neurons.models.kelly import KellyPredictor
    from bettensor.neurons.models.model import Forecast, ModelHost, Predictor
    from bettensor.neurons.models.program import ProgramPredictor
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor.neurons.models.file": ("FilePredictor",),
            "bettensor.neurons.models.kelly": ("KellyPredictor",),
            "bettensor.neurons.models.model": ("Forecast", "ModelHost", "Predictor"),
            "bettensor.neurons.models.program": ("ProgramPredictor",),
        },
    )

__all__ = ["FilePredictor", "Forecast", "KellyPredictor", "ModelHost", "Predictor", "ProgramPredictor"]
