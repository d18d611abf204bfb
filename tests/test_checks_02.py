"""Notebook 02: its solutions pass the checks, and typical mistakes are told by name."""

import numpy as np
import pytest
from Augmentor import Operations
from PIL import Image

from helpers.augment.augmentation import apply
from helpers.checks import AnswerError, n02


def only_by_source(table):
    """Forgets originals, and takes two missing sources for one."""
    train, test = (table[table["split"] == part] for part in ("train", "test"))
    return set(test.loc[test["source"].isin(train["source"]), "path"])


def only_drawn_from_training(table):
    """Forgets originals that have their copy in training, and copies of one original."""
    train = table.loc[table["split"] == "train", "path"]
    return set(table.loc[(table["split"] == "test") & table["source"].isin(train), "path"])


def whatever_is_on_two_sides(table):
    """Counts the validation part as training."""
    cell = table["source"].fillna(table["path"])
    test = table["split"] == "test"
    return set(table.loc[test & cell.isin(cell[~test]), "path"])


def every_image_of_a_known_cell(table):
    """Names images of all parts."""
    cell = table["source"].fillna(table["path"])
    return set(table.loc[cell.isin(cell[table["split"] == "train"]), "path"])


def ruler(tries, limits, above):
    """A ruler that tries so many keys, and counts pixels above so many levels."""

    def measure(operation):
        rows, columns = np.mgrid[:100, :100] - 49.5
        disc = Image.fromarray(np.uint8(200 * (np.hypot(rows, columns) < 20)))
        copies = [np.asarray(apply(disc, [operation], f"{n}")) for n in range(tries)]
        growth = np.sqrt(
            [(copy > above).sum() / (np.asarray(disc) > above).sum() for copy in copies]
        )
        return bool(growth.min() < limits[0] or growth.max() > limits[1])

    return measure


def rotate_without_crop():
    return [Operations.RotateStandard(1, 180, 180), Operations.Flip(0.5, "LEFT_RIGHT")]


MISTAKES = {
    "percent": ("predict_known", lambda: 80, r"share \(0 to 1\) .*: you said 80, not 0.8"),
    "words": ("predict_known", lambda: "many", "expected in numbers: share .* returned 'many'"),
    "the share of the test part": (
        "predict_known",
        lambda: 0.2,
        "that training held: you said 0.2, not 0.801: -0.601 off",
    ),
    "half of them": ("predict_known", lambda: 0.5, "you said 0.5, not 0.8"),
    "missing equals missing": (
        "known",
        only_by_source,
        "forgot a1: a test image; training holds a of",
    ),
    "originals only": (
        "known",
        only_drawn_from_training,
        "forgot b: a test image; training holds b1 of",
    ),
    "validation": ("known", whatever_is_on_two_sides, "named .*training holds no pose of its cell"),
    "all parts": ("known", every_image_of_a_known_cell, "named a: a train image"),
    "a column": ("known", lambda table: table["path"], "a list or set of names, not Series"),
    "one try": (
        "zooms",
        ruler(1, (0.95, 1.05), 100),
        "'probability': 0.07.*changes the size: True, not False",
    ),
    "larger only": (
        "zooms",
        ruler(100, (0, 1.05), 100),
        "Zoom with.*changes the size: True, not False",
    ),
    "exactly 1": (
        "zooms",
        ruler(100, (1, 1), 0),
        "RotateStandard.*changes the size: False, not True",
    ),
    "a number": ("zooms", lambda operation: 1.0, "changes the size: False, not 1.0"),
    "any angle": ("exact", rotate_without_crop, "something mixes them"),
    "two flips": (
        "exact",
        lambda: [Operations.Flip(0.5, "LEFT_RIGHT"), Operations.Flip(0.5, "TOP_BOTTOM")],
        "only 4 of the eight",
    ),
    "always turned": (
        "exact",
        lambda: [Operations.Rotate(1, -1), Operations.Flip(0.5, "LEFT_RIGHT")],
        "only 6 of the eight",
    ),
    "half turned": (
        "exact",
        lambda: [Operations.Rotate(0.5, -1), Operations.Flip(0.5, "LEFT_RIGHT")],
        "came .* times; 600 times each is even",
    ),
    "not a list": ("exact", lambda: Operations.Rotate(0.75, -1), "ended in TypeError"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_typical_mistake_is_made_then_the_hint_says_what_it_is(mistake):
    name, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        getattr(n02, name)(answer)


def test_when_flips_and_half_turns_make_the_eight_positions_then_that_is_right_too():
    flips = [Operations.Flip(0.5, "LEFT_RIGHT"), Operations.Flip(0.5, "TOP_BOTTOM")]
    assert n02.exact(lambda: [*flips, Operations.Rotate(0.5, 90)])
