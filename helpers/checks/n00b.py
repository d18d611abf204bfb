"""Checks of the exercises of notebook 00b: sizes of maps, weights, and what a neuron sees."""

from collections.abc import Callable
from itertools import product

import numpy as np

from helpers.checks import Steps, check


@check("weights depend on the filter and on the channels, and not on the size of the picture")
def weights(answer: Callable[[int, int, int], int]) -> Steps:
    """Compares counts of weights with the sizes of arrays that hold them."""
    for size, channels, filters in [(5, 2, 4), (3, 3, 8), (3, 64, 64), (1, 16, 2)]:
        got, held = answer(size, channels, filters), np.empty((filters, size, size, channels)).size
        layer = f"{filters} filters of {size} x {size} over {channels} channels"
        yield not isinstance(got, int), f"return a whole number, not {got!r}"
        yield got == held, f"{layer}: not {got:,}, for each filter has a bias, too"
        yield got == held // channels + filters, f"{layer}: a filter has numbers for each channel"
        yield got != held + filters, f"{layer} have {held + filters:,} weights, not {got}"


@check("`valid` loses what no whole tile covers, and `same` rounds up")
def side(answer: Callable[[int, int, int, str], int]) -> Steps:
    """Compares sides of maps with a count of the places at which a tile can lie."""
    for padding, n, size, stride in product(("valid", "same"), (32, 450), (1, 3, 4, 7), (1, 2, 3)):
        truth = len(range(0, n if padding == "same" else n - size + 1, stride))
        got, case = answer(n, size, stride, padding), f"{n} px, tile {size}, stride {stride}"
        yield not isinstance(got, int), f"{case}: return a whole number, not {got!r}. Use //"
        yield got != truth, f"{case}, `{padding}`: the tile has {truth} places, not {got}"


@check("of four numbers one is above zero nearly always, so pooling fills a map")
def zeros(answer: Callable[[], float]) -> Steps:
    """Compares a predicted share of zeros with that of random numbers."""
    said, numbers = answer(), np.random.default_rng(0).normal(size=(300, 2, 300, 2))
    yield not isinstance(said, int | float), f"return a number of percent, not {said!r}"
    truth = 100 * np.mean(np.maximum(numbers, 0).max(axis=(1, 3)) == 0)
    yield abs(said - truth) > 2, f"you said {said:g} %; of 90,000 tiles it is {truth:.1f} %"


@check("what a neuron sees doubles with each block: six blocks see more than 224 px")
def blocks(answer: Callable[[int], int]) -> Steps:
    """Compares numbers of blocks with what 1 to 9 of them see: 6, 16, 36, 76, … px."""
    sees = [1, *(10 * 2**n - 4 for n in range(9))]
    for width in (6, 7, 16, 17, 36, 100, 224, 450):
        got, need = answer(width), sum(seen < width for seen in sees)
        yield got != need, (f"{width} px need {need} blocks, not {got}: {need - 1} see "
                            f"{sees[need - 1]} px, and {need} see {sees[need]} px")  # fmt: skip
