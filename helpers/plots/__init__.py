"""Every figure of the series: tables and arrays in, a matplotlib figure out.

`style` has the shared look; `data` draws for notebooks 01 and 02, `networks` for 03 to 05,
`scores` for 06 and 07.
"""

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
