"""A run of the series and a folder of images: what it says of each cell, and what that proves.

A score on images that the network was trained on says nothing. So images are matched with those of
the run by content, never by name; only what content proves is said of a score, and of its images.
What is written: predictions, scores, a model card, and a page with the card and its figures.
"""

import json
import os
from datetime import date
from importlib.metadata import version
from itertools import count
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helpers import runs, settings
from helpers.commands import card
from helpers.data import cnmc, duplicates, image_files, official, splits
from helpers.evaluation import performance

UNSEEN = "the images of the run's test part, whose subjects the network had not seen"
NEW = "images of which none matches one of the run's, pixel for pixel; "
OTHERS = NEW + "whether the network has seen their subjects is not known here"
PRELIMINARY = NEW + "the official preliminary test set, of subjects not in the training set"
SHARED = NEW + "but {} are of subjects with a name or an image in common with its own: too good"
ELSEWHERE = (
    "`evaluate` and `predict` take a run of this series, whose record says which images it has "
    "seen. Notebook 06, 'A network from elsewhere', shows how to judge any other. Received: {!r}"
)
NEARER = {"test": 0, "validation": 1, "train": 2}  # to what a network has learnt from
DIGESTS = list(duplicates.DIGESTS)
KEPT = ("file", "label", "subject", "linked_subject", "part", "probability", "called", "problem")


class Trained(NamedTuple):
    """A run as it lies on disk: its folder, its metrics, and the images it knows."""

    folder: Path
    metrics: dict[str, Any]
    images: pd.DataFrame


def open_run(path: str | Path) -> Trained:
    """Opens a run of the series, if its files are those that the training wrote.

    Args:
        path: The run's folder, or the `model.keras` in it.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it is no run of the series, or not as the training left it.
    """
    given = Path(path).expanduser()
    if not given.exists():
        raise FileNotFoundError(
            f"Expected the folder of a run, or the model.keras in it. Received: {str(path)!r}"
        )
    folder = (given if given.is_dir() else given.parent).resolve()
    try:
        manifest = json.loads((folder / runs.MANIFEST).read_text())
        sealed, task = manifest["files"], manifest["description"]["task"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(ELSEWHERE.format(str(path))) from None
    if given.is_file() and given.name != "model.keras":
        raise ValueError(ELSEWHERE.format(str(path)))
    for name in ("model.keras", "metrics.json", "images.csv"):
        there = folder / name
        if not there.is_file() or runs.file_digest(there) != sealed.get(name):
            raise ValueError(
                f"A run is judged as its training left it, and this {name} is not the one that "
                f"{runs.MANIFEST} records: train it again. Received: {str(there)!r}"
            )
    if task != "Classification":
        raise ValueError(f"Only a classification is scored. Received: the run of a {task.lower()}")
    metrics = json.loads((folder / "metrics.json").read_text())
    names = dict.fromkeys(["subject", "linked_subject"], str)
    return Trained(folder, metrics, pd.read_csv(folder / "images.csv", dtype=names))


def evaluate_run(
    path: str | Path,
    data: str | Path,
    out: Path | None = None,
    part: str | None = None,
    threshold: float = 0.5,
    draws: int = performance.DRAWS,
    seed: int = 0,
) -> tuple[pd.DataFrame, str, Path]:
    """Scores a run on a folder of labelled images, and writes down all of it.

    Args:
        path: As in `open_run`.
        data: A folder in the shape of C-NMC 2019.
        out: New folder to write to; by default one under `work_dir()/evaluations`.
        part: "training" or "preliminary"; by default the preliminary set where there is one.
        threshold: A cell is called ALL above it.
        draws: Bootstrap draws of the intervals.
        seed: Decides the draws.

    Returns:
        The scores, as from `performance.evaluate`; what was scored, in words; and the folder, with
        `predictions.csv`, `metrics.json`, `model_card.md` and `report.html`.
    """
    run = _check(path, threshold, out)
    cells = _find_cells(data, part)
    origin = find_origin(cells, run)
    rows, what = choose_rows(cells, run, origin)
    judged = _judge(run, rows)
    scores = performance.evaluate(judged, threshold, draws, seed)
    facts = {
        "model SHA-256": runs.file_digest(run.folder / "model.keras"),
        "images": origin,
        "scored on": what,
        "left out": f"{len(cells) - len(rows):,} of {len(cells):,} images",
        "threshold": threshold,
        "draws": f"{draws:,} with the seed {seed}",
        "date": date.today().isoformat(),
        "versions": f"TensorFlow {version('tensorflow')}, Keras {version('keras')}",
    }
    name, split = run.metrics["settings"]["model"], run.images.assign(path=run.images["sha256"])
    told = {"training": run.metrics, "split": split, "threshold": threshold, "facts": facts}
    text = card.write_card(name, scores, origin, scored_on=what, **told)
    numbers = json.loads(scores.to_json(orient="index", double_precision=15))
    record = json.dumps(facts | {"scores": numbers, "training": run.metrics}, indent=1)
    page = card.write_page(name, text, judged, origin, threshold)
    folder = _new_folder(out, run, data)
    _write_predictions(folder, judged, threshold)
    for file, body in (("metrics.json", record), ("model_card.md", text), ("report.html", page)):
        _write_text(folder / file, body)
    return scores, what, folder


def predict_images(
    path: str | Path, data: str | Path, out: Path | None = None, threshold: float = 0.5
) -> tuple[pd.DataFrame, Path]:
    """Lets a run judge images without labels, such as the final test set.

    Args:
        path: As in `open_run`.
        data: Folder of images, whatever their names.
        out: As in `evaluate_run`.
        threshold: A cell is called ALL above it.

    Returns:
        One row per image: `file` (its path in the folder), `part` (of the run, if it is there),
        `probability` of ALL, `called`, and `problem` of an image that cannot be read; and the
        folder, where `predictions.csv` holds the same.
    """
    run = _check(path, threshold, out)
    table = cnmc.list_images(data)
    found = list(image_files.map_files(_examine, table["path"]))
    table = table.join(pd.DataFrame(found, columns=["sha256", "pixels", "problem"]))
    table["part"] = _match(table, run).map({rank: part for part, rank in NEARER.items()})
    whole = table["problem"] == ""
    if not whole.any():
        raise ValueError(f"None of the images can be read. Received: {table['problem'].iloc[0]}")
    table.loc[whole, "probability"] = _judge(run, table[whole])["probability"]
    folder = _new_folder(out, run, data)
    return _write_predictions(folder, table, threshold), folder


def _check(path: str | Path, threshold: float, out: Path | None) -> Trained:
    """Refuses what costs nothing to refuse, before any image is read."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is a probability. Received: threshold={threshold!r}")
    if out and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"Results go to a new or empty folder. Received: {str(out)!r}")
    return open_run(path)


def _find_cells(data: str | Path, part: str | None) -> pd.DataFrame:
    """Lists the labelled images of a folder, each with its digests and linked subject."""
    there = {place.part for place in cnmc.find_files(data)[0].values()}
    table = cnmc.index(data, part or ("preliminary" if "preliminary" in there else "training"))
    root = cnmc.existing_folder(data)
    table["file"] = [PurePath(os.path.relpath(path, root)).as_posix() for path in table["path"]]
    return duplicates.link_subjects(image_files.add_digests(table))


def _examine(data: bytes, path: str) -> tuple[str | None, str | None, str]:
    """Returns the digests of an image and what is wrong with it, or ""."""
    try:
        return *image_files.digest(data, path), ""
    except image_files.ImageError as error:
        return None, None, error.problem


def _match(table: pd.DataFrame, run: Trained) -> pd.Series:
    """Finds images among the run's, by bytes or pixels: how near to its training, else missing."""
    near = run.images["split"].map(NEARER)
    keys = [near.set_axis(run.images[column]) for column in DIGESTS]
    nearest = pd.concat(keys).groupby(level=0).max()
    return table[DIGESTS].apply(lambda column: column.map(nearest)).max(axis="columns")


def find_origin(table: pd.DataFrame, run: Trained) -> str:
    """Says where images are from: published ones are known by the digests of their folders."""
    known = set(run.images.loc[run.images["drawn"], DIGESTS].to_numpy().ravel())
    drawn = table["path"].map(cnmc.is_drawn) | table[DIGESTS].isin(known).any(axis="columns")
    if drawn.any():
        return f"synthetic stand-in cells{', drawn' if drawn.all() else ' among others'}"
    groups = table.groupby([cnmc.place_of(path).group for path in table["path"]])
    digests = {name: cnmc.listing_digest(rows) for name, rows in groups}
    published = {name: digest for name, (_, digest) in official.PUBLISHED.items()}
    return "C-NMC 2019" if digests.items() <= published.items() else "images of unknown origin"


def choose_rows(table: pd.DataFrame, run: Trained, origin: str) -> tuple[pd.DataFrame, str]:
    """Chooses the images to score: the run's test part, else those that it does not know.

    Args:
        table: Images with their digests, `subject` and `linked_subject`.
        run: As from `open_run`.
        origin: As from `find_origin`.

    Returns:
        The rows to score, and in words what they are.

    Raises:
        ValueError: If the network was trained, or its epoch chosen, on all of them.
    """
    near = _match(table, run)
    if (near == NEARER["test"]).any():
        return table[near == NEARER["test"]].reset_index(drop=True), _say_of_test(run)
    rest = table[near.isna()].reset_index(drop=True)
    if rest.empty:
        raise ValueError(
            "A score on images that a network was trained or chosen on says nothing. Received: "
            f"{len(table):,} images, all of the run's training and validation parts"
        )
    people = run.images.loc[run.images["split"].ne("test") & ~run.images["drawn"], "subject"]
    linked = table.loc[near.notna(), "linked_subject"]
    shared = rest["subject"].isin(people.dropna()) | rest["linked_subject"].isin(linked)
    if shared.any():
        return rest, SHARED.format(f"{shared.sum():,}")
    official_test = origin == "C-NMC 2019" and rest["fold"].eq("preliminary").all()
    return rest, PRELIMINARY if official_test else OTHERS


def _say_of_test(run: Trained) -> str:
    """Says what the run's own split makes of its test part."""
    known = run.images.assign(path=run.images["sha256"])
    sides = known["split"].where(known["split"] == "test", "train")
    if len(splits.find_leaks(known.assign(split=sides))):
        why = "subjects are on both sides of its split"
    elif run.metrics["settings"]["select_on"] == "test":
        why = "its epoch was chosen on them"
    elif known["linked_subject"].isna().any():
        why = "the subjects of its training are not recorded; scores may be"
    else:
        return UNSEEN
    return f"the images of the run's test part, but {why}: too good"


def _judge(run: Trained, table: pd.DataFrame) -> pd.DataFrame:
    with settings.start_up():
        import keras

        from helpers.training import trainer
    network = keras.saving.load_model(run.folder / "model.keras", compile=False, safe_mode=True)
    return trainer.predict(network, table)


def _new_folder(out: Path | None, run: Trained, data: str | Path) -> Path:
    """Makes the folder of this evaluation: never that of another."""
    name = f"{run.folder.name}-{Path(data).resolve().name}"
    numbered = (settings.work_dir() / "evaluations" / f"{name}-{number}" for number in count(1))
    folder = out or next(folder for folder in numbered if not folder.exists())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_predictions(folder: Path, judged: pd.DataFrame, threshold: float) -> pd.DataFrame:
    called = pd.Series(np.where(judged["probability"] > threshold, "ALL", "HEM"), judged.index)
    table = judged.assign(called=called.where(judged["probability"].notna()))
    table = table[[name for name in KEPT if name in table]]
    runs.write_atomic(folder / "predictions.csv", lambda path: table.to_csv(path, index=False))
    return table


def _write_text(path: Path, text: str) -> None:
    runs.write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))
