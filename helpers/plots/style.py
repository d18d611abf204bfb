"""The look that all figures and tables share, and the label that says where the data came from."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with any common colour vision, and in grey print.
CLASS_COLOURS = {"ALL": "#D55E00", "HEM": "#0072B2"}
CLASS_MARKERS = {"ALL": "o", "HEM": "s"}
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
NEUTRAL = "#555555"


def new_figure(
    title: str,
    origin: str,
    *,
    nrows: int = 1,
    ncols: int = 1,
    size: tuple[float, float] = (9.0, 4.0),
    **subplots: Any,
) -> tuple[Figure, Any]:
    """Makes a figure in the series' style, labelled with the origin of its data.

    Args:
        title: Title over the whole figure.
        origin: Where the data came from, such as `Source.note`; printed in the corner.
        nrows: Rows of axes.
        ncols: Columns of axes.
        size: Width and height in inches.
        **subplots: Further arguments of `matplotlib.pyplot.subplots`.

    Returns:
        The figure and its axes, as from `matplotlib.pyplot.subplots`.
    """
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"):
        fig, axes = plt.subplots(nrows, ncols, figsize=size, layout="constrained", **subplots)
    fig.suptitle(title, fontsize=13)
    fig.supxlabel(origin, fontsize=9, style="italic", color=NEUTRAL, x=0.995, ha="right")
    return fig, axes


def show(fig: Figure, alt: str) -> None:
    """Displays a figure once in a notebook, with a text for those who cannot see it.

    Args:
        fig: The figure; it is closed afterwards.
        alt: What a reader should take from the figure, in one or two sentences.

    Raises:
        ValueError: If the text is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError(f"A figure needs an alt text that says what it shows. Received: {alt!r}")
    display(fig, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


def show_table(
    table: pd.DataFrame, caption: str, origin: str, formats: dict[str, str] | None = None
) -> Any:
    """Returns a captioned table for the end of a notebook cell.

    Args:
        table: What to show.
        caption: One sentence over the table, with sample sizes where they matter.
        origin: Where the data came from, such as `Source.note`.
        formats: Format string per column, such as `{"accuracy": "{:.1%}"}`.

    Returns:
        A pandas Styler.
    """
    css = [{"selector": "caption", "props": "caption-side: top; text-align: left; color: inherit"}]
    return (
        table.style.format(formats, na_rep="–")
        .set_caption(f"{caption} ({origin})")
        .set_table_styles(css)
        .set_uuid("t")  # the same bytes each time the notebook is executed
    )
