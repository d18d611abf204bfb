"""Checks of notebook 02: copies, the cells they are copies of, and what turning does to them."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
from PIL import Image

from helpers.augment.augmentation import Operations, apply
from helpers.checks import Steps, check

# A letter is a cell, a letter with a number a copy of it.
PARTS = {"train": "a b1 c2", "test": "a1 b c1 d e e1 f1", "validation": "c f"}
POSES = {path: side for side, paths in PARTS.items() for path in paths.split()}


@check("who copies each cell once and splits then has seen four of five test images before")
def predict_known(answer: Callable[[], float]) -> Steps:
    """Checks a prediction: the share of test images known, if cells are copied and then split."""
    said, in_training = answer(), np.random.default_rng(1).random((4000, 2)) < 0.8
    yield isinstance(said, str) or not 0 <= said <= 1, f"give a share from 0 to 1. Yours: {said!r}"
    truth = in_training[:, ::-1][~in_training].mean()
    facts = f"of {(~in_training).sum():,} test images, training held {truth:.1%} in the other pose"
    yield abs(said - truth) > 0.03, f"you said {said:.1%}, {abs(said - truth):.1%} off; {facts}"


@check("an original is known by its copies, a copy by its original, and copies by each other")
def known(answer: Callable[[pd.DataFrame], set[str]]) -> Steps:
    """Checks which test images of a made-up table have another pose in the training part."""
    table = pd.DataFrame({"path": list(POSES), "split": POSES.values()}, dtype="str")
    table["source"] = table["path"].str[0].where(table["path"].str.len() > 1)
    found = answer(table.sample(len(table), random_state=2))
    yield not isinstance(found, set), f"return a set of paths, not {type(found).__name__}"
    for path, side in POSES.items():
        poses = [p for p, s in POSES.items() if s == "train" and p[0] == path[0]]
        facts = f"training holds {' and '.join(poses) or 'no pose'} of the cell {path[0]}"
        said, right = path in found, side == "test" and bool(poses)
        yield said != right, f"you {'named' if said else 'forgot'} {path}, a {side} image: {facts}"


@check("a ruler and many tries tell whether an operation keeps the size of a cell")
def zooms(answer: Callable[[Operations.Operation], bool]) -> Steps:
    """Checks who finds out which of Augmentor's operations change the size of what is shown."""
    turns = [Operations.Rotate(1, -1), Operations.RotateStandard(1, 180, 180)]
    scales = [Operations.RotateRange(1, 25, 25), Operations.Zoom(1, 0.8, 0.8)]
    for operation in (*turns, *scales, Operations.RotateRange(0.07, 25, 25)):
        found, kind = answer(operation), f"{type(operation).__name__} with {vars(operation)}"
        yield not isinstance(found, bool | np.bool_), f"return True or False, not {found!r}"
        yield found and operation in turns, f"{kind} keeps the size, but for a pixel at the rim"
        yield not found and operation not in turns, f"{kind} changes the size, if not in each try"


@check("eight positions, equally often, and not one pixel that was not there before")
def exact(answer: Callable[[], list[Operations.Operation]]) -> Steps:
    """Checks operations that make the eight positions of a square at even chances."""
    picture, operations = np.arange(27, dtype=np.uint8).reshape(3, 3, 3) * 9, answer()
    eight = {np.rot90(side, k).tobytes() for side in (picture, picture[::-1]) for k in range(4)}
    tries = (apply(Image.fromarray(picture), operations, f"{n}") for n in range(1600))
    drawn = Counter(np.asarray(copy).tobytes() for copy in tries)
    yield not set(drawn) <= eight, "a copy has pixels that no original has: something mixes them"
    yield len(drawn) < 8, f"only {len(drawn)} of the eight positions ever come up"
    uneven = not all(130 < count < 270 for count in drawn.values())
    yield uneven, f"the positions came {sorted(drawn.values())} times; 200 times each is even"
