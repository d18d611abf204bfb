"""Recipes: which stages a network goes through, and that its frozen part stays as it was."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny_training
from tiny_training import PROFILE

from helpers import settings
from helpers.augment import augmentation
from helpers.data import cnmc, image_files, split_files
from helpers.models import registry, weights
from helpers.standin import cohort
from helpers.training import autoencoder, hardware, loop, recipes, trainer

SMALL = replace(settings.PROFILES["smoke"], images=90, train_total=90, epochs=1)


def build_branched(image_size: int, *, dropout: float = 0.2) -> keras.Model:
    """A base with a branch and normalisation, a block that can be freed, and a head."""
    layers = keras.layers
    first = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, strides=4, activation="relu", name="base")(first)
    x = layers.BatchNormalization(name="base_bn")(x)
    x = layers.Add(name="base_end")([x, layers.Conv2D(4, 1, name="branch")(x)])
    x = layers.Conv2D(4, 3, activation="relu", name="block")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(first, layers.Dense(2, activation="softmax")(x), name="branched")


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    monkeypatch.setattr(weights, "_is_online", lambda: False)
    published = weights.Published("none/none.h5", "0" * 32, bgr=False)
    spec = registry.ModelSpec(build_branched, last_after="base_end", published=published)
    monkeypatch.setitem(registry.MODELS, "branched", spec)
    monkeypatch.setitem(registry.MODELS, "tiny", registry.ModelSpec(tiny_training.build_tiny))
    return tiny_training.make_table(tmp_path / "images")


def _moved(before: keras.Model, after: keras.Model) -> set[str]:
    pairs = zip(before.layers, after.layers, strict=True)
    return {
        one.name.rstrip("_0123456789")
        for one, other in pairs
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
        if not np.array_equal(a, b)
    }


def test_when_weights_are_published_then_the_head_comes_first_and_the_base_never_moves(table):
    lines = []
    head, last = recipes.train_stages("branched", table, PROFILE, report=lines.append)
    first = registry.build("branched", 32, seed=1)
    assert _moved(first, head.load_model()) == {"dense"}
    assert _moved(head.load_model(), last.load_model()) <= {"block", "dense"}
    assert last.metrics["settings"]["start_from"] == head.folder.name
    assert len([line for line in lines if line.startswith("epoch ")]) == 2 * PROFILE.epochs
    assert last.weights_note == "random weights: not a transfer result"


def test_when_weights_are_missing_then_only_the_paper_trains_those_networks(monkeypatch):
    found = {"vgg16", "resnet50"}
    source = {True: weights.Source("found", Path("there")), False: weights.Source("random")}
    monkeypatch.setattr(registry, "find_weights", lambda name: source[name in found])
    workshop, paper = settings.PROFILES["workshop"], settings.PROFILES["paper"]
    names, note = recipes.learners(workshop)
    assert names == ["alexnet", "vgg16", "resnet50", "proposed_cnn"]
    assert "inception_v3" in note
    assert "resnet50" not in note
    assert recipes.learners(paper) == (list(registry.MODELS), "")
    found.add("inception_v3")
    assert recipes.learners(workshop) == (list(registry.MODELS), "")


def test_when_there_is_nothing_to_transfer_then_all_layers_are_trained_at_once(table):
    runs = recipes.train_stages("tiny", table, PROFILE)
    assert [run.metrics["settings"]["stage"] for run in runs] == ["all"]
    assert recipes.train_recipe("tiny", table, PROFILE).folder == runs[-1].folder


def test_when_the_network_is_unknown_then_the_known_ones_are_listed(table):
    with pytest.raises(ValueError, match=r"vgg16.*Received: model='lenet'"):
        recipes.train_recipe("lenet", table, PROFILE)


def test_when_a_branched_network_is_divided_then_both_parts_together_are_the_whole():
    model = build_branched(32)
    for layer in model.layers[: model.layers.index(model.get_layer("base_end")) + 1]:
        layer.trainable = False
    base, rest = loop.divide(model)
    assert base.output.shape == (None, 8, 8, 4)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    whole = model(images)  # not by `predict`, which may compute in bfloat16
    np.testing.assert_allclose(rest(base(images)), whole, atol=1e-6)


def test_when_the_branch_is_still_open_then_the_division_lies_before_it():
    model = build_branched(32)
    for name in ("base", "base_bn"):
        model.get_layer(name).trainable = False
    base, _ = loop.divide(model)
    assert base.layers[-1].name == "base_bn"


def test_when_nothing_is_frozen_then_it_cannot_be_divided():
    with pytest.raises(ValueError, match=r"frozen base.*Received: \d+ trainable"):
        loop.divide(build_branched(32))


def test_when_optimizer_and_rate_are_told_then_both_stages_follow_them(table):
    told = {"optimizer": "rmsprop", "learning_rate": 0.004, "epochs": 1}
    stages = [
        run.metrics["settings"] for run in recipes.train_stages("branched", table, PROFILE, **told)
    ]
    assert [stage["optimizer"] for stage in stages] == ["rmsprop", "rmsprop"]
    assert [stage["learning_rate"] for stage in stages] == pytest.approx([0.004, 0.0004])


def test_when_only_the_optimizer_is_told_then_the_rate_is_the_profiles(table):
    head, last = recipes.train_stages("branched", table, PROFILE, optimizer="adam", epochs=1)
    assert head.metrics["settings"]["learning_rate"] == PROFILE.transfer[1]
    assert last.metrics["settings"]["optimizer"] == "adam"


@pytest.mark.parametrize("decided", [{"stage": "all"}, {"start_from": None}])
def test_when_a_stage_is_told_to_a_recipe_of_stages_then_it_is_refused(table, decided):
    with pytest.raises(ValueError, match=f"trainer.train. Received: {next(iter(decided))}"):
        recipes.train_stages("branched", table, PROFILE, **decided)


def test_when_not_all_images_take_part_then_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    drawn = replace(settings.PROFILES["smoke"], images=90, train_total=90)
    root = cohort.find_or_draw(drawn).root
    lines = []
    few = recipes.gather_table(root, replace(drawn, images=60, train_total=60), report=lines.append)
    assert few["path"].nunique() < 90
    assert len(lines) == 1
    assert re.match(r"\d+ of 90 images take part: .*at most 60, as the profile smoke", lines[0])
    whole = recipes.gather_table(root, drawn, report=lines.append)
    count = whole["source"].isna().sum()
    assert lines[1].startswith(f"{count} of 90 images take part: of identical ones the first")


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """The folder of a split by subject of ninety drawn cells."""
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    root = cohort.find_or_draw(SMALL).root
    split_files.split_folders(root, tmp_path / "split", by="subject")
    return tmp_path / "split"


def test_when_images_are_there_twice_then_it_is_said_how_many_take_part(cells):
    for path in list((cells / "train" / "all").iterdir())[:3]:
        shutil.copy(path, path.with_name(path.name.replace("_all", "5_all")))
    lines = []
    for _ in range(2):  # made, then loaded
        recipes.gather_table(cells / "train", SMALL, report=lines.append)
    found = [path.read_bytes() for path in (cells / "train").rglob("*.bmp")]
    expected = f"{len(set(found))} of {len(found)} images take part: of identical ones the first"
    assert len(set(found)) <= len(found) - 3
    assert [line[: len(expected)] for line in lines] == [expected] * 2


def test_when_a_folder_has_a_validation_part_then_it_is_that(cells, tmp_path):
    first = recipes.gather_table(cells, SMALL)
    for row in first[first["split"] == "validation"].itertuples():
        place = cells / "validation" / Path(row.path).relative_to(cells / "train")
        place.parent.mkdir(parents=True, exist_ok=True)
        Path(row.path).rename(place)
    augmentation.augment_folders(cells, tmp_path / "more", 90)
    for root in (cells, tmp_path / "more"):
        table = recipes.gather_table(root, SMALL, seed=8)
        for part in ("validation", "test"):
            names = [set(t.loc[t["split"] == part, "sha256"]) for t in (first, table)]
            assert names[0] == names[1]


def test_when_a_folder_is_no_part_then_it_is_said_that_it_is_left_out(cells):
    expected = recipes.gather_table(cells, SMALL)
    shutil.copytree(cells / "test", cells / "val")
    with pytest.warns(UserWarning, match="Left out, as no part of a split: val$"):
        found = recipes.gather_table(cells, SMALL)
    assert found["path"].tolist() == expected["path"].tolist()


@pytest.mark.parametrize("column", ["label", "subject"])
def test_when_train_csv_says_what_names_do_not_then_it_is_refused(cells, tmp_path, column):
    augmentation.augment_folders(cells, tmp_path / "more", 90)
    table = pd.read_csv(tmp_path / "more" / "train.csv", dtype=str)
    table[column] = table[column][::-1].tolist()
    table.to_csv(tmp_path / "more" / "train.csv", index=False)
    with pytest.raises(ValueError, match=r"^train.csv lists .*augment the split anew.*Received"):
        recipes.gather_table(tmp_path / "more", SMALL)


@pytest.mark.parametrize("change", ["added", "removed", "moved", "twice", "", "id,label\n1,cat\n"])
def test_when_images_are_not_those_of_train_csv_then_they_are_refused(cells, tmp_path, change):
    augmentation.augment_folders(cells, tmp_path / "more", 90)
    folder = tmp_path / "more" / "train"
    path = next(folder.rglob("UID_*_all.bmp"))
    lines = (tmp_path / "more" / "train.csv").read_text()
    if change == "twice":
        change = f"{lines}{lines.splitlines()[-1]}\n"
    if change not in ("added", "removed", "moved"):  # but another table
        (tmp_path / "more" / "train.csv").write_text(change)
    elif change == "added":
        shutil.copy(path, path.with_name("UID_99_1_1_all.bmp"))
    elif change == "removed":
        path.unlink()
    else:
        path.rename(folder / path.name)
    with pytest.raises(ValueError, match=r"^train.csv lists .*augment the split anew.*Received"):
        recipes.gather_table(tmp_path / "more", SMALL)


def test_when_trained_on_an_augmented_folder_then_no_copy_of_a_validation_cell_is_learnt_from(
    cells, tmp_path, monkeypatch
):
    monkeypatch.setitem(registry.MODELS, "tiny", registry.ModelSpec(tiny_training.build_tiny))
    augmentation.augment_folders(cells, tmp_path / "more", 120)
    table = recipes.gather_table(tmp_path / "more", SMALL)
    parts = dict(list(table.groupby("split")))
    copies = table[table["source"].notna()]
    assert set(copies["split"]) == {"train"}
    assert set(copies["source"]) <= set(parts["train"]["path"])
    assert len(parts["train"]) > 90
    originals = table[table["source"].isna()]
    plain = recipes.gather_table(cells, SMALL)
    for part in ("validation", "test"):
        count = (plain["split"] == "test").sum() if part == "test" else len(parts[part])
        assert (originals["split"] == part).sum() == count > 0
    assert trainer.train("tiny", table, SMALL).predictions["source"].isna().all()


NETWORK = {"filters": (4,) * 6, "convs_per_block": (1,) * 6, "epochs": 1}


@pytest.fixture
def jobs(tmp_path):
    table = tiny_training.make_table(tmp_path / "images", 16)
    return {"one": {"name": "proposed_cnn", "table": table, "profile": PROFILE, **NETWORK}}


@pytest.fixture
def trained(jobs, tmp_path, monkeypatch):
    def train(workers, place):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / place))
        return recipes.train_all(jobs, workers)["one"]

    return train


def test_when_two_or_three_processes_train_then_the_bits_are_the_same(trained):
    first, second = trained(2, "a"), trained(3, "b")
    assert first.folder != second.folder
    assert first.predictions["probability"].tolist() == second.predictions["probability"].tolist()
    assert first.history.equals(second.history)


def test_when_a_process_trains_in_one_thread_then_its_run_is_not_taken_for_another(
    trained, monkeypatch
):
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: 2)  # one thread here would be no other
    alone, beside = trained(1, "a"), trained(2, "a")
    assert alone.folder.parent == beside.folder.parent
    assert alone.folder.name != beside.folder.name
    assert ", 1 of " in beside.metrics["accelerator"]


def test_when_all_is_trained_already_then_the_runs_are_found_again(trained):
    made = trained(2, "a").folder / "history.csv"
    written = made.stat().st_mtime_ns
    assert trained(2, "a").folder / "history.csv" == made
    assert made.stat().st_mtime_ns == written


def test_when_a_job_cannot_work_then_its_error_arrives(jobs):
    jobs["one"]["optimizer"] = "none"
    with pytest.raises(ValueError, match="Received: optimizer='none'"):
        recipes.train_all(jobs, workers=2)


def test_when_the_last_job_is_mistyped_then_none_is_trained(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    jobs["two"] = {**jobs["one"], "filtres": (4,)}
    with pytest.raises(ValueError, match=r"Received: .*filtres"):
        recipes.train_all(jobs, workers=1)
    assert not (tmp_path / "work").exists()


def test_when_jobs_are_pretrainings_then_they_are_carried_out_as_such(jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    table = jobs["one"]["table"]
    jobs["one"]["table"] = table[table["split"] != "test"].drop(columns="label")
    for workers in (1, 2):
        found = recipes.train_all(jobs, workers, autoencoder.pretrain)
        assert (found["one"].folder / "autoencoder.keras").is_file()


@pytest.mark.parametrize(
    ("size", "count", "epochs", "expected"),
    [(64, 3, 600, 2), (64, 1, 600, 1), (65, 3, 600, 1), (64, 3, 20, 1)],
)
def test_when_images_are_small_and_work_is_long_then_there_is_a_process_per_core_and_job(
    jobs, monkeypatch, size, count, epochs, expected
):
    asked = []
    monkeypatch.setattr(recipes, "processors", lambda: 2)
    monkeypatch.setattr(recipes, "_train_beside", lambda workers, *_: asked.append(workers))
    job = jobs["one"] | {"image_size": size, "epochs": epochs}
    recipes.train_all(dict.fromkeys(range(count), job), train=lambda **_: None)
    assert (asked or [1]) == [expected]


NOISE = """
import sys
from pathlib import Path
from helpers import settings
with settings.start_up():
    from helpers.training import autoencoder, recipes
sys.path.insert(0, sys.argv[1])
import tiny_training

table = tiny_training.make_table(Path(sys.argv[2]) / "images", 16)
if sys.argv[3] == "pretrain":
    table = table[table["split"] != "test"]
train = {"train": recipes.trainer.train, "pretrain": autoencoder.pretrain}[sys.argv[3]]
job = {"name": "proposed_cnn", "table": table, "profile": tiny_training.PROFILE, "epochs": 1}
jobs = {seed: {**job, **recipes.SISTER, "seed": seed} for seed in (1, 2)}
print(len(recipes.train_all(jobs, 2, train)))
"""


@pytest.mark.parametrize("train", ["train", "pretrain"])
def test_when_processes_start_then_their_libraries_say_nothing(tmp_path, train):
    """TensorFlow speaks as soon as it is imported: while the function to call is unpickled."""
    done = subprocess.run(
        [sys.executable, "-c", NOISE, str(Path(__file__).parent), str(tmp_path), train],
        env={**os.environ, "CNMC_WORK": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


class TestKnown:
    """What a run is told of its images, and keeps."""

    @staticmethod
    def train(table):
        run = trainer.train("tiny", table, PROFILE, epochs=1)
        return run.folder, pd.read_csv(run.folder / "images.csv", dtype={"subject": str})

    def test_when_a_subject_gets_another_name_then_it_is_another_run(self, table):
        folder, known = self.train(table)
        renamed = table.assign(subject=table["subject"].replace("teALL", "7"))
        other, told = self.train(renamed)
        assert folder != other
        assert ("7" in set(known["subject"]), "7" in set(told["subject"])) == (False, True)

    def test_when_the_marker_comes_later_then_the_cells_are_known_as_drawn(self, table, tmp_path):
        assert not self.train(table)[1]["drawn"].any()
        (tmp_path / "images" / cnmc.MARKER).write_text("{}")
        assert self.train(table)[1]["drawn"].all()

    def test_when_the_table_has_no_digests_then_the_run_finds_them(self, table):
        known = self.train(table)[1]
        assert known["pixels"].tolist() == image_files.add_digests(table)["pixels"].tolist()

    def test_when_it_is_trained_then_it_keeps_the_area_of_each_nucleus_but_of_no_copy(self, table):
        copies = [table["path"][0], *[None] * (len(table) - 1)]
        area = self.train(table.assign(source=copies))[1]["area"]
        assert np.isnan(area[0])
        assert area[1:].tolist() == image_files.nucleus_area(table).tolist()[1:]


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
def test_when_a_seed_is_none_then_it_is_named(seed):
    with pytest.raises(ValueError, match=rf"seed must be.*Received: seed={seed}"):
        loop.Settings.choose("proposed_cnn", PROFILE, seed=seed)
