"""Models of a miner: what one is, and those that come with this package."""

from bettensor.neurons.models.file import FilePredictor
from bettensor.neurons.models.kelly import KellyPredictor
from bettensor.neurons.models.model import Forecast, ModelHost, Predictor
from bettensor.neurons.models.program import ProgramPredictor

__all__ = ["FilePredictor", "Forecast", "KellyPredictor", "ModelHost", "Predictor", "ProgramPredictor"]
