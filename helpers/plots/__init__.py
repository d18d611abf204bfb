"""Every figure of the series: tables and arrays in, a matplotlib figure out.

`style` has the shared look; each notebook has its own module: `foundations` and `interactive`
(00), `dataset` (01), `crop` and `augment` (02), `networks` (03, 04), `layers` (05), `scores` and
`judging` (06), `beyond` (07).
"""

from __future__ import annotations

from helpers.plots.style import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    NEUTRAL,
    PALETTE,
    new_figure,
    show,
    show_table,
)

__all__ = [
    "CLASS_COLOURS",
    "CLASS_MARKERS",
    "NEUTRAL",
    "PALETTE",
    "new_figure",
    "show",
    "show_table",
]
