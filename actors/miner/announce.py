"""The endpoint at which existing validators ask a miner over Synapse."""

from dataclasses import field

from bettensor.actors.announce import EndpointActor
from bettensor.actors.settings import MinerSynapseSettings, settings_class


@settings_class
class MinerAnnounceSettings:
    """The endpoint to announce."""

    synapse: MinerSynapseSettings = field(default_factory=MinerSynapseSettings)


class MinerAnnounceActor(EndpointActor):
    """Announces where a miner answers existing validators, if it does."""

    Settings = MinerAnnounceSettings
    settings: MinerAnnounceSettings
    unknown = "no existing validator asks this miner: the metagraph does not say where it is"
    wrong = "existing validators ask at {known}, as the metagraph says, but this miner's Synapse port is {port}"

    @property
    def serving(self) -> MinerSynapseSettings | None:
        """The section ``synapse``, if it is enabled."""
        return self.settings.synapse if self.settings.synapse.enabled else None
