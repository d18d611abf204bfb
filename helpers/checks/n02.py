"""Checks of notebook 02: copies, the cells they are copies of, and what turning does to them."""

import numpy as np
import pandas as pd
from PIL import Image

from helpers.augment.augmentation import Operations, apply
from helpers.checks import Answer, Steps, check, differs, named, predicted

# A letter is a cell, a letter with a number a copy of it.
PARTS = {"train": "a b1 c2", "test": "a1 b c1 d e e1 f1", "validation": "c f"}
POSES = {path: side for side, paths in PARTS.items() for path in paths.split()}


@check("who copies each cell once and splits then has seen four of five test images before")
def predict_known(answer: Answer) -> Steps:
    """Checks a prediction: the share of test images known, if cells are copied and then split."""
    in_training = np.random.default_rng(1).random((4000, 2)) < 0.8
    truth = in_training[:, ::-1][~in_training].mean()
    yield from predicted(answer(), {"share (0 to 1) that training held": truth}, margin=0.03)


@check("an original is known by its copies, a copy by its original, and copies by each other")
def known(answer: Answer) -> Steps:
    """Checks which test images of a made-up table have another pose in the training part."""
    table = pd.DataFrame({"path": list(POSES), "split": POSES.values()}, dtype="str")
    table["source"] = table["path"].str[0].where(table["path"].str.len() > 1)
    found = answer(table.sample(len(table), random_state=2))
    for path, side in POSES.items():
        poses = [p for p, s in POSES.items() if s == "train" and p[0] == path[0]]
        facts = f"a {side} image; training holds {' and '.join(poses) or 'no pose'} of its cell"
        yield named(found, path, side == "test" and bool(poses), facts)


@check("a ruler and many tries tell whether an operation keeps the size of a cell")
def zooms(answer: Answer) -> Steps:
    """Checks who finds out which of Augmentor's operations change the size of what is shown."""
    turns = [Operations.Rotate(1, -1), Operations.RotateStandard(1, 180, 180)]
    scales = [Operations.RotateRange(1, 25, 25), Operations.Zoom(1, 0.8, 0.8)]
    for operation in (*turns, *scales, Operations.RotateRange(0.07, 25, 25)):
        found, kind = answer(operation), f"{type(operation).__name__} with {vars(operation)}"
        due = operation not in turns
        yield differs(found, due), f"{kind} changes the size: {due}, not {found!r}"


@check("eight positions, equally often, and not one pixel that was not there before")
def exact(answer: Answer) -> Steps:
    """Checks operations that make the eight positions of a square at even chances."""
    picture, operations = np.arange(27, dtype=np.uint8).reshape(3, 3, 3) * 9, answer()
    eight = {np.rot90(side, k).tobytes() for side in (picture, picture[::-1]) for k in range(4)}
    tries = (apply(Image.fromarray(picture), operations, f"{n}") for n in range(4800))
    drawn = pd.Series([np.asarray(copy).tobytes() for copy in tries]).value_counts()
    yield not eight.issuperset(drawn.index), "some pixels no original has: something mixes them"
    yield len(drawn) < 8, f"only {len(drawn)} of the eight positions ever come up"
    yield np.ptp(drawn) > 150, f"they came {sorted(drawn)} times; 600 times each is even"
