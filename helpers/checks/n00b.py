"""Checks of the exercises of notebook 00b: sizes of maps, weights, and what a neuron sees."""

from itertools import product

import numpy as np

from helpers.checks import Answer, Steps, check, differs, predicted


@check("weights depend on the filter and on the channels, and not on the size of the picture")
def weights(answer: Answer) -> Steps:
    """Compares counts of weights with the sizes of arrays that hold them."""
    for size, channels, filters in [(5, 2, 4), (3, 3, 8), (3, 64, 64), (1, 16, 2)]:
        got, held = answer(size, channels, filters), np.empty((filters, size, size, channels)).size
        layer = f"{filters} filters of {size} x {size} over {channels} channels"
        yield got == held, f"{layer}: not {got}, for each filter has a bias, too"
        yield got == held // channels + filters, f"{layer}: a filter has numbers for each channel"
        yield differs(got, held + filters), f"{layer} have {held + filters:,} weights, not {got!r}"


@check("`valid` loses what no whole tile covers, and `same` rounds up")
def side(answer: Answer) -> Steps:
    """Compares sides of maps with a count of the places at which a tile can lie."""
    for padding, n, size, stride in product(("valid", "same"), (32, 450), (1, 3, 4, 7), (1, 2, 3)):
        truth = len(range(0, n if padding == "same" else n - size + 1, stride))
        got, case = answer(n, size, stride, padding), f"{n} px, tile {size}, stride {stride}"
        yield differs(got, truth), f"{case}, `{padding}`: the tile has {truth} places, not {got!r}"


@check("of four numbers one is above zero nearly always, so pooling fills a map")
def zeros(answer: Answer) -> Steps:
    """Compares a predicted share of zeros with that of random numbers."""
    numbers = np.random.default_rng(0).normal(size=(300, 2, 300, 2))
    truth = 100 * np.mean(np.maximum(numbers, 0).max(axis=(1, 3)) == 0)
    yield from predicted(answer(), {"percent of 90,000 tiles": truth}, margin=2)


@check("what a neuron sees doubles with each block: six blocks see more than 224 px")
def blocks(answer: Answer) -> Steps:
    """Compares numbers of blocks with what 1 to 9 of them see: 6, 16, 36, 76, … px."""
    sees = [1, *(10 * 2**n - 4 for n in range(9))]
    for width in (6, 7, 16, 17, 36, 100, 224, 450, 2):
        got, need = answer(width), sum(seen < width for seen in sees)
        yield differs(got, need), f"{width} px need {need} blocks (see {sees[need]}), not {got!r}"
