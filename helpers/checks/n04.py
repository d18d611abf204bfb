"""Checks of notebook 04: what layers see and weigh, and what a score is worth that was chosen."""

import numpy as np

from helpers.checks import Answer, Steps, check, predicted

SEEN = {(1,): 3, (2,): 5, (2, 2): 14, (1, 3): 16, (2, 2, 2): 32, (2, 2, 2, 2, 3, 3): 380}
SLIPS = {9: "Poolings count, too", 10: "After a pooling, a step is two px of the image",
         13: "A pooling looks further, too", 16: "No pooling follows the last"}  # fmt: skip


@check("each brick looks one step further to each side, and a pooling doubles the steps")
def receptive_field(answer: Answer) -> Steps:
    """Checks how many px one value at the end of a stack of blocks depends on."""
    for bricks, seen in SEEN.items():
        found = answer(bricks)
        yield found != seen, f"blocks of {bricks} bricks see not {found} px. {SLIPS.get(found, '')}"


@check("the best of a hundred guesses beats a guess, and more so on fewer images")
def predict_best(answer: Answer) -> Steps:
    """Checks a prediction: the best of 100 epochs of a coin, on many and on few images."""
    rng = np.random.default_rng(4)
    many, few = (rng.binomial(n, 0.5, (2_000, 100)).max(axis=1).mean() / n for n in (2_120, 106))
    yield from predicted(answer(), {"2,120 images": many, "106 images": few}, margin=0.02)


@check("a reading of the paper fixes every side and weight, and most weights sit at the end")
def layer_table(answer: Answer) -> Steps:
    """Checks the seventeen layers of a reading of the paper that is not the notebook's."""
    bricks, sides = (1, 2, 2, 3, 3, 3), [96, 48, 48, 24, 24, *np.repeat([12, 6, 3, 1], 3)]
    widths = np.array([3, *np.repeat([32, 64, 128, 256, 384, 512], bricks), 512, 256, 2])
    due = (np.repeat([9, 1], [15, 2]) * widths[:-1] + 1) * widths[1:]  # 3 x 3 places come in
    found = list(answer(96, bricks))
    yield len(found) != 17, f"your table has {len(found)} layers, not 14 and 3"
    for n, (side, weights) in enumerate(np.array(found) - np.c_[sides, due]):
        facts = f"side {side:+} px, weights {weights:+,} of {due[n]:,}"
        yield any((side, weights)), f"96 px, blocks of {bricks}: layer {n + 1} is off by {facts}"


@check("both classes weigh the same in the loss, and the loss as a whole as much as before")
def class_weights(answer: Answer) -> Steps:
    """Checks the weights of two unequal classes."""
    weights = answer(np.repeat([1, 0, 1], [20, 8, 12]))
    yield set(weights) != {0, 1}, f"Keras asks by the numbers 0 and 1, not by {list(weights)}"
    hem, leukaemic = 8 * weights[0], 32 * weights[1]
    facts = f"8 HEM weigh {hem:.3g} together, 32 ALL {leukaemic:.3g}"
    yield not np.allclose([hem, leukaemic], 20), f"{facts}; the same is due, and 40 for all 40"
