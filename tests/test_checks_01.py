"""The exercises of notebook 01: typical mistakes are told why."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from solved import solutions

from helpers.checks import AnswerError, n01

SOLVED = solutions("01_dataset_split")


def test_when_the_suspects_of_the_notebook_are_asked_then_each_leaks_whom_the_text_says():
    leaks = {way: SOLVED["both_sides"](table) for way, table in SOLVED["suspects"].items()}
    assert leaks == {"by image": ["H5+H6", "H7"], "by file name": ["H7"],
                     "by subject name": ["H5+H6"]}  # fmt: skip


def by_name(table):
    parts = table.groupby("subject")["split"].nunique()
    return list(parts.index[parts > 1])


def train_and_test_alone(table):
    sides = table[table["split"] != "validation"].groupby("linked_subject")["split"].nunique()
    return list(sides.index[sides > 1])


def both_sides(table):
    return SOLVED["both_sides"](table)


LEAKS = {
    by_name: r"you forgot 3\+4: split by image, 3 in .*, 4 in ",
    train_and_test_alone: r"forgot H5\+H6: split by name, H5 in train, H6 in validation",
    lambda table: list(
        table["linked_subject"].unique()
    ): r"you named \w+: split by name, \w+ in train$",
    lambda table: pd.Series(both_sides(table)): "return a list or set of names, not Series",
    lambda table: both_sides(table)[:-1]: "you forgot H9",
}


@pytest.mark.parametrize(("wrong", "said"), LEAKS.items())
def test_when_somebody_on_both_sides_is_missed_then_the_check_names_them(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n01.leaks(wrong)


def test_when_a_split_by_name_is_taken_for_clean_then_the_check_names_the_two_names():
    def whole_names_are_clean(table):
        return [] if by_name(table) == [] else both_sides(table)

    with pytest.raises(AnswerError, match=r"you forgot 3\+4: split by name, 3 in test, 4 in train"):
        n01.leaks(whole_names_are_clean)


@pytest.mark.parametrize(
    ("said", "hint"),
    [((50, 50), r"known people: you said 50, not 99\.\d: -49\.\d off"),
     ((100, 90), r"new people: you said 90, not 4[5-9]\.?\d*: \+4[1-5]\.?\d* off"),
     ((1.0, 0.5), "known people: you said 1, not 99"), (None, "returned None"),
     (100, "expected in numbers: known people; new people. You returned 100")],
)  # fmt: skip
def test_when_the_prediction_is_far_off_then_the_check_says_how_far(said, hint):
    with pytest.raises(AnswerError, match=hint):
        n01.recognised(lambda: said)


def pairs_alone(pairs):
    return [set(pair) for pair in pairs]


def first_group_that_fits(pairs):
    groups = []
    for pair in pairs:
        home = next((group for group in groups if group & set(pair)), None)
        if home is None:
            groups.append(home := set())
        home |= set(pair)
    return groups


LINKS = {
    pairs_alone: "51 and 78 are tied, if not directly",
    first_group_that_fits: "H2 and H4 are tied, if not directly",
    lambda pairs: [{name for pair in pairs for name in pair}]: "three people; you have 1 groups",
    lambda pairs: [*SOLVED["link"](pairs), {"99"}]: "you have 4 groups",
}


@pytest.mark.parametrize(("wrong", "said"), LINKS.items())
def test_when_a_chain_is_broken_then_the_check_names_its_ends(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n01.link(wrong)


def sides(table, test):
    return np.where(np.isin(np.arange(len(table)), test), "test", "train")


def split_images(table, share, seed):
    rng = np.random.default_rng(seed)
    return sides(table, rng.choice(len(table), round(share * len(table)), replace=False))


def cut_file_names(table, share, seed):
    return ["train" if row < (1 - share) * len(table) else "test" for row in range(len(table))]


def split_names(table, share, seed):
    dealer = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    return sides(table, next(dealer.split(table, table["label"], table["subject"]))[1])


def half_of_them(table, share, seed):
    dealer = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    return sides(table, next(dealer.split(table, table["label"], table["linked_subject"]))[1])


def without_seed(table, share, seed):
    dealer = GroupShuffleSplit(1, test_size=0.2)
    parts = []
    for label in ("ALL", "HEM"):
        rows = np.flatnonzero(table["label"] == label)
        parts += [rows[next(dealer.split(rows, groups=table["linked_subject"].iloc[rows]))[1]]]
    return sides(table, np.concatenate(parts))


def forgets_a_class(table, share, seed):
    return np.where(table["linked_subject"].isin(["1", "2", "3+4", "5"]), "test", "train")


PEOPLE = {
    split_images: r"your split leaves subject \w+ on both sides: \w+ in (train and test|test and)",
    cut_file_names: r"your split leaves subject H1\d on both sides",
    split_names: r"your split leaves subject (3\+4|H5\+H6) on both sides: \w+ in t\w+, \w+ in t",
    half_of_them: r"20 % of ALL should be test, and [45]\d% are",
    forgets_a_class: "20 % of HEM should be test, and 0% are",
    lambda table, share, seed: ["train"] * len(table): "expected 'train' and 'test'",
    lambda table, share, seed: ["train", "test"]: "ended in ValueError: Length of values",
}


@pytest.mark.parametrize(("wrong", "said"), PEOPLE.items())
def test_when_people_are_not_split_whole_then_the_check_names_them(wrong, said):
    with pytest.raises(AnswerError, match=said):
        n01.people(wrong)
