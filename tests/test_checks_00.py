"""The exercises of notebook 00: typical mistakes are told why."""

import numpy as np
import pytest

from helpers.checks import AnswerError, n00


def images_alone(x, y, seed):
    return x[np.random.default_rng(seed).permutation(len(y))], y


def an_order_each(x, y, seed):
    rng = np.random.default_rng(seed)
    return rng.permutation(x), rng.permutation(y)


def in_place(x, y, seed):
    for part in (x, y):
        np.random.default_rng(seed).shuffle(part)
    return x, y


def without_seed(x, y, seed):
    order = np.random.default_rng().permutation(len(y))
    return x[order], y[order]


def always_the_same(x, y, seed):
    return in_place(x.copy(), y.copy(), 0)


def drawn_with_putting_back(x, y, seed):
    rows = np.random.default_rng(seed).integers(len(y), size=len(y))
    return x[rows], y[rows]


SHUFFLES = {
    images_alone: "label of another",
    an_order_each: r"\d\d of 30 cells have got the label of another",
    in_place: "changed the arrays given",
    without_seed: "seed 1 gave two orders",
    always_the_same: "seed is not used",
    drawn_with_putting_back: "some cells are lost",
    lambda x, y, seed: x: "return both",
}


@pytest.mark.parametrize(("wrong", "said"), SHUFFLES.items())
def test_when_pairs_are_not_kept_in_a_new_order_then_the_check_says_so(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n00.shuffle(wrong)


@pytest.mark.parametrize(
    ("said", "hint"),
    [(0.1, r"you said 0.1, not 0.01: \+0.09 off"), (0.001, "not 0.01: -0.009 off"), (10, "9.99"),
     (-100, "-100 off"), ("0.01", "in numbers: .* returned '0.01'"), (None, "returned None")],
)  # fmt: skip
def test_when_the_predicted_rate_is_far_off_then_the_check_says_how_far(said, hint):
    with pytest.raises(AnswerError, match=hint):
        n00.rate(lambda: said)


def test_when_the_predicted_rate_is_near_then_it_is_right():
    assert n00.rate(lambda: 0.012)


def roller(forget=False, in_place=False, uphill=False, ahead=False, no_start=False, half=False):
    """Descent with momentum, and with mistakes."""

    def roll(slope, start, rate, steps, keep):
        w, v, path = start, np.zeros(len(start)), [start]
        for _ in range(steps):
            v = (0 if forget else 0.5 if half else keep) * v
            v = v - rate * slope(w + v if ahead else w) * (-1 if uphill else 1)
            if in_place:
                w += v
            else:
                w = w + v
            path.append(w)
        return np.array(path[1:] if no_start else path)

    return roll


ROLLS = {
    "forget": "forgotten the first",
    "in_place": "begins at .* no `\\+=`",
    "uphill": r"step 1 leads to \[9, 0\], not to \[11",
    "ahead": "step 2 leads",
    "no_start": r"shape \(4, 2\), not \(3, 2\)",
    "half": "step 2 leads",
}


@pytest.mark.parametrize(("mistake", "said"), ROLLS.items())
def test_when_steps_are_not_remembered_rightly_then_the_check_says_which(mistake, said):
    with pytest.raises(AnswerError, match=said):
        n00.momentum(roller(**{mistake: True}))


def test_when_momentum_is_written_in_another_form_then_it_is_right():
    def roll(slope, start, rate, steps, keep):
        w, gathered, path = list(start), [0.0, 0.0], [list(start)]
        for _ in range(steps):
            gathered = [keep * g + s for g, s in zip(gathered, slope(np.array(w)), strict=True)]
            w = [place - rate * g for place, g in zip(w, gathered, strict=True)]
            path.append(w)
        return path

    assert n00.momentum(roll)


def sizes_alone(gradient, loss, w):
    return bool(abs(np.linalg.norm(gradient) - np.linalg.norm(numbers(loss, w))) < 1e-6)


def first_alone(gradient, loss, w):
    return bool(abs(gradient[0] - numbers(loss, w)[0]) < 1e-6)


def numbers(loss, w, step=1e-5):
    sides = step * np.eye(len(w))
    return np.array([(loss(w + side) - loss(w - side)) / (2 * step) for side in sides])


AGREE = {
    lambda gradient, loss, w: bool(
        loss(w - 0.01 * gradient) < loss(w)
    ): "say False of one that leaves out the slope of tanh, not True",
    lambda gradient, loss, w: bool(
        np.all(gradient == numbers(loss, w))
    ): "say True of one that is right, not False",
    lambda gradient, loss, w: gradient - numbers(loss, w): r"say False of .*, not \[",
    lambda gradient, loss, w: np.allclose(gradient, numbers(loss, w), rtol=0.05): "off by 1 %",
    sizes_alone: "wrong sign",
    first_alone: "last number",
}


@pytest.mark.parametrize(("wrong", "said"), AGREE.items())
def test_when_a_wrong_gradient_is_believed_then_the_check_names_the_bug(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n00.agrees(wrong)


def test_when_all_weights_are_nudged_at_once_then_two_swapped_numbers_betray_it():
    def at_once(given, loss, w):
        slope = (loss(w + 1e-5) - loss(w - 1e-5)) / 2e-5
        return bool(np.isclose(slope, given.sum(), rtol=1e-4))

    with pytest.raises(AnswerError, match="two numbers swapped"):
        n00.agrees(at_once)
