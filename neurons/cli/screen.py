"""What is drawn by rich: no word of a peer is markup, and none moves a cursor, whichever view shows it.

Views build ``ShownText`` and plain strings; ``Screen`` draws them. Both escape what a terminal would obey, so a view
cannot forget it. rich itself takes ``[/x]`` in a string for markup, and writes the escape sequences in it.
"""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from bettensor.bus.text import harmless
from bettensor.neurons.cli import streams


class ShownText(Text):
    """Text in which nothing is obeyed; in place of rich's own."""

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:
        super().__init__(harmless(text), style, **options)

    def append(self, text: Text | str, style: str | Style | None = None) -> "ShownText":
        super().append(harmless(text) if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: Any, **options: Any) -> "ShownText":
        words = cls()
        words.append_text(super().assemble(*parts, **options))
        return words

    def join(self, lines: Iterable[Text]) -> "ShownText":
        words = ShownText()
        words.append_text(super().join(lines))
        return words


class Screen(Console):
    """A console that knows no markup, and writes no control characters but its own.

    Args:
        stderr: write to standard error instead of standard output.
        options: of ``Console``.
    """

    def __init__(self, *, stderr: bool = False, **options: Any) -> None:
        file = streams.beneath(sys.stderr if stderr else sys.stdout)
        super().__init__(**{"file": file} | options, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as it is, in a table or alone."""
        return super().render_str(harmless(text), **options | {"markup": False, "emoji": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is left in any other text is escaped here, at the last door."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)
