"""Notebook 04: its solutions pass the checks, and typical mistakes are told by name."""

import numpy as np
import pytest
from sklearn.utils import compute_class_weight
from solved import solutions

from helpers.checks import AnswerError, n04

SOLVED = solutions("04_proposed_cnn")


def seen(pool=1, factor=2, after_last=False):
    """The rule of two lines, with a slip in it."""

    def field(bricks):
        r, s = 1, 1
        for block, count in enumerate(bricks, 1):
            r += 2 * s * count
            if block < len(bricks) or (after_last and len(bricks) > 1):
                r, s = r + pool * s, s * factor
        return r

    return field


def table(bias=1, poolings=5, flat=lambda side: side * side):
    """The table of the layers, with a slip in it."""

    def layers(side, bricks):
        rows, inputs = [], 3
        for block, filters in enumerate((32, 64, 128, 256, 384, 512)):
            for _ in range(bricks[block]):
                rows.append((side, (9 * inputs + bias) * filters))
                inputs = filters
            side = side // 2 if block < poolings else side
        inputs *= flat(side)
        for units in (512, 256, 2):
            rows.append((1, (inputs + bias) * units))
            inputs = units
        return rows

    return layers


MISTAKES = {
    "a pooling is blind": ("receptive_field", seen(pool=0), "not 13 px. A pooling looks further"),
    "one pooling more": ("receptive_field", seen(after_last=True), "not 16 px. No pooling follows"),
    "steps of one px": (
        "receptive_field",
        seen(factor=1),
        "not 10 px. After a pooling, a step is two px",
    ),
    "convolutions only": (
        "receptive_field",
        lambda bricks: 1 + 2 * sum(bricks),
        r"\(2, 2\) bricks see not 9 px. Poolings count",
    ),
    "no gift": (
        "predict_best",
        lambda: (0.5, 0.5),
        "2,120 images: you said 0.5, not 0.527: -0.027",
    ),
    "one gift": (
        "predict_best",
        lambda: (0.527, 0.527),
        "106 images: you said 0.527, not 0.62",
    ),
    "percent": ("predict_best", lambda: (52.7, 62.2), "you said 52.7, not 0.527"),
    "one number": ("predict_best", lambda: 0.527, "2,120 images; 106 images. You returned 0.527"),
    "the shares": (
        "class_weights",
        lambda labels: {n: np.mean(labels == n) for n in (0, 1)},
        "8 HEM weigh 1.6 together, 32 ALL 25.6; the same is due",
    ),
    "one by n": (
        "class_weights",
        lambda labels: {n: 1 / np.sum(labels == n) for n in (0, 1)},
        "8 HEM weigh 1 together, 32 ALL 1; the same is due, and 40 for all 40",
    ),
    "the other way round": (
        "class_weights",
        lambda labels: {n: len(labels) / (2 * np.sum(labels != n)) for n in (0, 1)},
        "32 ALL 80; the same is due",
    ),
    "names": ("class_weights", lambda labels: {"HEM": 2, "ALL": 2 / 3}, "by the numbers 0 and 1"),
    "no biases": (
        "layer_table",
        table(bias=0),
        r"layer 1 is off by side \+0 px, weights -32 of 896",
    ),
    "no pooling": ("layer_table", table(poolings=0), r"layer 2 is off by side \+48 px"),
    "six poolings": (
        "layer_table",
        table(poolings=6),
        r"layer 15 is off by side \+0 px, weights -2,097,152 of 2,359,808",
    ),
    "means": (
        "layer_table",
        table(flat=lambda side: 1),
        r"layer 15 is off by side \+0 px, weights -2,097,152 of 2,359,808",
    ),
    "no dense layers": ("layer_table", lambda *told: table()(*told)[:14], "has 14 layers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_typical_mistake_is_made_then_the_hint_says_what_it_is(mistake):
    name, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        getattr(n04, name)(answer)


def reached(bricks):
    """Follows one value back, place by place, to all that it depends on."""
    places = {1000}
    for block, count in reversed(list(enumerate(bricks))):
        for _ in range(count):
            places = {place + step for place in places for step in (-1, 0, 1)}
        if block > 0:
            places = {2 * place + step for place in places for step in (0, 1)}
    return len(places)


@pytest.mark.parametrize("bricks", [(2, 2, 2, 2, 3, 3), (1, 2, 2, 3, 3, 3), (2, 2, 3, 3, 2, 2)])
def test_when_a_value_is_followed_back_then_the_rule_has_told_how_far(bricks):
    assert SOLVED["receptive_field"](bricks) == reached(bricks)


def test_when_the_fields_of_the_check_are_followed_back_then_they_are_true():
    assert {bricks: reached(bricks) for bricks in n04.SEEN} == n04.SEEN


def test_when_the_table_is_added_up_then_keras_counts_as_much_in_the_notebook():
    normalisation = 4 * (2 * (32 + 64 + 128 + 256) + 3 * (384 + 512))
    rows = SOLVED["layer_table"](64, (2, 2, 2, 2, 3, 3))
    assert sum(weights for _, weights in rows) + normalisation == 12_397_474


def test_when_224_px_come_in_then_the_first_dense_layer_outweighs_all_convolutions():
    rows = SOLVED["layer_table"](224, (2, 2, 2, 2, 3, 3))
    assert rows[14][1] > sum(weights for _, weights in rows[:14])


def test_when_classes_are_weighed_then_as_scikit_learn_does():
    labels = np.repeat([0, 1], [7, 23])
    balanced = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert SOLVED["class_weights"](labels) == pytest.approx(dict(enumerate(balanced)))
