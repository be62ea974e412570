"""HTTP as the axon of a miner speaks it: nothing of a body is read before its head is admitted."""

from bettensor.neurons.edges.request_protocol import EXCHANGE_TIMEOUT, RequestProtocol


class AxonProtocol(RequestProtocol):
    """One connection."""

    def on_headers_complete(self) -> None:
        """The head is whole: its deadline is met. Nothing more is read before the application asks for the body."""
        self.lease.until(EXCHANGE_TIMEOUT)
        self.flow.pause_reading()
        super().on_headers_complete()
