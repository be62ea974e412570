"""Files that come into being in one step."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """A file that does not outlive the block, unless it has another name by then; what is there before goes too."""
    file.unlink(missing_ok=True)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
