"""The door of recorded event logs: read, replay, trace and audit them, in tests and tools.

::

    for file in log_files(state_dir):
        assert Recording(file).replay().equal
"""

from typing import TYPE_CHECKING

from bettensor._doors import open_door

if TYPE_CHECKING:
    from bettensor.bus.eventlog import Header, Row
    from bettensor.bus.replay import Difference
    from bettensor.neurons.pytest_plugin import Replay
    from bettensor.neurons.recordings.audit import Report, audit
    from bettensor.neurons.recordings.inspection import EventFilter, Step, Summary, trace
    from bettensor.neurons.recordings.recording import Recording, Replayed, WhatIf, log_files
else:
    __getattr__, __dir__ = open_door(
        __name__,
        {
            "bettensor.bus.eventlog": ("Header", "Row"),
            "bettensor.bus.replay": ("Difference",),
            "bettensor.neurons.pytest_plugin": ("Replay",),
            "bettensor.neurons.recordings.audit": ("Report", "audit"),
            "bettensor.neurons.recordings.inspection": ("EventFilter", "Step", "Summary", "trace"),
            "bettensor.neurons.recordings.recording": ("Recording", "Replayed", "WhatIf", "log_files"),
        },
    )

__all__ = [
    "Difference",
    "EventFilter",
    "Header",
    "Recording",
    "Replay",
    "Replayed",
    "Report",
    "Row",
    "Step",
    "Summary",
    "WhatIf",
    "audit",
    "log_files",
    "trace",
]
