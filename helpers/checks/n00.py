"""Checks of the exercises of notebook 00: descent, and gradients that can be believed."""

from collections.abc import Callable

import numpy as np

from helpers.checks import Steps, check


@check("one order for both arrays keeps every cell with its label, and a seed repeats it")
def shuffle(answer: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Steps:
    """Asks whether two arrays are put into one new order."""
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30)
    got = [answer(x, y, seed) for seed in (1, 1, 2)]
    yield not all(isinstance(g, tuple) and len(g) == 2 for g in got), "return both arrays: `x, y`"
    (mixed, labels), again, other = ([np.array(part) for part in pair] for pair in got)
    yield sorted(labels) != [*range(30)], "some cells are lost, and others are there twice"
    lost = np.sum(mixed[:, 0] != 2 * labels)
    yield lost > 0, f"{lost} of 30 cells have got the label of another. Use one order for both"
    yield list(y) != [*range(30)], "you changed the arrays given. Make new ones, such as x[order]"
    yield list(labels) != list(again[1]), "seed 1 gave two orders. Start anew: default_rng(seed)"
    yield list(labels) == list(other[1]), "seeds 1 and 2 gave the same order: the seed is not used"


@check("ten times the measurement is a hundred times the curvature, so one standardises first")
def rate(answer: Callable[[], float]) -> Steps:
    """Compares a predicted change of the largest rate with one that is found by trying rates."""
    said, rates, largest = answer(), np.geomspace(1e-4, 10, 501), []
    yield not isinstance(said, int | float) or said <= 0, f"return a number above 0, not {said!r}"
    for scale in (1, 10):
        x = scale * np.random.default_rng(0).normal(size=(200, 2))
        w = np.ones((501, 2))  # a walk for each rate
        for _ in range(60):
            w = w - rates[:, None] * (w @ x.T @ x / 200)
        largest.append(rates[np.abs(w).max(axis=1) < 1].max())
    truth = largest[1] / largest[0]
    off = max(said / truth, truth / said)
    yield off > 1.5, f"you said x {said:g}; tried out, it is x {truth:.2g}: {off:.0f} times off"


@check("along the valley the steps add up, and across it they cancel")
def momentum(answer: Callable[..., np.ndarray]) -> Steps:
    """Asks whether a walk remembers its steps, against one of three steps worked by hand."""
    path = np.array(answer(lambda w: w * [0.2, 2.0], np.array([10.0, 1.0]), 0.5, 3, 0.9))
    yield path.shape != (4, 2), f"the path of 3 steps has shape (4, 2), not {path.shape}"
    yield not np.allclose(path[0], [10, 1]), f"the path begins at {path[0]}, not [10, 1]: no `+=`"
    yield np.allclose(path[2], [8.1, 0]), "the second step has forgotten the first: keep v"
    for n, place in enumerate([[10, 1], [9, 0], [7.2, -0.9], [4.86, -0.81]]):
        yield not np.allclose(path[n], place), f"step {n} leads to {place}, not to {path[n]}"


@check("nudging finds a bug that still points downhill, and one in the last number alone")
def agrees(answer: Callable[..., bool]) -> Steps:
    """Gives a right gradient and three wrong ones of a neuron with tanh."""
    x, w = np.random.default_rng(0).normal(size=(40, 3)), np.array([0.3, -0.7, 0.5])
    flat = x.T @ (2 * (np.tanh(x @ w) - 1)) / 40
    right = x.T @ (2 * (np.tanh(x @ w) - 1) * (1 - np.tanh(x @ w) ** 2)) / 40
    bugs = {"leaves out the slope of tanh": flat, "has the wrong sign": -right}
    bugs |= {"is off by 1 % in its last number": right * [1, 1, 1.01], "": right}
    for bug, given in bugs.items():
        found = answer(given, lambda w: np.mean((np.tanh(x @ w) - 1) ** 2), w.copy())
        yield not isinstance(found, bool | np.bool_), f"return True or False, not {found!r}"
        yield bool(found and bug), f"you say True of a gradient that {bug}"
        yield not found and not bug, "you say False of a right gradient. Allow a small difference"
