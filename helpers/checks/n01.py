"""Checks of the exercises of notebook 01: who is on both sides of a split."""

import numpy as np
import pandas as pd

from helpers.checks import Answer, Steps, check, named, predicted


def _table(seed: int) -> pd.DataFrame:
    """Makes up forty names of 38 people, each with 4 to 24 images."""
    names = pd.Series([f"{letter}{n}" for letter in ("", "H") for n in range(1, 21)])
    who = names.repeat(np.random.default_rng(seed).integers(4, 25, 40)).reset_index(drop=True)
    linked = who.replace({"3": "3+4", "4": "3+4", "H5": "H5+H6", "H6": "H5+H6"})
    label = np.where(who.str.startswith("H"), "HEM", "ALL")
    return pd.DataFrame({"subject": who, "linked_subject": linked, "label": label})


def _places(rows: pd.DataFrame) -> str:
    """Says of each name in which parts its images are."""
    parts = rows.groupby("subject")["split"].unique()
    return ", ".join(f"{name} in {' and '.join(found)}" for name, found in parts.items())


@check("a split by image leaks nearly everybody, one by name those who have two names")
def leaks(answer: Answer) -> Steps:
    """Compares a list of who is on two sides with the parts of each linked subject."""
    table = _table(0)
    in_turn = np.resize(["train", "train", "validation", "test"], len(table))
    by_name = table["subject"].map({"3": "test", "H6": "validation"}).fillna("train")
    for way, split in {"image": in_turn, "name": by_name}.items():
        found = answer(table.assign(split=split))
        for who, rows in table.assign(split=split).groupby("linked_subject"):
            yield named(found, who, len(set(rows["split"])) > 1, f"split by {way}, {_places(rows)}")


@check("who shares an image with somebody shares a person with everybody tied to them")
def link(answer: Answer) -> Steps:
    """Gives pairs of names in two orders, of which chains are to be found."""
    pairs = [("51", "75"), ("20", "21"), ("H4", "H5"), ("H2", "H6"), ("75", "78"), ("H5", "H6")]
    for given in (pairs, pairs[::-1]):
        groups = [set(group) for group in answer(given.copy())]
        for one, other in (*pairs, ("51", "78"), ("H2", "H4")):
            hint = f"{one} and {other} are tied, if not directly: put them in one group"
            yield not any({one, other} <= group for group in groups), hint
        yield len(groups) != 3, f"these pairs make three people; you have {len(groups)} groups"


@check("colours that know nothing of the disease score like an expert where people are known")
def recognised(answer: Answer) -> Steps:
    """Compares two predicted accuracies with those of nearest neighbours, over 20 drawn worlds."""
    who, rng = np.arange(40).repeat(10), np.random.default_rng(0)
    same, right = (np.eye(400, dtype=bool), who[:, None] == who), np.zeros(2)
    for _ in range(20):
        colour = rng.normal(scale=10, size=(40, 3))[who] + rng.normal(scale=0.3, size=(400, 3))
        label, apart = rng.permutation(40)[who] % 2, ((colour[:, None] - colour) ** 2).sum(axis=2)
        nearest = np.array([np.where(hidden, np.inf, apart).argmin(axis=1) for hidden in same])
        right += 5 * np.mean(label[nearest] == label, axis=1)
    yield from predicted(answer(), {"known people": right[0], "new people": right[1]}, margin=10)


@check("nobody is on both sides, and both classes keep their share")
def people(answer: Answer) -> Steps:
    """Asks of five made-up tables whether whole linked subjects are split, and how many."""
    for seed in range(5):
        first, again = (list(answer(_table(seed), 0.2, seed)) for _ in range(2))
        split = _table(seed).assign(split=first)
        yield set(first) != {"train", "test"}, f"expected 'train' and 'test', not {set(first)}"
        for who, rows in split.groupby("linked_subject"):
            hint = f"your split leaves subject {who} on both sides: {_places(rows)}"
            yield len(set(rows["split"])) > 1, hint
        for label, share in (split["split"] == "test").groupby(split["label"]).mean().items():
            yield abs(share - 0.2) > 0.1, f"20 % of {label} should be test, and {share:.0%} are"
        yield first != again, f"seed {seed} gave two different splits: use it"
