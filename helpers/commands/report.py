"""A run of the series and a folder of images: what it says of each cell, and what that proves.

A score on images that the network was trained on says nothing. So images are matched with those of
the run by content, never by name; only what content proves is said of a score, and of its images.
What is written: predictions, scores, a model card, and a page with the card and its figures; beside
the scores those of the rules that cost nothing, which learn from the run's own training cells.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helpers import runs, settings
from helpers.commands import card
from helpers.data import cnmc, duplicates, image_files, official, splits
from helpers.evaluation import baselines, performance

UNSEEN = "whose subjects, as far as names and shared images tell, the network had not seen"
LITTLE = "so the score says little about new subjects"
SHARED = f"but subjects of {{:,}} share a name or an image with those it learnt, {LITTLE}"
OTHERS = "whether the network has seen them in another form, or their subjects, is not known here"
GIVEN = "`evaluate` and `predict` take a run of this series, which says what images it has seen."
ELSEWHERE = f"{GIVEN} Notebook 06, 'A network from elsewhere', judges any other. Received: {{!r}}"
STARTS = "TensorFlow starts. If it ends here without a word, try: python -m helpers doctor"
NEARER = {"test": 0, "validation": 1, "train": 2}  # to what a network has learnt from
DIGESTS = list(duplicates.DIGESTS)
FILES = ("model.keras", "metrics.json", "images.csv")
PARTIAL = ".partial"  # in the folder of results, until they are whole
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
    given = settings.expand(path)
    if not given.exists():
        raise FileNotFoundError(f"Expected the folder of a run. Received: {str(path)!r}")
    folder = (given if given.is_dir() else given.parent).resolve()
    is_other = given.is_file() and given.name != "model.keras"
    if is_other or not (folder / runs.MANIFEST).exists():
        raise ValueError(ELSEWHERE.format(str(path)))
    try:
        record = json.loads((folder / runs.MANIFEST).read_text())
        task, sealed = record["description"]["task"], record["files"]
        wrong = [name for name in FILES if runs.file_digest(folder / name) != sealed[name]]
        metrics, images = ({}, pd.DataFrame()) if wrong else _read(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        wrong = [f"{runs.MANIFEST}, or not all it records: {type(error).__name__}: {error}"]
    if wrong:
        told = "A run is judged as its training left it: copy it whole (`git lfs pull`)"
        raise ValueError(f"{told}, or train it. Received: {folder} with another {wrong[0]}")
    if task != "Classification":
        raise ValueError(f"Only a classification is scored. Received: the run of a {task.lower()}")
    return Trained(folder, metrics, images.assign(path=images["sha256"]))


def _read(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Reads what a run says of itself, and of its images."""
    metrics = json.loads((folder / "metrics.json").read_text())
    kinds = dict.fromkeys([*DIGESTS, *runs.TOLD], str) | {"drawn": bool, "area": float}
    images = pd.read_csv(folder / "images.csv", usecols=list(kinds), dtype=kinds)
    if "note" not in metrics or not {"model", "select_on"} <= set(metrics["settings"]):
        raise ValueError("metrics.json names no settings of a training")
    if not {"train"} <= set(images["split"]) <= set(NEARER):
        raise ValueError(f"images.csv tells of each image its part, {', '.join(NEARER)}")
    return metrics, images


def evaluate_run(
    path: Path, data: Path, out: Path | None = None, part: str | None = None, threshold: float = 0.5
) -> tuple[pd.DataFrame, str, Path]:
    """Scores a run on a folder of labelled images, and writes down all of it.

    Args:
        path: As in `open_run`.
        data: A folder in the shape of C-NMC 2019.
        out: New folder to write to; by default one under `work_dir()/evaluations`.
        part: "training" or "preliminary"; by default the preliminary set where there is one.
        threshold: A cell is called ALL above it.

    Returns:
        The scores, as from `performance.evaluate_models`, of the network and then of the rules that
        cost nothing; in words, what was scored and where that is from; and the folder, with
        `predictions.csv`, `metrics.json`, `model_card.md` and `report.html`.
    """
    with _begin(path, data, out, threshold) as (run, folder):
        cells, files = _find_cells(data, part, run), len(cnmc.list_images(data))
        rows, what = choose_rows(cells, run)
        part, judged = cnmc.place_of(rows["path"].iloc[0]).part, _judge(run, rows)
        models = {run.metrics["settings"]["model"]: judged, **_judge_freely(run, rows)}
        scores = performance.evaluate_models(models, threshold=threshold)
        left = f"{files - len(rows):,} of {files:,} files; scored as by `--part {part}`"
        facts: dict[str, Any] = {"model_sha256": runs.file_digest(run.folder / "model.keras")}
        facts |= {"images": find_origin(cells, rows), "scored_on": what, "left_out": left}
        facts |= {"threshold": threshold, "date": date.today().isoformat()}
        text = card.write_card(scores, facts, run.metrics, run.images)
        exact = {"orient": "index", "double_precision": 15}
        numbers = {name: json.loads(scores.loc[name].to_json(**exact)) for name in models}
        record = json.dumps(numbers | facts | {"training": run.metrics}, indent=1)
        _write_predictions(folder, judged, threshold)
        texts = {"metrics.json": record, "model_card.md": text}
        texts["report.html"] = card.write_page(text, models, facts)
        for file, body in texts.items():
            (folder / file).write_text(body, encoding="utf-8")
    return scores, f"{what} ({facts['images']})", folder.parent


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
    with _begin(path, data, out, threshold) as (run, folder):
        table = cnmc.list_images(data)
        table[["sha256", "pixels", "problem"]] = [*image_files.map_paths(_examine, table["path"])]
        table["part"] = _match(table, run).map({rank: part for part, rank in NEARER.items()})
        whole = table["problem"] == ""
        if not whole.any():
            raise ValueError(f"None of the images can be judged. Received: {table['problem'][0]}")
        table.loc[whole, "probability"] = _judge(run, table[whole])["probability"]
        table = _write_predictions(folder, table, threshold)
    return table, folder.parent


@contextmanager
def _begin(
    path: str | Path, data: str | Path, out: Path | None, threshold: float
) -> Iterator[tuple[Trained, Path]]:
    """Opens the run, and takes a folder; in it, one to fill, whose files get there at the end."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"The threshold is a probability. Received: threshold={threshold!r}")
    run = open_run(path)
    stem = settings.work_dir() / "evaluations" / f"{run.folder.name}-{Path(data).resolve().name}-"
    folder = _take([out] if out else (Path(f"{stem}{n}") for n in count(1)))
    partial = folder / PARTIAL
    try:
        yield run, partial
        for file in sorted(partial.iterdir()):
            shutil.move(file, folder)  # which overwrites nothing
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _take(folders: Iterable[Path]) -> Path:
    """Makes the first folder that is new or empty, and in it one that only one process can make."""
    for folder in folders:
        folder.parent.mkdir(parents=True, exist_ok=True)  # what is in the way here, is for all
        with suppress(FileExistsError):
            folder.mkdir(exist_ok=True)
            if not any(folder.iterdir()):
                (folder / PARTIAL).mkdir(parents=True)
                return folder
    raise FileExistsError(f"Results go to a new or empty folder. Received: {str(folder)!r}")


def _find_cells(data: str | Path, part: str | None, run: Trained) -> pd.DataFrame:
    """Lists the labelled images of a folder with their digests, and whether they are drawn."""
    there = {place.part for place in cnmc.find_files(data)[0].values()}
    table = cnmc.index(data, part or ("preliminary" if "preliminary" in there else "training"))
    root = cnmc.existing_folder(data)
    table["file"] = [Path(path).relative_to(root).as_posix() for path in table["path"]]
    table = duplicates.link_subjects(image_files.add_digests(table))
    labels = pd.concat([run.images, table])[["pixels", "label"]].dropna().drop_duplicates()
    twice = table["pixels"].isin(labels.loc[labels["pixels"].duplicated(), "pixels"])
    if twice.any():
        some = ", ".join(table.loc[twice, "file"].head(3))
        raise ValueError(f"An image has one label, here and in the run. Received: two of {some}")
    known, table = run.images.loc[run.images["drawn"], "pixels"].dropna(), cnmc.mark_drawn(table)
    return table.assign(drawn=table["drawn"] | table["pixels"].isin(known))


def _examine(path: str) -> tuple[str | None, str | None, str]:
    """Returns the digests of an image and what is wrong with it, or ""."""
    try:
        cnmc.check_text([path])
        file, pixels = image_files.digest(Path(path).read_bytes(), path)
        return file, pixels, "" if pixels else "blank, so there is nothing to judge"
    except (OSError, ValueError) as error:
        return None, None, getattr(error, "problem", str(error))


def _match(table: pd.DataFrame, run: Trained) -> pd.Series:
    """Finds images among the run's, by bytes or pixels: how near to its training, else missing."""
    near = run.images["split"].map(NEARER)
    keys = [near.set_axis(run.images[column]) for column in DIGESTS]
    nearest = pd.concat(keys).groupby(level=0).max()
    found = table[DIGESTS].apply(lambda column: column.map(nearest)).max(axis="columns")
    return found.where(table["pixels"].notna())  # what is blank is nobody's


def choose_rows(table: pd.DataFrame, run: Trained) -> tuple[pd.DataFrame, str]:
    """Chooses the images to score: the run's test part, else those that it does not know.

    Args:
        table: Images with their digests, `subject` and `linked_subject`.
        run: As from `open_run`.

    Returns:
        The rows to score, each image once and none that is blank, whose content proves nothing;
        and in words what they are.

    Raises:
        ValueError: If the network was trained, or its epoch chosen, on all of them.
    """
    near, known = _match(table, run), run.images
    learnt = known.loc[known["split"].ne("test") & ~known["drawn"], "linked_subject"]
    names = learnt.str.split("+").explode().dropna()
    linked = table.loc[near > NEARER["test"], "linked_subject"]
    shared = table["subject"].isin(names) | table["linked_subject"].isin(linked)
    shared = shared.groupby(table["pixels"]).transform("any")  # for all copies of an image
    table = table.assign(near=near, shared=shared).dropna(subset="pixels")
    table = duplicates.drop_duplicates(table)
    rows = table[table["near"] == NEARER["test"]]
    if len(rows):
        test = duplicates.drop_duplicates(known.query("split == 'test'").dropna(subset="pixels"))
        people = rows["pixels"].map(test.set_index("pixels")["linked_subject"])
        rows = rows.assign(linked_subject=people.fillna(rows["linked_subject"]))
        size = performance.count(len(test), "image")
        what, why = f"{len(rows):,} of the {size} of the run's test part,", test_note(run)
    else:
        rows = table[table["near"].isna()]
        what, why = f"{performance.count(len(rows), 'image')}, none known as the run's;", OTHERS
    if rows.empty:
        told = "A score on blank images, or those that a network was trained or chosen on, says"
        raise ValueError(f"{told} nothing. Received: {performance.count(len(near), 'image')}")
    if rows["shared"].any() and why in (UNSEEN, OTHERS):
        why = SHARED.format(rows["shared"].sum())
    return rows.reset_index(drop=True), f"{what} {why}"


def test_note(run: Trained) -> str:
    """Says what the run's own split makes of its test part."""
    known = run.images.replace({"split": {"validation": "train"}})
    faults = {
        "subjects are on both sides of its split": len(splits.find_leaks(known)) > 0,
        "its epoch was chosen on them": run.metrics["settings"]["select_on"] == "test",
        "some subjects are not recorded": known["linked_subject"].isna().any(),
        "its first weights saw unknown images": "first weights from" in run.metrics["note"],
    }
    found = [fault for fault, holds in faults.items() if holds]
    return f"but {' and '.join(found)}, {LITTLE}" if found else UNSEEN


def find_origin(cells: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Says where scored images are from: published ones are known by the digests of their folders.

    Args:
        cells: All images of the folder, with `drawn`.
        rows: Those that are scored.
    """
    proven = official.name_published(cells, len(rows)) or name_drawn(rows)
    return proven or "images of unknown origin"


def name_drawn(rows: pd.DataFrame) -> str:
    """Says whether images are drawn, all or some of them; "" if none is."""
    told = f"synthetic stand-in cells{', drawn' if rows['drawn'].all() else ' among others'}"
    return told if rows["drawn"].any() else ""


def _judge(run: Trained, table: pd.DataFrame) -> pd.DataFrame:
    # Said before all is muted: a TensorFlow that crashes while it starts leaves no word itself.
    print(STARTS, file=sys.stderr, flush=True)
    with settings.start_up():
        import keras

        from helpers.training import trainer
    try:
        network = keras.saving.load_model(run.folder / "model.keras", compile=False)
    except Exception as error:  # Keras raises many kinds
        told = f"The network cannot be loaded: train it again. Received: Keras {keras.__version__}"
        raise ValueError(f"{told} says {type(error).__name__}: {error}") from error
    judged = trainer.predict(network, table)
    runs.check_unchanged(table)
    return judged


def _judge_freely(run: Trained, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Lets the rules that cost nothing judge, fitted on the cells that the run learnt from."""
    learnt = run.images[run.images["split"].eq("train") & run.images["area"].notna()]
    return baselines.free_rules(pd.concat([learnt, rows.assign(split="test")], ignore_index=True))


def _write_predictions(folder: Path, judged: pd.DataFrame, threshold: float) -> pd.DataFrame:
    chance = judged["probability"].astype(float)  # in 64 bits, as the scores
    called = pd.Series(np.where(chance > threshold, "ALL", "HEM"), judged.index)
    table = judged.assign(probability=chance, called=called.where(chance.notna())).filter(KEPT)
    table.to_csv(folder / "predictions.csv", index=False, errors="backslashreplace")
    return table
