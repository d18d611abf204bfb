"""The checks of notebook 05 tell a student's usual mistakes by name."""

import numpy as np
import pytest
from scipy import stats

from helpers.checks import AnswerError, n05


def shares(zeros, dead):
    """An answer that measures both shares of each layer in its own way."""
    return lambda layers: ([zeros(x) for x in layers], [dead(x) for x in layers])


def share(x):
    return (x == 0).mean()


def gone(x):
    return (x.max(axis=(0, 1, 2)) == 0).mean()


def cam(weigh, add, scale=lambda x: x / x.max()):
    """An answer that weighs and adds the channels in its own way."""
    return lambda maps, slopes: scale(add(maps * weigh(slopes)))


def mean(slopes):
    return slopes.mean(axis=(0, 1))


def rectified(weighed):
    return np.maximum(weighed.sum(axis=-1), 0)


def compare(tell, shuffle=lambda w: np.random.default_rng(1).permutation(w)):
    """An answer that tells in its own way whether two maps differ."""
    return lambda draw, picture, w: tell(draw(picture, w), draw(picture, shuffle(w)))


def differ(one, other):
    return stats.spearmanr(one.ravel(), other.ravel()).statistic < 0.5


def in_place(draw, picture, weights):
    shuffled = weights
    np.random.default_rng(1).shuffle(shuffled)
    return differ(draw(picture, weights), draw(picture, shuffled))


MISTAKES = {
    "dead on one cell": (
        n05.zeros_and_dead,
        shares(share, lambda x: (x.max(axis=(1, 2)) == 0).mean()),
        "silent on some cells and speaks on another is alive",
    ),
    "lowest instead of loudest": (
        n05.zeros_and_dead,
        shares(share, lambda x: (x.min(axis=(0, 1, 2)) == 0).mean()),
        "alive",
    ),
    "counts, no shares": (
        n05.zeros_and_dead,
        shares(lambda x: (x == 0).sum(), gone),
        "at zero are",
    ),
    "a pair per layer": (
        n05.zeros_and_dead,
        lambda layers: [(share(x), gone(x)) for x in layers],
        "two lists, a number per layer",
    ),
    "the dead as a count": (
        n05.zeros_and_dead,
        shares(share, lambda x: gone(x) * 0),
        "dead are 0, 1 and 0 of 8",
    ),
    "zeros are learned": (n05.zeros_predicted, lambda: (0.0, 0.6), "no black.*-0.5 off"),
    "black does not count": (n05.zeros_predicted, lambda: (0.5, 0.5), "^black.*-0.3 off"),
    "one number": (n05.zeros_predicted, lambda: 0.5, "expected in numbers"),
    "nothing": (n05.zeros_predicted, lambda: (float("nan"), 0.8), "nan off"),
    "negative places": (
        n05.grad_cam,
        cam(mean, lambda x: x.sum(axis=-1)),
        "where a place spoke against",
    ),
    "not scaled": (n05.grad_cam, cam(mean, rectified, lambda x: x), "maximum of 1; yours is 3"),
    "slopes not averaged": (n05.grad_cam, cam(lambda s: s, rectified), "one weight, the mean"),
    "rectified before the sum": (
        n05.grad_cam,
        cam(mean, lambda x: np.maximum(x, 0).sum(axis=-1)),
        "sum the channels before",
    ),
    "absolute weights": (
        n05.grad_cam,
        cam(lambda s: np.abs(mean(s)), rectified),
        "sums of 1, -4, 3, 2",
    ),
    "channels not summed": (
        n05.grad_cam,
        cam(mean, lambda x: np.maximum(x, 0)),
        "2 x 2 places, not of shape",
    ),
    "divided by nothing": (
        n05.grad_cam,
        cam(mean, rectified),
        "map is all 0",
    ),
    "any difference counts": (
        n05.believable,
        compare(lambda one, other: not np.allclose(one, other)),
        "only brighter or darker",
    ),
    "shuffled in place": (n05.believable, in_place, "shuffled weights change its shape"),
    "every map is believed": (n05.believable, lambda *_: True, "it draws edges"),
    "alike instead of different": (
        n05.believable,
        compare(lambda one, other: not differ(one, other)),
        "you say False",
    ),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_mistake_is_made_then_the_hint_says_which(mistake):
    check, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        check(answer)
