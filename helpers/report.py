"""What `python -m helpers evaluate` writes: predictions, scores, a card, a page to look at."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import cnmc, evaluation, judging, model_card, runs

KEPT = ("file", "label", "subject", "linked_subject", "probability", "called")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
.warning { border-left: .4rem solid #D55E00; background: #fff4ec; padding: .6rem 1rem }
figure { margin: 1.5rem 0 }
img { max-width: 100%; height: auto }
figcaption { color: #555; font-size: .9rem }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .2rem .8rem; text-align: left; border: 0; border-bottom: 1px solid #ddd }
.wide { overflow-x: auto }
</style>
<h1>{{ title }}</h1>
<p class="warning">Teaching material, <strong>not for diagnosis</strong>.
{%- for line in warnings %} {{ line }}{% endfor %}</p>
<div class="wide">{{ facts | safe }}</div>
<h2>Scores</h2>
<p>The interval over subjects is the one to quote: cells of one patient are alike, which the
interval over cells ignores.</p>
<div class="wide">{{ scores | safe }}</div>
<h2>Figures</h2>
{%- for figure in figures %}
<figure><img src="data:image/png;base64,{{ figure.data }}" alt="{{ figure.alt }}">
<figcaption>{{ figure.alt }}</figcaption></figure>
{%- endfor %}
<h2>The subjects with the fewest cells called right</h2>
<div class="wide">{{ subjects | safe }}</div>
</html>
"""


def evaluate_model(
    model: str | Path,
    data: str | Path,
    target: Path,
    *,
    part: str | None = None,
    threshold: float = 0.5,
    draws: int = evaluation.DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores a saved network on a folder of labelled images, and writes down all of it.

    Args:
        model: A `.keras` file; see `judging.open_model`.
        data: A folder in the shape of C-NMC 2019; see `judging.find_cells`.
        target: Folder to write to; files of an earlier evaluation in it are replaced.
        part: "training" or "preliminary"; by default the preliminary set where there is one.
        threshold: A cell is called ALL above it.
        draws: Bootstrap draws of the intervals.
        seed: Decides the draws.

    Returns:
        The scores, as from `evaluation.evaluate`. The folder holds `predictions.csv`,
        `metrics.json`, `model_card.md` and `report.html`.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is a probability. Received: threshold={threshold!r}")
    cells, chosen = judging.find_cells(data, part)
    rows, what = judging.keep_unseen(cells, model, chosen)
    judged = judging.judge(model, rows)
    scores = evaluation.evaluate(judged, threshold, draws, seed)
    facts = {
        "model": Path(model).name,
        "model SHA-256": runs.file_digest(Path(model).expanduser()),
        "images": cnmc.locate(data).note,
        "scored on": what,
        "cells": len(judged),
        "subjects": int(scores["subjects"].iloc[0]),
        "threshold": threshold,
        "draws": draws,
        "seed": seed,
        "date": date.today().isoformat(),
        "versions": f"TensorFlow {version('tensorflow')}, Keras {version('keras')}",
    }
    _write_all(target, judged, scores, facts, judging.read_training(model))
    return scores


def predict_images(
    model: str | Path, data: str | Path, target: Path, threshold: float = 0.5
) -> pd.DataFrame:
    """Lets a saved network judge images without labels, such as the final test set.

    Args:
        model: A `.keras` file.
        data: Folder of images, whatever their names.
        target: Folder to write to.
        threshold: A cell is called ALL above it.

    Returns:
        One row per image: `file`, `probability` of ALL and `called`; in `predictions.csv`, too.
    """
    judged = judging.judge(model, judging.find_images(data))
    target.mkdir(parents=True, exist_ok=True)
    return _write_predictions(target, judged, threshold)


def _write_all(
    target: Path,
    judged: pd.DataFrame,
    scores: pd.DataFrame,
    facts: dict[str, Any],
    training: dict[str, Any] | None,
) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _write_predictions(target, judged, facts["threshold"])
    found = facts | {"scores": _plain(scores), "training": training}
    card = model_card.write_card(
        facts["model"], scores, facts["images"], training=training,
        threshold=facts["threshold"], scored_on=facts["scored on"],
    )  # fmt: skip
    texts = {
        "metrics.json": json.dumps(found, indent=1, allow_nan=False),
        "model_card.md": card,
        "report.html": _page(judged, scores, facts, training),
    }
    for name, text in texts.items():
        runs.write_atomic(target / name, partial(_write_text, text))


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _write_predictions(target: Path, judged: pd.DataFrame, threshold: float) -> pd.DataFrame:
    called = np.where(judged["probability"] > threshold, "ALL", "HEM")
    named = judged.assign(file=[Path(path).name for path in judged["path"]], called=called)
    table = named[[name for name in KEPT if name in named]]
    runs.write_atomic(target / "predictions.csv", lambda path: table.to_csv(path, index=False))
    return table


def _plain(scores: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Turns scores into what JSON can hold: a missing number is null."""
    columns = ["value", "low", "high", "cell_low", "cell_high"]
    return {
        str(name): {c: None if np.isnan(row[c]) else float(row[c]) for c in columns}
        for name, row in scores.iterrows()
    }


def _page(
    judged: pd.DataFrame,
    scores: pd.DataFrame,
    facts: dict[str, Any],
    training: dict[str, Any] | None,
) -> str:
    about = facts | {"training": (training or {}).get("note", "not recorded beside the file")}
    worst = evaluation.by_subject(judged, facts["threshold"]).head(10)
    name = (training or {}).get("settings", {}).get("model", Path(facts["model"]).stem)
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(
        title=f"How well {name} tells ALL from HEM",
        warnings=list(_warnings(scores, facts)),
        facts=_html(pd.DataFrame(list(about.items())), header=False),
        scores=_html(evaluation.for_display(scores)),
        figures=list(_figures(name, judged, facts)),
        subjects=_html(worst.rename(columns={"probability": "mean probability of ALL"})),
    )


def _html(table: pd.DataFrame, header: bool = True) -> str:
    return table.to_html(index=False, header=header, border=0, float_format="{:.3f}".format)


def _warnings(scores: pd.DataFrame, facts: dict[str, Any]) -> Iterator[str]:
    if "synthetic" in facts["images"]:
        yield "The cells are drawn stand-ins: these scores say nothing about real cells."
    if facts["scored on"] == judging.UNKNOWN:
        yield (
            "Nothing here tells whether the network was trained on these images or other cells "
            "of these subjects; if it was, the scores are too good."
        )
    if scores.loc["accuracy", ["low", "high"]].isna().any():
        yield "A class has fewer than three subjects, so there is no interval over subjects."


def _figures(name: str, judged: pd.DataFrame, facts: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yields the figures as text; curves only where both classes are there."""
    from helpers.plots import scores as draw

    models, origin, chosen = {name: judged}, facts["images"], {name: facts["threshold"]}
    yield _embed(draw.confusion(models, origin, chosen), "Counts of true class against call.")
    if judged["label"].nunique() == 2:
        text = "ROC and precision-recall curve; the dot is at the threshold 0.5."
        yield _embed(draw.curves(models, origin), text)
    text = "Share of ALL cells against the probability that was said, and how often it was said."
    yield _embed(draw.reliability(models, origin), text)
    text = "Share of right calls of each subject; larger dots stand for more cells."
    yield _embed(draw.subject_strip(models, origin, chosen), text)


def _embed(figure: Figure, alt: str) -> dict[str, str]:
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return {"data": base64.b64encode(stream.getvalue()).decode(), "alt": alt}
