"""Sliders for a reader at a live front end, and all panels at once for everybody else.

So a notebook that was executed with nobody watching is complete, and shows no dead controls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from helpers.plots.style import show


def explore(
    draw: Callable[[Sequence], Figure], values: Sequence, name: str, alt: str, start: int = 0
) -> None:
    """Shows all panels side by side or, at a live front end, one panel with a slider.

    Args:
        draw: Makes a figure with one panel per value.
        values: What the slider stops at, in order.
        name: Label of the slider.
        alt: What a reader should take from the figure.
        start: Index of the value at which the slider starts.
    """
    if not is_live():
        show(draw(values), alt)
        return
    import ipywidgets  # type: ignore[import-untyped]

    stops = [(f"{value:g}" if isinstance(value, float) else str(value), value) for value in values]
    slider = ipywidgets.SelectionSlider(
        options=stops, index=start, description=name, continuous_update=False
    )
    slider.style.description_width = "initial"
    ipywidgets.interact(lambda value: show(draw([value]), alt), value=slider)


def is_live() -> bool:
    """Tells whether somebody sits at the notebook, who could move a slider.

    A front end that lets code ask for input says so with each cell; what executes notebooks
    unattended (nbclient, and so nbmake and nbconvert) says that it does not.
    """
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))
