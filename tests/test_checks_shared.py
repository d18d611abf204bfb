"""The steps that the checks of several notebooks share."""

import numpy as np
import pytest

from helpers.checks import differs, named, predicted

SAME = [(3, 3), (np.int64(3), 3), (True, True), (np.True_, True), ([1, 2], (1, 2))]
OTHER = [(4, 3), (3.0, 3), (1, True), ("True", True), (None, 3), ([True], True), ([1, 2], [2, 1])]


@pytest.mark.parametrize(("said", "right"), SAME)
def test_when_value_and_kind_are_the_same_then_nothing_differs(said, right):
    assert not differs(said, right)


@pytest.mark.parametrize(("said", "right"), OTHER)
def test_when_value_or_kind_is_another_then_it_differs(said, right):
    assert differs(said, right)


@pytest.mark.parametrize(
    ("found", "is_due", "is_wrong", "hint"),
    [({"a"}, True, False, ""), (["b"], False, False, ""), ({"a"}, False, True, "named a: facts"),
     ([], True, True, "forgot a: facts"), ("a", True, True, "list or set of names, not str")],
)  # fmt: skip
def test_when_a_name_is_asked_for_then_the_step_says_whether_it_was_due(
    found, is_due, is_wrong, hint
):
    wrong, said = named(found, "a", is_due, "facts")
    assert wrong == is_wrong
    assert hint in said


def first_hint(*asked, **accepted):
    return next((hint for is_wrong, hint in predicted(*asked, **accepted) if is_wrong), "")


@pytest.mark.parametrize(("said", "hint"), [(4.9, ""), (7.1, ""), (7.2, "6: +1.2 off"), (4, "-2")])
def test_when_a_prediction_is_within_its_margin_then_it_is_right(said, hint):
    found = first_hint(said, {"six": 6}, margin=1.1)
    assert hint in found
    assert bool(found) == bool(hint)


@pytest.mark.parametrize(("said", "is_right"), [(3, True), (12, True), (2.9, False), (12.1, False)])
def test_when_a_prediction_is_within_its_factor_then_it_is_right(said, is_right):
    assert (first_hint(said, {"six": 6}, factor=2) == "") == is_right


@pytest.mark.parametrize("said", [6, (6, 5, 4), "65", ("6", "5"), None, (6, None), (True, False)])
def test_when_other_than_two_numbers_are_predicted_then_it_is_said_which_are_expected(said):
    hint = first_hint(said, {"six": 6, "five": 5}, margin=1)
    assert "six; five. You returned" in hint


def test_when_the_second_number_is_nan_then_that_is_not_near():
    assert first_hint((6, float("nan")), {"six": 6, "five": 5}, margin=1).startswith("five: ")
