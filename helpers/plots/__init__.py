"""Every figure of the series: tables and arrays in, a matplotlib figure out.

`style` has the shared look; each notebook has its own module: `foundations` (00), `dataset` (01),
`augment` (02), `networks` (03, 04), `layers` (05), `scores` (06, 07, report).
"""

from helpers.plots.style import image_grid, lines, new_figure, show, show_table

__all__ = ["image_grid", "lines", "new_figure", "show", "show_table"]
