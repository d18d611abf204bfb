"""Checks of the exercises to notebook 07: what is shown, what chance shows, and what helps."""

import numpy as np

from helpers.checks import Answer, Steps, check, predicted


@check("'not shown' tells how large an effect may still hide, and never that there is none")
def verdict(answer: Answer) -> Steps:
    """Asks for the word to three intervals, and for the largest effect they leave possible."""
    for low, high, word in ((1.0, 8.0, "helps"), (-9.0, -2.0, "harms"), (-7.0, 4.0, "not shown")):
        said, far = answer(low, high), max(-low, high)
        facts = f"from {low:+} to {high:+} it is {word!r}, and an effect of {far} is possible"
        yield tuple(said) != (word, far), f"{facts}: return a word and a number, not {said!r}"


@check("ask often enough and chance will answer; Holm takes that back")
def chance_predicted(answer: Answer) -> Steps:
    """Draws the p-values of 20 useless ideas, 20,000 times."""
    smallest = np.random.default_rng(0).uniform(size=(20_000, 20)).min(axis=1)
    truths = {"share (all 20 stay silent with 0.95^20)": np.mean(smallest < 0.05)}
    truths["share with Holm (the smallest is below 0.05 / 20)"] = np.mean(smallest < 0.05 / 20)
    yield from predicted(answer(), truths, margin=0.03)


@check("an ensemble errs as much as its average member, less their spread, to the last digit")
def error_parts(answer: Answer) -> Steps:
    """Asks for the three parts of the error of three members on four cells."""
    opinions = np.array([[0.9, 0.8, 0.3, 0.6], [0.6, 0.4, 0.1, 0.2], [0.3, 0.9, 0.2, 0.4]])
    truth = np.array([1.0, 1.0, 0.0, 0.0])
    said, squares = answer(opinions.copy(), truth.copy()), (opinions - truth) ** 2
    yield np.shape(said) != (3,), f"return ensemble, members and spread, not {said!r}"
    parts = np.mean((opinions.mean(0) - truth) ** 2), squares.mean(), opinions.var(0).mean()
    yield np.isclose(said[1], squares.mean(1).min()), "that is the best member: who knows which?"
    yield np.isclose(said[0], parts[1]), "average the opinions first, and then look how they err"
    yield not np.allclose(said, parts), f"they are {np.round(parts, 4)}, not {np.round(said, 4)}"


@check("dye multiplies density, so light becomes a power: glass stays white, dark grows darker")
def restain(answer: Answer) -> Steps:
    """Asks for three grey levels with more dye, with less, and with as much."""
    levels = np.array([255.0, 128.0, 40.0, 0.0])
    for dye in (1.0, 1.5, 0.5):
        said, true = np.asarray(answer(levels.copy(), dye), float), 255 * (levels / 255) ** dye
        told = f"glass stays 255, and {levels} with {dye} times the dye become {true.round(1)}"
        yield np.abs(said - true).max() > 0.01, f"{told}, not {said.round(1)}"


@check("what was turned is turned back before it is averaged, in the opposite order")
def mean_map(answer: Answer) -> Steps:
    """Asks for the mean map of a network that sees brightness, and of one that says 'below'."""
    image, seen = np.random.default_rng(0).uniform(size=(6, 6, 1)), dict[bytes, np.ndarray]()
    found = answer(lambda x: seen.setdefault(x.tobytes(), x.mean(axis=-1)), image.copy())
    yield len(seen) != 8, f"the network was asked about {len(seen)} different views, not 8"
    yield np.shape(found) != (6, 6), f"return one map of 6 x 6 places, not {np.shape(found)}"
    yield not np.allclose(found, image[..., 0]), "not as it was: undo the turn, then the mirror"
    level = np.allclose(answer(lambda view: np.mgrid[:6, :6][0], image.copy()), 2.5)
    yield not level, "who always says 'below' must come out even: take the mean of all eight"
