"""Checks of the exercises of notebook 00: descent, and gradients that can be believed."""

import numpy as np

from helpers.checks import Answer, Steps, check, differs, predicted


@check("one order for both arrays keeps every cell with its label, and a seed repeats it")
def shuffle(answer: Answer) -> Steps:
    """Asks whether two arrays are put into one new order."""
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30)
    got = [answer(x, y, seed) for seed in (1, 1, 2)]
    yield not all(isinstance(g, tuple | list) and len(g) == 2 for g in got), "return both: `x, y`"
    (mixed, labels), again, other = ([np.array(part) for part in pair] for pair in got)
    yield sorted(labels) != [*range(30)], "some cells are lost, and others are there twice"
    lost = np.sum(mixed[:, 0] != 2 * labels)
    yield lost > 0, f"{lost} of 30 cells have got the label of another. Use one order for both"
    yield list(y) != [*range(30)], "you changed the arrays given. Make new ones, such as x[order]"
    yield list(labels) != list(again[1]), "seed 1 gave two orders. Start anew: default_rng(seed)"
    yield list(labels) == list(other[1]), "seeds 1 and 2 gave the same order: the seed is not used"


@check("ten times the measurement is a hundred times the curvature, so one standardises first")
def rate(answer: Answer) -> Steps:
    """Compares a predicted change of the largest rate with one that is found by trying rates."""
    x, rates = np.random.default_rng(0).normal(size=200), np.geomspace(1e-4, 10, 501)
    curvatures = np.mean([x**2, (10 * x) ** 2], axis=1, keepdims=True)
    ways = np.abs(1 - rates * curvatures) ** 60  # what 60 steps leave: in two bowls, at each rate
    small, large = (rates[left < 1].max() for left in ways)
    yield from predicted(answer(), {"the factor, tried out": large / small}, factor=1.5)


@check("along the valley the steps add up, and across it they cancel")
def momentum(answer: Answer) -> Steps:
    """Asks whether a walk remembers its steps, against one of three steps worked by hand."""
    path = np.array(answer(lambda w: w * [0.2, 2.0], np.array([10.0, 1.0]), 0.5, 3, 0.9))
    yield path.shape != (4, 2), f"the path of 3 steps has shape (4, 2), not {path.shape}"
    yield not np.allclose(path[0], [10, 1]), f"the path begins at {path[0]}, not [10, 1]: no `+=`"
    yield np.allclose(path[2], [8.1, 0]), "the second step has forgotten the first: keep v"
    for n, place in enumerate([[10, 1], [9, 0], [7.2, -0.9], [4.86, -0.81]]):
        yield not np.allclose(path[n], place), f"step {n} leads to {place}, not to {path[n]}"


@check("nudging finds a bug that still points downhill, and one in the last number alone")
def agrees(answer: Answer) -> Steps:
    """Gives a right gradient and three wrong ones of a neuron with tanh."""
    x, w = np.random.default_rng(0).normal(size=(40, 3)), np.array([0.3, -0.7, 0.5])
    flat = x.T @ (2 * (np.tanh(x @ w) - 1)) / 40
    right = x.T @ (2 * (np.tanh(x @ w) - 1) * (1 - np.tanh(x @ w) ** 2)) / 40
    bugs = {"leaves out the slope of tanh": flat, "has the wrong sign": -right}
    bugs |= {"is off by 1 % in its last number": right * [1, 1, 1.01], "is right": right}
    bugs["has two numbers swapped"] = right[[1, 0, 2]]
    for bug, given in bugs.items():
        found = answer(given, lambda w: np.mean((np.tanh(x @ w) - 1) ** 2), w.copy())
        yield differs(found, given is right), f"say {given is right} of one that {bug}, not {found}"
