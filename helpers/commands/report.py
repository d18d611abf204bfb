"""Any saved network, any folder of images: what it says of each cell, and whether it may be scored.

A score on images that the network was trained on says nothing. A network of the series lies in its
run folder, beside the list of its validation and test images: of a folder that holds some of
them, only the test images are scored. Of any other network nobody knows here what it has seen.

What `python -m helpers evaluate` writes: predictions, scores, a card, a page to look at.
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers import runs, settings
from helpers.commands import card
from helpers.data import cnmc, duplicates, image_files
from helpers.evaluation import performance

if TYPE_CHECKING:
    import keras

UNSEEN = "the images of the run's test part, whose subjects the network had not seen"
UNKNOWN = "all labelled images; whether the network was trained on them is not known here"
PRELIMINARY = "the official preliminary test set, whose subjects are not in the training set"


def open_model(path: str | Path) -> keras.Model:
    """Loads a saved network that tells cells apart, in safe mode: code in the file is refused.

    Args:
        path: A `.keras` file.

    Returns:
        The network, which takes raw square images and gives two probabilities, of HEM and ALL.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"The model is a .keras file that exists. Received: {str(path)!r}")
    if file.suffix != ".keras":
        raise ValueError(f"The model is a file that ends in .keras. Received: {str(path)!r}")
    with settings.start_up():
        import keras

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    given, found = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    side = given[1] if isinstance(given, tuple) and len(given) > 1 else None
    if side is None or given != (None, side, side, 3) or found != (None, len(cnmc.CLASSES)):
        raise ValueError(
            "The network takes square colour images and gives the probabilities of "
            f"{' and '.join(cnmc.CLASSES)}. Received: input {given}, output {found}"
        )
    return model


def find_cells(data: str | Path, part: str | None = None) -> tuple[pd.DataFrame, str]:
    """Lists the labelled images of a folder, each with its linked subject.

    Args:
        data: Folder of a copy of C-NMC 2019, or one of its shape.
        part: "training" or "preliminary"; by default the preliminary set where there is one.

    Returns:
        One row per image, and the part that was taken.

    Raises:
        FileNotFoundError: If there are no such images.
        ValueError: If the part has no labels.
    """
    if part not in (None, *cnmc.PARTS[:2]):
        raise ValueError(
            "Only training and preliminary images have labels to score against; for the final "
            f"ones use `predict`. Received: part={part!r}"
        )
    found = Counter(place.part for place in cnmc.find_files(data)[0].values())
    chosen = part or ("preliminary" if found["preliminary"] else "training")
    table = cnmc.index(data, chosen)
    return duplicates.link_subjects(image_files.add_digests(table)), chosen


def find_images(data: str | Path) -> pd.DataFrame:
    """Lists all images under a folder, whatever their names: nothing but `path` and `file`."""
    paths = sorted(cnmc.find_files(data)[0], key=_natural)
    if not paths:
        raise FileNotFoundError(
            f"Expected images ({', '.join(cnmc.SUFFIXES)}) under this folder. "
            f"Received: {str(data)!r}"
        )
    return pd.DataFrame({"path": paths, "file": [PurePath(path).name for path in paths]})


def _natural(path: str) -> list[str | int]:
    from helpers.data.duplicates import natural_key

    return natural_key(path)


def keep_unseen(table: pd.DataFrame, model: str | Path, part: str) -> tuple[pd.DataFrame, str]:
    """Keeps the images that may be scored, as far as is known.

    Args:
        table: As from `find_cells`.
        model: File of the network; its run folder, if it is in one, tells its test images.
        part: As from `find_cells`.

    Returns:
        The rows to score, and in words what they are.
    """
    known = _read_run(Path(model).expanduser().parent)[1]
    if known is not None:
        parts = dict(zip(known["path"].map(_name), known["split"], strict=True))
        side = table["path"].map(_name).map(parts)
        if (side == "test").any():
            return table[side == "test"].reset_index(drop=True), UNSEEN
    return table, PRELIMINARY if part == "preliminary" else UNKNOWN


def _name(path: str) -> str:
    return PurePath(path).name.lower()


def _read_run(folder: Path) -> tuple[dict[str, Any] | None, pd.DataFrame | None]:
    """Reads what a run keeps beside its network: its metrics, and its judged images."""
    if not (folder / runs.MANIFEST).is_file():
        return None, None
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics, pd.read_csv(folder / "predictions.csv")


def read_training(model: str | Path) -> dict[str, Any] | None:
    """Returns how a network was trained, if it lies in a run folder."""
    return _read_run(Path(model).expanduser().parent)[0]


def judge(model: str | Path, table: pd.DataFrame) -> pd.DataFrame:
    """Lets a saved network judge images.

    Args:
        model: A `.keras` file.
        table: Rows with `path`.

    Returns:
        The rows with `probability` of ALL.

    Raises:
        FloatingPointError: If the network answers with something that is no number.
    """
    network = open_model(model)
    from helpers.training import trainer

    judged = trainer.predict(network, table)
    if not np.isfinite(judged["probability"]).all():
        raise FloatingPointError(
            "The network answers with something that is no number; its training diverged. "
            f"Received: {(~np.isfinite(judged['probability'])).sum():,} of {len(judged):,} cells"
        )
    return judged


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
    draws: int = performance.DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores a saved network on a folder of labelled images, and writes down all of it.

    Args:
        model: A `.keras` file; see `open_model`.
        data: A folder in the shape of C-NMC 2019; see `find_cells`.
        target: Folder to write to; files of an earlier evaluation in it are replaced.
        part: "training" or "preliminary"; by default the preliminary set where there is one.
        threshold: A cell is called ALL above it.
        draws: Bootstrap draws of the intervals.
        seed: Decides the draws.

    Returns:
        The scores, as from `performance.evaluate`. The folder holds `predictions.csv`,
        `metrics.json`, `model_card.md` and `report.html`.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is a probability. Received: threshold={threshold!r}")
    cells, chosen = find_cells(data, part)
    rows, what = keep_unseen(cells, model, chosen)
    judged = judge(model, rows)
    scores = performance.evaluate(judged, threshold, draws, seed)
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
    _write_all(target, judged, scores, facts, read_training(model))
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
    judged = judge(model, find_images(data))
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
    text = card.write_card(
        facts["model"], scores, facts["images"], training=training,
        threshold=facts["threshold"], scored_on=facts["scored on"],
    )  # fmt: skip
    texts = {
        "metrics.json": json.dumps(found, indent=1, allow_nan=False),
        "model_card.md": text,
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
    worst = performance.by_subject(judged, facts["threshold"]).head(10)
    name = (training or {}).get("settings", {}).get("model", Path(facts["model"]).stem)
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    return template.render(
        title=f"How well {name} tells ALL from HEM",
        warnings=list(_warnings(scores, facts)),
        facts=_html(pd.DataFrame(list(about.items())), header=False),
        scores=_html(performance.for_display(scores)),
        figures=list(_figures(name, judged, facts)),
        subjects=_html(worst.rename(columns={"probability": "mean probability of ALL"})),
    )


def _html(table: pd.DataFrame, header: bool = True) -> str:
    return table.to_html(index=False, header=header, border=0, float_format="{:.3f}".format)


def _warnings(scores: pd.DataFrame, facts: dict[str, Any]) -> Iterator[str]:
    if "synthetic" in facts["images"]:
        yield "The cells are drawn stand-ins: these scores say nothing about real cells."
    if facts["scored on"] == UNKNOWN:
        yield (
            "Nothing here tells whether the network was trained on these images or other cells "
            "of these subjects; if it was, the scores are too good."
        )
    if scores.loc["accuracy", ["low", "high"]].isna().any():
        yield "A class has fewer than three subjects, so there is no interval over subjects."


def _figures(name: str, judged: pd.DataFrame, facts: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Yields the figures as text; curves only where both classes are there."""
    from helpers.plots import scores

    models, origin, chosen = {name: judged}, facts["images"], {name: facts["threshold"]}
    yield _embed(scores.confusion(models, origin, chosen), "Counts of true class against call.")
    if judged["label"].nunique() == 2:
        text = "ROC and precision-recall curve; the dot is at the threshold 0.5."
        yield _embed(scores.curves(models, origin), text)
    text = "Share of ALL cells against the probability that was said, and how often it was said."
    yield _embed(scores.reliability(models, origin), text)
    text = "Share of right calls of each subject; larger dots stand for more cells."
    yield _embed(scores.subject_strip(models, origin, chosen), text)


def _embed(figure: Figure, alt: str) -> dict[str, str]:
    import matplotlib.pyplot as plt

    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return {"data": base64.b64encode(stream.getvalue()).decode(), "alt": alt}
