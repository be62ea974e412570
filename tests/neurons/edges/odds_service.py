"""A service on loopback that answers like The Odds API, or as badly as a test wants."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef+/secret"


@dataclass
class Answer:
    """One answer."""

    body: Any = b""
    """Bytes, or what is sent as JSON."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """One request."""

    sport: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class OddsService:
    """Answers each request for a sport with the next of its answers, and the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}
        self.silence = threading.Event()
        """Set: requests for which there is no answer are over."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def will(self, sport: str, *answers: Answer) -> None:
        self.answers[sport] = list(answers)

    def of(self, sport: str) -> list[Asked]:
        """The requests for one sport."""
        return [asked for asked in self.asked if asked.sport == sport]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        sport = parts.path.removeprefix("/v4/sports/").removesuffix("/odds")
        self.asked.append(Asked(sport, parse_qs(parts.query), dict(handler.headers.items())))
        answers = self.answers.get(sport)
        if answers is None:
            self.silence.wait(20)
            handler.close_connection = True
            return
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(body))} | answer.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(OSError):  # a client may have read enough
            handler.wfile.write(body)

    @contextlib.contextmanager
    def running(self) -> Iterator["OddsService"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.silence.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
