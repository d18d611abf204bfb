"""The checks of notebook 07 tell a student's usual mistakes by name."""

import numpy as np
import pytest
from solved import solutions

from helpers import feed
from helpers.augment import stain
from helpers.checks import AnswerError, n07

SOLVED = solutions("07_beyond_the_paper")


@pytest.mark.parametrize("position", range(feed.POSITIONS))
def test_when_an_image_is_turned_in_the_exercise_then_as_the_series_turns_it(position):
    image = np.arange(27).reshape(3, 3, 3)
    assert (SOLVED["turn"](image, position) == feed.turn(image[None], position)[0]).all()


def test_when_the_series_stains_anew_then_the_exercise_says_the_same():
    image = np.full((450, 450, 3), 90, np.uint8)
    there = stain.as_seen_in(image, (1.5,) * 3, (1.0,) * 3)[225, 225, 0]
    assert there == round(SOLVED["restain"](np.array([90.0]), 1.5)[0])


def word(low, high, at=lambda low, high: (low, high)):
    low, high = at(low, high)
    return "helps" if low > 0 else "harms" if high < 0 else "not shown"


def far(low, high):
    return max(-low, high)


def parts(mean=lambda o: o.mean(axis=0), member=np.mean, power=2, share=1):
    """An answer that makes one of the three parts in its own way."""

    def answer(opinions, truth):
        errors = ((opinions - truth) ** 2).mean(axis=1)
        spread = np.mean(np.abs(opinions - opinions.mean(axis=0)) ** power)
        return ((mean(opinions) - truth) ** 2).mean(), member(errors), spread * share

    return answer


def error_of_each(opinions, truth):
    errors = ((opinions - truth) ** 2).mean()
    return errors, errors, 0.0


def views(back, positions=range(8), mean=np.mean):
    """An answer that undoes and combines the eight views in its own way."""

    def answer(draw, image):
        turned = [(position, draw(SOLVED["turn"](image, position))) for position in positions]
        return mean([back(one, position) for position, one in turned], axis=0)

    return answer


def undone(one, position):
    one = np.rot90(one, -(position % 4))
    return one[:, ::-1] if position >= 4 else one


def mirrored_first(one, position):
    return np.rot90(one[:, ::-1] if position >= 4 else one, -(position % 4))


def turned_on(one, position):
    one = np.rot90(one, position % 4)
    return one[:, ::-1] if position >= 4 else one


MISTAKES = {
    "the middle decides": (
        n07.verdict,
        lambda low, high: (word(low, high, lambda a, b: (a + b, a + b)), far(low, high)),
        "is 'not shown'.*not .'harms'",
    ),
    "no effect": (
        n07.verdict,
        lambda low, high: (word(low, high).replace("not shown", "no effect"), far(low, high)),
        "is 'not shown'.*not .'no effect'",
    ),
    "upper end only": (n07.verdict, lambda a, b: (word(a, b), b), "an effect of 9.0 is possible"),
    "width": (n07.verdict, lambda a, b: (word(a, b), b - a), "an effect of 8.0 is possible"),
    "word only": (n07.verdict, word, "a word and a number"),
    "one in twenty": (n07.chance_predicted, lambda: (0.05, 0.05), "all 20.*-0.591 off"),
    "certain": (n07.chance_predicted, lambda: (20 * 0.05, 0.05), r"\+0.359 off"),
    "Holm changes nothing": (n07.chance_predicted, lambda: (0.64, 0.64), "0.05 / 20"),
    "Holm takes all": (n07.chance_predicted, lambda: (0.64, 0.0), "with Holm.*-0.05 off"),
    "best member": (n07.error_parts, parts(member=np.min), "that is the best member"),
    "mean of errors twice": (n07.error_parts, error_of_each, "average the opinions first"),
    "majority": (
        n07.error_parts,
        parts(mean=lambda opinions: (opinions > 0.5).mean(axis=0) > 0.5),
        "they are",
    ),
    "distance not squared": (n07.error_parts, parts(power=1), "they are"),
    "spread of a sample": (n07.error_parts, parts(share=3 / 2), "they are"),
    "less light": (n07.restain, lambda image, dye: image / dye, "glass stays 255"),
    "inverse power": (n07.restain, lambda x, d: 255 * (x / 255) ** (1 / d), "1.5 times the dye"),
    "power without a scale": (n07.restain, lambda x, d: x**d, "glass stays 255"),
    "not undone": (n07.mean_map, views(lambda one, _: one), "undo the turn, then the mirror"),
    "undone in the same order": (n07.mean_map, views(mirrored_first), "undo the turn"),
    "turned on": (n07.mean_map, views(turned_on), "undo the turn"),
    "four views": (n07.mean_map, views(undone, range(4)), "4 different views"),
    "largest": (n07.mean_map, views(undone, mean=np.max), "come out even"),
    "sum": (n07.mean_map, views(undone, mean=np.sum), "not as it was"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_mistake_is_made_then_the_hint_says_which(mistake):
    check, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        check(answer)
