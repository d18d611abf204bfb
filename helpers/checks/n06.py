"""Checks of the exercises to notebook 06: which class, whose cells, and who chose the threshold."""

from copy import deepcopy

import numpy as np
import pandas as pd

from helpers.checks import Answer, Steps, check, predicted
from helpers.evaluation.performance import choose_threshold, scores


@check("F1 belongs to a class that is named, and is computed once, from all counts")
def f1(answer: Answer) -> Steps:
    """Asks for the F1 of three batches, of which the last has six cells, and of both classes."""
    counts = (20, 4, 3, 3), (9, 6, 5, 10), (1, 1, 2, 2)  # of each kind of truth and call
    kinds = ["ALL", "ALL", "HEM", "HEM"], ["ALL", "HEM", "ALL", "HEM"]
    batches = [tuple(np.repeat(kind, count).tolist() for kind in kinds) for count in counts]
    said, hem = (answer(deepcopy(batches), positive) for positive in ("ALL", "HEM"))
    each = [2 * a / (2 * a + b + c) for a, b, c, _ in counts]
    yield np.isclose(said, np.mean(each)), "that is a mean over batches: 6 cells weigh like 30"
    yield np.isclose(said, np.average(each, weights=(30, 30, 6))), "a weighted mean is a mean, too"
    yield not np.isclose(said, 60 / 81), f"30 are found, 11 missed, 10 false: not {said:.3f}"
    yield not np.isclose(hem, 30 / 51), f"for HEM, 15 are found, 10 missed, 11 false: not {hem:.3f}"


@check("where a whole subject is right or wrong, only the number of subjects counts")
def ratio_predicted(answer: Answer) -> Steps:
    """Draws from 40 subjects of 25 cells each, and from their cells, and compares the intervals."""
    rng, right = np.random.default_rng(0), np.repeat([True, False], [30, 10])
    drawn = rng.choice(right, (9_000, 40)).mean(axis=1), rng.binomial(1_000, 0.75, 9_000) / 1_000
    wide, narrow = (np.ptp(np.percentile(means, [2.5, 97.5])) for means in drawn)
    yield from predicted(answer(), {"ratio (40 answers or 1,000)": wide / narrow}, factor=1.25)


@check("the same whole subjects for both: what is hard for both of them drops out")
def paired_interval(answer: Answer) -> Steps:
    """Asks for the interval of the difference of two models over 30 subjects of 20 cells each."""
    rng, who = np.random.default_rng(0), np.repeat(np.arange(30), 20)
    hard, gain = rng.uniform(0.3, 0.9, 30), rng.normal(0.05, 0.1, 30)
    one, other = (rng.random(600) < chance[who] for chance in (hard + gain, hard))
    low, high = answer(one.copy(), other.copy(), who.copy())
    gaps = (1.0 * one - other).reshape(30, 20).mean(axis=1)
    off = (high - low) / (3.92 * gaps.std() / np.sqrt(30))
    yield off < 0.92, f"it has {off:.2f} of its width: draw whole subjects, and put each back"
    yield off > 1.12, f"it has {off:.2f} of its width: draw the same subjects for both"
    yield not low <= gaps.mean() <= high, f"first less second is {gaps.mean():+.3f}: not inside"


@check("a threshold that never saw the test labels is judged by them honestly")
def honest(answer: Answer) -> Steps:
    """Asks for a threshold and its score; other test labels must not move the threshold."""
    rng, label, who = np.random.default_rng(0), np.repeat(["ALL", "HEM"], 100), np.arange(200) // 10
    drawn = [rng.beta(np.repeat([6, well], 100), np.repeat([2, 3], 100)) for well in (4, 1)]
    parts = [pd.DataFrame({"label": label, "linked_subject": who, "probability": p}) for p in drawn]
    cut, said = answer(*(part.copy() for part in parts))
    moved = answer(parts[0].copy(), parts[1].assign(label=label[::-1]))[0] != cut
    yield moved, "your threshold moves when only the labels of the test change: it has seen them"
    best = scores(parts[0], choose_threshold(parts[0]))["balanced_accuracy"]
    rules = cut, np.nextafter(cut, 0)  # "above" the threshold, or "at or above" it
    held, true = max([scores(p, at)["balanced_accuracy"] for p in parts] for at in rules)
    yield held < best - 1e-9, f"the validation has {held:.3f} at {cut:.2f}, elsewhere {best:.3f}"
    yield not np.isclose(said, true), f"at {cut:.2f} the test cells have {true:.3f}, not {said:.3f}"
