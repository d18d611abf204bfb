"""A model card and its page: what a network is, what it was shown, how well it does, what not.

After Mitchell and others 2019, 'Model Cards for Model Reporting', doi 10.1145/3287560.3287596.
"""

import base64
import io
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from helpers.data import splits
from helpers.evaluation import metrics, performance

SHOWN = tuple(name for name in metrics.NAMES if name not in metrics.COUNTS)
NOT_FOR_DIAGNOSIS = (
    "Teaching material. **Not for diagnosis**, nor for any decision about a person: no clinical "
    "validation was done, and the images show single cut-out nuclei, not patients."
)
USE = (
    "To learn how such networks are trained and judged: cell images in, a probability of ALL "
    "(acute lymphoblastic leukaemia) per cell out."
)
LIMITS = (
    "All images come from one laboratory, one stain and one camera; elsewhere anything may happen.",
    "Labels are per patient: every cell of a patient with ALL counts as ALL, whatever it is.",
    "Age, sex and subtype of the patients are not published, so no one can tell for whom it fails.",
    "Few subjects: the interval over subjects says how little that is, and is itself rough.",
    "The probabilities are only as good as the calibration error says.",
)
FEW, NEARLY_ALL = 20, 0.95
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100% } figcaption { color: #555 } .anchor-link { display: none }
td, th { padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd }
"""


def write_card(
    name: str,
    scores: pd.DataFrame,
    origin: str,
    *,
    training: Mapping[str, Any] | None = None,
    split: pd.DataFrame | None = None,
    threshold: float = 0.5,
    scored_on: str = "the test part, whose subjects the network had not seen",
    facts: Mapping[str, Any] | None = None,
) -> str:
    """Writes the card of one network in Markdown.

    Args:
        name: Name of the network.
        scores: As from `performance.evaluate`.
        origin: Where the images came from, such as `Source.note`.
        training: The metrics of the run, as `Run.metrics`; None: the training is not known.
        split: The split table of the run, if it is at hand.
        threshold: A cell was called ALL above it.
        scored_on: What was scored, in words.
        facts: What else the card shall record.

    Returns:
        The text.
    """
    row = scores.iloc[0]
    results = (
        f"On {scored_on}: {row['cells']:,.0f} cells of {row['subjects']:,.0f} subjects. A cell is "
        f"called ALL above a probability of {threshold:.3g}.\n\n"
        f"{_table(performance.for_display(scores, SHOWN))}\n\n"
        "The interval over subjects is the one to quote; over cells it ignores that cells of one "
        "patient are alike."
    )
    settings = (training or {}).get("settings", {})
    limits = [*doubts(scores), *LIMITS]
    if "synthetic" in origin:
        limits.append("The cells are drawn: nothing here says anything about real ones.")
    if settings.get("select_on") == "test":
        limits.append("The epoch was chosen on the test part, so the scores are too good.")
    parts = {
        "Intended use": USE,
        "Data": f"{origin[:1].upper()}{origin[1:]}.{_shares(split)}",
        "Training": _training(training),
        "Results": results,
        "Limits": _bullets(limits),
        "Record": _bullets(f"{key}: {value}" for key, value in (facts or {}).items()),
    }
    sections = [f"## {head}\n\n{text}" for head, text in parts.items() if text]
    return "\n\n".join([f"# Model card: {name}", NOT_FOR_DIAGNOSIS, *sections]) + "\n"


def doubts(scores: pd.DataFrame) -> list[str]:
    """Says what looks wrong with scores: nearly all cells in one class, or worse than guessing."""
    tp, tn, fp, fn = (scores.loc[name, "value"] for name in ("tp", "tn", "fp", "fn"))
    found = one_sided(tp + fp, tn + fn) if tp + fn and tn + fp else []
    if scores.loc["roc_auc", "high"] < 0.5:
        found.append("The ROC-AUC is below 0.5, interval and all: are the two outputs swapped?")
    return found


def one_sided(called_all: int, called_hem: int) -> list[str]:
    """Says so if nearly all of some cells are called one class."""
    if max(called_all, called_hem) < max(FEW, NEARLY_ALL * (called_all + called_hem)):
        return []
    label = "ALL" if called_all > called_hem else "HEM"
    return [f"Nearly all cells are called {label}: does the network fit these images?"]


def write_page(name: str, text: str, judged: pd.DataFrame, origin: str, threshold: float) -> str:
    """Puts a card, its figures and the worst subjects on a page that needs no other file."""
    from nbconvert.filters import markdown2html

    from helpers.plots import scores as figures

    people = performance.by_subject(judged, threshold)
    one = {name: performance.scores(judged, threshold)}
    bins = {name: performance.reliability(judged)}
    drawn = {"Counts of true class against call.": figures.confusion(one, origin)}
    if judged["label"].nunique() == 2:
        curves = figures.curves({name: judged}, one, origin)
        drawn["ROC and precision-recall curve; the dot is at the threshold."] = curves
    said = figures.reliability(bins, one, origin)
    drawn["Share of ALL cells against the probability that was said."] = said
    strip = figures.subject_strip({name: people}, origin)
    drawn["Share of right calls of each subject; larger dots stand for more cells."] = strip
    worst = people.head(10).rename(columns={"probability": "mean probability of ALL"})
    body = markdown2html(text) + "".join(_embed(*pair) for pair in drawn.items())
    table = worst.to_html(index=False, border=0, float_format="{:.3f}".format)
    head = f'<meta charset="utf-8"><title>Model card: {name}</title><style>{STYLE}</style>'
    last = f"<h2>The subjects with the fewest cells called right</h2>{table}"
    return f'<!doctype html>\n<html lang="en">{head}{body}{last}</html>\n'


def _embed(caption: str, figure: Any) -> str:
    from matplotlib import pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    data = base64.b64encode(stream.getvalue()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{caption}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _shares(split: pd.DataFrame | None) -> str:
    """Says who was in which part."""
    if split is None:
        return " Which images the network was trained on is not recorded beside it."
    leaks = splits.find_leaks(split)
    clean = "No linked subject and no image is in two parts."
    if len(leaks):
        clean = f"**{len(leaks)} subjects or images are in two parts**, so the scores are too good."
    report = splits.describe_split(split).rename(columns={"subjects": "linked subjects"})
    shown = report[["images", "ALL", "HEM", "linked subjects"]].rename_axis("part").reset_index()
    return f" {clean}\n\n{_table(shown)}"


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "Not known: no record of a run lies beside the file."
    named = {"note": "run", "weights_note": "first weights", "parameters": "weights"}
    named |= {"accelerator": "machine", "seconds": "seconds"}
    known = {named[key]: training[key] for key in named if key in training}
    return _bullets(f"{key}: {_number(value)}" for key, value in known.items())


def _table(table: pd.DataFrame) -> str:
    rows = [list(table), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(_number, row))} |" for row in rows)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
