"""A model card and its page: what a network is, what it was shown, how well it does, what not.

After Mitchell and others 2019, 'Model Cards for Model Reporting', doi 10.1145/3287560.3287596.
The texts are in `card.md`, `limits.csv` and `card.html`, beside this module.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from helpers.data import splits
from helpers.evaluation import metrics, performance

BESIDE = ("accuracy", "weighted_f1", "roc_auc")
SHOWN = tuple(name for name in metrics.NAMES if name not in metrics.COUNTS)
LIMITS = pd.read_csv(Path(__file__).with_name("limits.csv"))
QUOTE = "The interval over subjects is the one to quote; from few of them it is itself rough"
NOTHING = "There is no interval over subjects"
TRAINING = ("note", "weights_note", "parameters", "accelerator", "seconds")  # of a run's metrics
FEW, NEARLY_ALL = 20, 0.95


def write_card(
    scores: pd.DataFrame, facts: Mapping[str, Any], training: Mapping[str, Any], split: pd.DataFrame
) -> str:
    """Writes the card of one network in Markdown.

    Args:
        scores: As from `performance.evaluate_models`: of the network, then of what it must beat.
        facts: What the card shall record: where the scored `images` are from, what was `scored_on`
            in words, the `threshold` above which a cell was called ALL, and anything else.
        training: The metrics of the run, as `Run.metrics`.
        split: The images of the run, with their parts.

    Returns:
        The text.
    """
    own = scores.loc[scores.index[0][0]]
    row, known = own.iloc[0], [key for key in TRAINING if key in training]
    return _fill(
        "card.md",
        name=training["settings"]["model"],
        clean=_clean(split),
        parts=_table(_count_parts(split)),
        training="\n".join(f"- {key.replace('_', ' ')}: {_number(training[key])}" for key in known),
        size=" of ".join(performance.count(row[f"{noun}s"], noun) for noun in ("cell", "subject")),
        interval=QUOTE if any(own["low"] < own["high"]) else NOTHING,
        results=_table(performance.for_display(own, SHOWN)),
        beside=_table(performance.for_display(scores, BESIDE)),
        limits="\n".join(f"- {limit}" for limit in doubts(own) + limits_of(facts["images"])),
        record="\n".join(f"- {key.replace('_', ' ')}: {fact}" for key, fact in facts.items()),
        **facts,
    )


def limits_of(origin: str) -> list[str]:
    """Says what scores of images cannot show, from what is known of where they are from."""
    return [limit for known, limit in LIMITS.to_numpy() if re.match(known, origin)]


def _fill(file: str, **texts: Any) -> str:
    form = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return Template(form).substitute(texts)


def _clean(split: pd.DataFrame) -> str:
    if len(splits.find_leaks(split)):
        return "**subjects or images are in two of them**"
    if split["linked_subject"].isna().any():
        return "not all subjects are recorded, so some may be in two of them"
    return "no linked subject and no image is in two of them"


def _count_parts(split: pd.DataFrame) -> pd.DataFrame:
    """Counts who is in which part, and how many images are known to be drawn, or augmented."""
    counts = splits.describe_split(split)[["images", "ALL", "HEM", "subjects"]].rename_axis("part")
    if "drawn" in split:  # as a run knows its images: an augmented copy has no area of its own
        known = split.assign(augmented=split["area"].isna()).groupby("split")
        counts[["drawn", "augmented"]] = known[["drawn", "augmented"]].sum()
    return counts.reset_index()


def _table(table: pd.DataFrame) -> str:
    rows = [list(table), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(_number, row))} |" for row in rows)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def doubts(scores: pd.DataFrame) -> list[str]:
    """Says what looks wrong with scores: nearly all cells in one class, or worse than guessing."""
    tp, tn, fp, fn = (scores.loc[name, "value"] for name in ("tp", "tn", "fp", "fn"))
    called, true = one_sided(tp + fp, tn + fn), one_sided(tp + fn, tn + fp)
    found = called if called != true or min(tp + fn, tn + fp) else []
    if scores.loc["roc_auc", ["high", "cell_high"]].bfill().iloc[0] < 0.5:
        found.append("The ROC-AUC is below 0.5, interval and all: are the two outputs swapped?")
    return found


def one_sided(called_all: int, called_hem: int) -> list[str]:
    """Says so if nearly all of some cells are called one class."""
    if max(called_all, called_hem) < max(FEW, NEARLY_ALL * (called_all + called_hem)):
        return []
    label = "ALL" if called_all > called_hem else "HEM"
    return [f"Nearly all cells are called {label}: does the network fit these images?"]


def write_page(text: str, models: Mapping[str, pd.DataFrame], facts: Mapping[str, Any]) -> str:
    """Puts a card, its figures and the worst subjects on a page that needs no other file.

    The first model is the network of the card, the others are what it must beat.
    """
    from nbconvert.filters import markdown2html

    from helpers.plots import scores as figures

    origin, threshold = facts["images"], facts["threshold"]
    name, judged = next(iter(models.items()))
    people = performance.by_subject(judged, threshold)
    one = {model: performance.scores(cells, threshold) for model, cells in models.items()}
    bins = performance.reliability(judged)
    drawn = {
        "True class against call.": figures.confusion(one, origin),
        "Share of ALL against what was said.": figures.reliability({name: bins}, one, origin),
        "Right calls of each subject.": figures.subject_strip({name: people}, origin),
    }
    if judged["label"].nunique() == 2:
        drawn["The dot is at the threshold."] = figures.curves(models, one, origin)
    worst = people.head(10).rename(columns={"probability": "mean probability of ALL"})
    table = worst.to_html(index=False, border=0, float_format="{:.3f}".format)
    shown = "".join(_embed(*pair) for pair in drawn.items())
    return _fill("card.html", name=name, card=markdown2html(text), figures=shown, worst=table)


def _embed(caption: str, figure: Any) -> str:
    from IPython.core.pylabtools import print_figure
    from matplotlib import pyplot as plt

    image = print_figure(figure, dpi=110, base64=True)
    plt.close(figure)
    shown = f'<img src="data:image/png;base64,{image}" alt="{caption}">'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
