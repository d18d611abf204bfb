"""Checks of the exercises to notebook 05: zeros, a map by hand, and whether to believe it."""

import numpy as np

from helpers.checks import Answer, Steps, check, differs, predicted


@check("zeros are counted over values, the dead over all cells: a channel that spoke once is alive")
def zeros_and_dead(answer: Answer) -> Steps:
    """Asks about three made-up layers; one has a dead channel, and one that speaks once."""
    # Layers, cells, height, width, channels:
    layers = np.maximum(np.random.default_rng(0).normal([0.5, 0, -0.4], 1, (8, 5, 5, 4, 3)), 0).T
    layers[1, ..., 0] = layers[1, :3, ..., 1] = 0
    said, true = answer(list(layers.copy())), (layers == 0).mean(axis=(1, 2, 3, 4)).round(3)
    yield np.shape(said) != (2, 3), f"return two lists, a number per layer: yours is {said!r}"
    zeros, dead = np.round(said, 3)
    yield not np.allclose(zeros, true), f"at zero are {true} of three layers, and you say {zeros}"
    yield dead[1] > 0.13, "a channel that is silent on some cells and speaks on another is alive"
    yield not np.allclose(dead, [0, 0.125, 0]), f"dead are 0, 1 and 0 of 8; you say {dead}"


@check("about half is at zero before anything was learned, and the black comes on top of that")
def zeros_predicted(answer: Answer) -> Steps:
    """Compares two predicted shares with those of 2,000 random filters."""
    rng = np.random.default_rng(0)
    silent = rng.uniform(0.2, 1, (500, 3)) @ rng.normal(size=(3, 2_000)) <= 0
    black = np.mean(silent | (np.arange(500) < 300)[:, None])
    truths = {"no black (half are below 0)": silent.mean(), "black (each answers 0)": black}
    yield from predicted(answer(), truths, margin=0.05)


@check("slopes are averaged, channels are summed, and only then is what spoke against set to 0")
def grad_cam(answer: Answer) -> Steps:
    """Asks for a map of 2 x 2 places that was worked by hand, and for an empty one."""
    maps = np.array([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [4.0, 1.0]]])
    slopes = np.array([[[2.0, -1.0], [0.0, -3.0]], [[2.0, -2.0], [0.0, -2.0]]])
    found = np.asarray(answer(maps.copy(), slopes.copy()), float)
    yield found.shape != (2, 2), f"return a map of 2 x 2 places, not of shape {found.shape}"
    yield found.min() < 0, f"where a place spoke against, a map is 0; yours has {found.min():.2f}"
    yield not np.isclose(found.max(), 1), f"scale to a maximum of 1; yours is {found.max():.2f}"
    yield np.isclose(found[1, 1], 0), "a channel has one weight, the mean of its slopes"
    yield np.isclose(found[1, 0], 0.75), "sum the channels before you set to 0 what is below it"
    yield not np.allclose(3 * found, [[1, 0], [3, 2]]), "weights 1 and -2 make sums of 1, -4, 3, 2"
    yield np.any(answer(maps, -(slopes**2))), "where nothing spoke for it, a map is all 0"


@check("a map is worth reading only if other weights would have drawn another one")
def believable(answer: Answer) -> Steps:
    """Asks about three ways to draw a map, of which one asks where the weights look."""
    picture, start = np.random.default_rng(0).uniform(size=(12, 12, 200)), np.linspace(-1, 1, 200)
    for right, why, draw in (
        (True, "shuffled weights change its shape", lambda x, w: x @ w),
        (False, "it draws edges, whatever the weights", lambda x, w: np.gradient(x[..., 0])[0]),
        (False, "shuffled, it is only brighter or darker", lambda x, w: x[..., 0] * np.exp(w[0])),
    ):
        said = answer(draw, picture.copy(), start.copy())
        yield differs(said, right), f"you say {said} of a made-up map, but {why}"
