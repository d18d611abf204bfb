"""Checks of notebook 04: what layers see and weigh, and what a score is worth that was chosen."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from helpers.checks import Steps, check

SEEN = {(1,): 3, (2,): 5, (2, 2): 14, (1, 3): 16, (2, 2, 2): 32, (2, 2, 2, 2, 3, 3): 380}
SLIPS = {9: "Poolings count, too", 10: "After a pooling, a step is two px of the image",
         13: "A pooling looks further, too", 16: "No pooling follows the last"}  # fmt: skip
TRIED = {"optimizer": ["sgd"] * 6 + ["adam"] * 6, "learning_rate": [0.02, 0.002, 0.0002] * 4,
         "loss": [0.2, 0.5, 0.6, np.nan, 0.5, 0.6, 0.7, 0.3, 0.4, 0.7, 0.9, 0.4]}  # fmt: skip


@check("each brick looks one step further to each side, and a pooling doubles the steps")
def receptive_field(answer: Callable[[tuple[int, ...]], int]) -> Steps:
    """Checks how many px one value at the end of a stack of blocks depends on."""
    for bricks, seen in SEEN.items():
        found = answer(bricks)
        slip = SLIPS.get(found, "") if bricks == (2, 2) else ""
        yield found != seen, f"blocks of {bricks} bricks: {found} px is not what is seen. {slip}"


@check("the best of a hundred guesses beats a guess, and more so on fewer images")
def predict_best(answer: Callable[[], tuple[float, float]]) -> Steps:
    """Checks a prediction: the best of 100 epochs of a coin, on many and on few images."""
    for images, said in zip((2_120, 106), answer(), strict=True):
        guesses = np.random.default_rng(4).binomial(images, 0.5, (2_000, 100)) / images
        truth = guesses.max(axis=1).mean()
        yield abs(said - truth) > 0.02, f"{images:,} images: you said {said:.1%}, not {truth:.1%}"


@check("a reading of the paper fixes every side and weight, and most weights sit at the end")
def layer_table(answer: Callable[[int, tuple[int, ...]], list[tuple[int, int]]]) -> Steps:
    """Checks the seventeen layers of a reading of the paper that is not the notebook's."""
    bricks, sides = (1, 2, 2, 3, 3, 3), [96, 48, 48, 24, 24] + [12] * 3 + [6] * 3 + [3] * 3
    widths = [3, *np.repeat([32, 64, 128, 256, 384, 512], bricks)]
    due = [(side, (9 * widths[n] + 1) * widths[n + 1]) for n, side in enumerate(sides)]
    due += [(1, 9 * 512 * 512 + 512), (1, 512 * 256 + 256), (1, 256 * 2 + 2)]
    found = list(answer(96, bricks))
    yield len(found) != 17, f"your table has {len(found)} layers, not 14 and 3"
    for n, ((side, weights), right) in enumerate(zip(found, due, strict=True), 1):
        facts = f"side {side - right[0]:+} px, weights {weights - right[1]:+,} of {right[1]:,}"
        yield (side, weights) != right, f"96 px, blocks of {bricks}: layer {n} is off by {facts}"


@check("both classes weigh the same in the loss, and the loss as a whole as much as before")
def class_weights(answer: Callable[[np.ndarray], dict[int, float]]) -> Steps:
    """Checks the weights of two unequal classes."""
    weights = answer(np.repeat([1, 0, 1], [20, 10, 10]))
    yield set(weights) != {0, 1}, f"Keras asks by the numbers 0 and 1, not by {list(weights)}"
    hem, leukemic = 10 * weights[0], 30 * weights[1]
    facts = f"10 HEM weigh {hem:.3g} together, 30 ALL {leukemic:.3g}"
    yield not np.isclose(hem, leukemic), f"{facts}: that is not the same"
    yield not np.isclose(hem + leukemic, 40), f"{facts}: all 40 should weigh 40"


@check("an optimizer is judged at its own rate, over all seeds, and not where it blew up")
def best_rates(answer: Callable[[pd.DataFrame], dict[str, float]]) -> Steps:
    """Checks which learning rate each optimizer is given on a made-up grid."""
    found = dict(answer(pd.DataFrame(TRIED).sample(12, random_state=4)))
    yield found.get("sgd") == 0.02, "sgd at 0.02: one run ended in nan, which a mean leaves out"
    yield found.get("adam") == 0.002, "adam at 0.002: one run ended at 0.3, but the other at 0.9"
    yield found != {"sgd": 0.002, "adam": 0.0002}, f"{found}: the lowest mean loss is elsewhere"
