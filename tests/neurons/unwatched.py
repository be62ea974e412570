"""A system that refuses to watch files, with the errors that watchfiles raises then."""

from typing import Any, Final

import pytest
from watchfiles._rust_notify import WatchfilesRustInternalError

ERRORS: Final[dict[str, Exception]] = {
    "no instance is left": WatchfilesRustInternalError(
        "Error creating recommended watcher: Too many open files (os error 24)"
    ),
    "no watch is left": OSError(
        'OS file watch limit reached. about ["/etc"] (Error { kind: MaxFilesWatch, paths: ["/etc"] })'
    ),
}
REASONS: Final = {
    "no instance is left": "Error creating recommended watcher: Too many open files (os error 24)",
    "no watch is left": "OS file watch limit reached",
}
"""What an operator is told of it."""


def refuse_watches(patch: pytest.MonkeyPatch, why: str = "no instance is left") -> None:
    """From now on every watch fails."""

    def refuse(*_: Any, **__: Any) -> None:
        raise ERRORS[why]

    patch.setattr("watchfiles.main.RustNotify", refuse)
