"""The checks of notebook 06 tell a student's usual mistakes by name."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from helpers.checks import AnswerError, n06
from helpers.evaluation import performance


def of_batch(batch, positive):
    return f1_score(*batch, pos_label=positive)


def of_all(batches, positive):
    truth, calls = (np.concatenate(lists) for lists in zip(*batches, strict=True))
    return f1_score(truth, calls, pos_label=positive)


def test_when_another_library_answers_then_f1_is_right():
    n06.f1(of_all)


def mean_of_batches(batches, positive):
    return np.mean([of_batch(batch, positive) for batch in batches])


def weighted_mean(batches, positive):
    sizes = [len(truth) for truth, _ in batches]
    return np.average([of_batch(batch, positive) for batch in batches], weights=sizes)


def accuracy(batches, positive):
    return np.mean([one == call for batch in batches for one, call in zip(*batch, strict=True)])


def interval(one_draw):
    """An answer that draws the two scores of each of its draws in its own way."""

    def answer(first, second, subjects):
        rng = np.random.default_rng(1)
        groups = [np.flatnonzero(subjects == one) for one in np.unique(subjects)]
        draws = [np.subtract(*one_draw(rng, first, second, groups)) for _ in range(1_000)]
        return tuple(np.percentile(draws, [2.5, 97.5]))

    return answer


def some(rng, groups, replace=True):
    return np.concatenate([groups[n] for n in rng.choice(len(groups), len(groups), replace)])


def of_cells(rng, first, second, groups):
    drawn = rng.integers(0, len(first), len(first))
    return first[drawn].mean(), second[drawn].mean()


def of_subjects_apart(rng, first, second, groups):
    return first[some(rng, groups)].mean(), second[some(rng, groups)].mean()


def of_the_same_subjects(rng, first, second, groups):
    drawn = some(rng, groups)
    return first[drawn].mean(), second[drawn].mean()


def without_putting_back(rng, first, second, groups):
    drawn = some(rng, groups, replace=False)
    return first[drawn].mean(), second[drawn].mean()


def turned_round(rng, first, second, groups):
    return of_the_same_subjects(rng, second, first, groups)


def test_when_subjects_are_drawn_by_another_code_then_the_interval_is_right():
    n06.paired_interval(interval(of_the_same_subjects))


def cut_at(choose, score=lambda validation, test: test):
    """An answer that chooses its threshold, and the table that is scored, in its own way."""

    def answer(validation, test):
        threshold = choose(validation, test)
        cells = score(validation, test)
        return threshold, performance.scores(cells, threshold)["balanced_accuracy"]

    return answer


def by_validation(validation, test):
    return performance.choose_threshold(validation)


MISTAKES = {
    "mean over batches": (n06.f1, mean_of_batches, "6 cells weigh like 30"),
    "mean weighted by size": (n06.f1, weighted_mean, "a weighted mean is a mean"),
    "accuracy": (n06.f1, accuracy, "30 are found, 11 missed"),
    "ALL, whatever was named": (n06.f1, lambda b, _: of_all(b, "ALL"), "for HEM, 15 are found"),
    "no root": (n06.ratio_predicted, lambda: 25, "you said 25, not 4.63"),
    "as wide": (n06.ratio_predicted, lambda: 1, "40 answers or 1,000"),
    "words": (n06.ratio_predicted, lambda: "much wider", "expected in numbers"),
    "cells are drawn": (n06.paired_interval, interval(of_cells), "draw whole subjects"),
    "drawn apart": (n06.paired_interval, interval(of_subjects_apart), "the same subjects for both"),
    "not put back": (n06.paired_interval, interval(without_putting_back), "put each back"),
    "second less first": (n06.paired_interval, interval(turned_round), "first less second"),
    "truth values subtracted": (n06.paired_interval, lambda a, b, _: a - b, "TypeError"),
    "tuned on the test": (
        n06.honest,
        cut_at(lambda validation, test: performance.choose_threshold(test)),
        "it has seen them",
    ),
    "the habit of 0.5": (n06.honest, cut_at(lambda *_: 0.5), "elsewhere"),
    "the score of the validation": (
        n06.honest,
        cut_at(by_validation, lambda validation, test: validation),
        "the test cells have",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_mistake_is_made_then_the_hint_says_which(mistake):
    check, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        check(answer)
