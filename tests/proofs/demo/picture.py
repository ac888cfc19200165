"""The terminal of a demo's end as an SVG: what `make demo` prints last."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich.console import Console, RenderableType

WIDTH = 116  # columns
# The picture loads nothing: without its fonts it has those of the reader.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def svg(title: str, printed: Sequence[RenderableType]) -> str:
    """Return the picture of a terminal in which this was printed; the same for the same input."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    for each in printed:
        console.print(each, highlight=False)
    return _FONTS.sub("", console.export_svg(title=title, unique_id="demo")) + "\n"
