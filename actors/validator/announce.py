"""The endpoint that miners dial."""

from dataclasses import field

from bettensor.actors.announce import EndpointActor
from bettensor.actors.settings import AxonSettings, settings_class


@settings_class
class AnnounceSettings:
    """The endpoint to announce."""

    axon: AxonSettings = field(default_factory=AxonSettings)


class AnnounceActor(EndpointActor):
    """Announces where a validator listens."""

    Settings = AnnounceSettings
    settings: AnnounceSettings
    unknown = "no miner finds this validator: the metagraph does not say where it is"
    wrong = "miners dial {known}, as the metagraph says, but this validator's port is {port}"

    @property
    def serving(self) -> AxonSettings:
        """The section ``axon``."""
        return self.settings.axon
