import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import settings
from helpers.augment import augmentation
from helpers.data import cnmc, image_files, splits


def cell(seed: int) -> np.ndarray:
    """A noisy oval on black, out of the centre, each of its own."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:450, :450] - 225 + rng.uniform(-12, 12, 2)[:, None, None]
    inside = (rows / rng.uniform(60, 110)) ** 2 + (columns / rng.uniform(60, 110)) ** 2 < 1
    return (inside[..., None] * rng.integers(40, 90, (450, 450, 3))).astype("uint8")


def make_table(folder: Path, count: int = 6) -> pd.DataFrame:
    """Two cells of ALL for each of HEM, of one subject each; the last third is for testing."""
    rows = []
    for n in range(count):
        label, part = ("HEM" if n % 3 == 0 else "ALL"), ("test" if n >= count * 2 / 3 else "train")
        subject = f"{'H' * (label == 'HEM')}{n + 1}"
        path = folder / part / label.lower() / f"UID_{subject}_1_1_{label.lower()}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_files.to_bmp(cell(n)))
        rows.append((str(path), label, subject, subject, part))
    return pd.DataFrame(rows, columns=["path", "label", "subject", "linked_subject", "split"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return make_table(tmp_path_factory.mktemp("cells"))


@pytest.fixture(scope="module")
def train(table):
    return table[table["split"] == "train"]


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


class TestApply:
    @pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
    @pytest.mark.parametrize("side", [450, 40])
    def test_when_an_image_is_of_another_kind_then_it_is_turned_all_the_same(self, mode, side):
        image = Image.fromarray(cell(5)).convert(mode).resize((side, side))
        drawn = augmentation.apply(image, augmentation.rotations_and_flips(), "any")
        assert (drawn.mode, drawn.size) == (image.mode, image.size)
        lit = [(np.asarray(one.convert("L")) > 20).sum() for one in (image, drawn)]
        assert lit[1] == pytest.approx(lit[0], rel=0.1)

    def test_when_a_quarter_turn_is_asked_then_it_is_numpys(self):
        turned = augmentation.apply(
            Image.fromarray(cell(2)), [augmentation.Operations.Rotate(1.0, 90)], "any"
        )
        np.testing.assert_array_equal(np.asarray(turned), np.rot90(cell(2)))

    @pytest.mark.parametrize("asked", [0.0, 0.07, 0.5, 0.93, 1.0])
    def test_when_a_probability_is_asked_then_it_is_done_that_often(self, asked):
        image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
        flip = [augmentation.Operations.Flip(asked, "LEFT_RIGHT")]
        before = np.asarray(image)
        done = sum(
            not np.array_equal(augmentation.apply(image, flip, str(n)), before) for n in range(2000)
        )
        assert abs(done / 2000 - asked) <= 3.5 * np.sqrt(asked * (1 - asked) / 2000)

    def test_when_a_cell_is_turned_then_its_size_stays(self):
        before = np.asarray(Image.fromarray(cell(3)))
        for n in range(10):
            after = augmentation.apply(
                Image.fromarray(cell(3)), augmentation.rotations_and_flips(), str(n)
            )
            area = np.asarray(after).any(axis=2).sum() / before.any(axis=2).sum()
            assert abs(area - 1) < 0.02

    def test_when_an_operation_zooms_then_it_sees_the_whole_image(self):
        zoom = augmentation.Operations.Zoom(1.0, 1.5, 1.5)
        whole = zoom.perform_operation([Image.fromarray(cell(1))])[0]
        ours = augmentation.apply(Image.fromarray(cell(1)), [zoom], "any")
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(whole))

    def test_when_an_image_is_drawn_then_the_callers_chances_are_untouched(self):
        random.seed(4)
        expected = random.random()
        random.seed(4)
        augmentation.apply(Image.fromarray(cell(0)), augmentation.rotations_and_flips(), "any")
        assert random.random() == expected

    def test_when_an_image_is_black_then_it_stays_black(self):
        black = Image.new("RGB", (450, 450))
        assert (
            augmentation.apply(black, augmentation.rotations_and_flips(), "any").getbbox() is None
        )


class TestPlan:
    def test_when_a_total_is_asked_then_originals_count(self, train):
        assert len(augmentation.plan(train, 11)) == 11 - len(train)

    def test_when_copies_are_shared_out_then_evenly(self, train):
        copies = augmentation.plan(train, 5 * len(train) + 2)["path"].value_counts()
        assert set(copies) == {4, 5}

    def test_when_classes_are_balanced_then_each_reaches_the_total(self, train):
        drawn = augmentation.plan(train, 5, per_class=True)["label"].value_counts()
        assert (drawn + train["label"].value_counts()).to_dict() == {"ALL": 5, "HEM": 5}

    def test_when_the_total_grows_then_it_adds_to_the_smaller_one(self, train):
        small, large = augmentation.plan(train, 9), augmentation.plan(train, 13)
        pd.testing.assert_frame_equal(small, large[: len(small)])

    @pytest.mark.parametrize("total", [3, 0, -1])
    def test_when_the_total_is_too_small_then_it_is_refused(self, train, total):
        with pytest.raises(ValueError, match=f"Received: total={total} for 4 images"):
            augmentation.plan(train, total)


class TestAugment:
    def test_when_images_are_drawn_then_their_rows_name_their_source(self, train, tmp_path):
        drawn = augmentation.augment(train, tmp_path, 7)
        assert len(drawn) == 3
        for row in drawn.itertuples():
            assert Path(row.path).name.startswith(f"{Path(row.source).stem}_augmented_1")
            original = train.set_index("path").loc[row.source]
            assert (row.label, row.linked_subject) == tuple(original[["label", "linked_subject"]])
            assert row.sha256 == hashlib.sha256(Path(row.path).read_bytes()).hexdigest()

    def test_when_files_are_written_then_they_have_the_form_of_the_data_sets(self, train, tmp_path):
        path = Path(augmentation.augment(train, tmp_path, 5)["path"][0])
        assert path.read_bytes() == image_files.to_bmp(image_files.read_image(path))
        assert path.stat().st_size == augmentation.FILE_BYTES

    def test_when_workers_differ_then_no_byte_does(self, train, tmp_path):
        for workers in (1, 2):
            augmentation.augment(train, tmp_path / str(workers), 40, workers=workers)
        assert contents(tmp_path / "1") == contents(tmp_path / "2")
        assert len(set(contents(tmp_path / "1").values())) == 36

    def test_when_the_seed_differs_then_so_do_the_images(self, train, tmp_path):
        digests = [
            set(augmentation.augment(train, tmp_path / str(seed), 8, seed)["sha256"])
            for seed in (1, 2)
        ]
        assert not digests[0] & digests[1]

    def test_when_files_are_there_then_the_same_are_drawn_again(self, train, tmp_path):
        drawn = augmentation.augment(train, tmp_path, 8)
        before = contents(tmp_path)
        Path(drawn["path"][0]).write_bytes(b"half of it")
        augmentation.augment(train, tmp_path, 8)
        assert contents(tmp_path) == before

    def test_when_the_index_sees_augmented_images_then_it_refuses_them(self, train, tmp_path):
        augmentation.augment(train, tmp_path, 5)
        with pytest.raises(ValueError, match="augmented"):
            cnmc.index(tmp_path)


class TestBadInput:
    def test_when_a_row_is_not_for_training_then_it_is_refused(self, table, tmp_path):
        with pytest.raises(
            ValueError, match=r"Only training images.*Received: {'train': 4, 'test': 2}"
        ):
            augmentation.augment(table, tmp_path, 20)
        assert not list(tmp_path.rglob("*.bmp"))

    def test_when_the_disk_is_too_small_then_nothing_is_written(self, train, tmp_path):
        with pytest.raises(OSError, match=r"needs .* GB of free disk.*[GM]B free"):
            augmentation.augment(train, tmp_path / "new", 10**12)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize("workers", [1, 2])
    def test_when_an_image_is_damaged_then_it_is_named(self, tmp_path, workers):
        table = make_table(tmp_path / "in", 3)[:2]
        Path(table["path"][1]).write_bytes(image_files.to_bmp(cell(0))[:-5])
        with pytest.raises(image_files.ImageError, match=r"UID_2_1_1_all\.bmp: truncated"):
            augmentation.augment(table, tmp_path / "out", 40, workers=workers)

    def test_when_two_images_of_a_class_have_one_name_then_they_are_refused(self, train, tmp_path):
        twice = pd.concat([train, train])
        with pytest.raises(ValueError, match="have one name"):
            augmentation.augment(twice, tmp_path, 30)


class TestPrepare:
    @pytest.fixture
    def profile(self, monkeypatch, tmp_path):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        return settings.Profile("tiny", 32, (3, 3), 6, (3, 3, 24), 9, 1, 0.1)

    def test_when_prepared_then_only_the_training_part_grows(self, table, profile):
        found = augmentation.prepare(table, profile)
        assert Counter(found["split"]) == {"train": 9, "test": 2}
        assert found["source"].notna().sum() == 5
        pd.testing.assert_frame_equal(found[: len(table)][table.columns], table)
        splits.check_split(found)

    def test_when_prepared_again_then_the_same_comes_from_the_cache(
        self, table, profile, monkeypatch
    ):
        first = augmentation.prepare(table, profile)
        monkeypatch.setattr(augmentation, "augment", None)
        pd.testing.assert_frame_equal(augmentation.prepare(table, profile), first)
        assert [p for p in first["path"] if not Path(p).is_file()] == []

    def test_when_the_training_part_is_large_enough_then_nothing_is_drawn(self, table, profile):
        small = settings.Profile("tiny", 32, (3, 3), 6, (3, 3, 24), 4, 1, 0.1)
        found = augmentation.prepare(table, small)
        assert len(found) == len(table)
        assert found["source"].isna().all()

    def test_when_there_are_copies_already_then_none_is_drawn_from_a_copy(self, table, profile):
        once = augmentation.prepare(table, profile)
        larger = settings.Profile("larger", 32, (3, 3), 6, (3, 3, 24), 30, 1, 0.1)
        pd.testing.assert_frame_equal(augmentation.prepare(once, larger), once)


class TestFolders:
    @pytest.fixture
    def split(self, tmp_path):
        make_table(tmp_path / "split", 6)
        return tmp_path / "split"

    def test_when_a_split_is_augmented_then_its_train_folder_is_whole(self, split, tmp_path):
        found = augmentation.augment_folders(split, tmp_path / "out", 10)
        files = list((tmp_path / "out" / "train").rglob("*.bmp"))
        assert sorted(map(str, files)) == sorted(found["path"])
        assert len(files) == 10
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
            "test",
            "train",
            "train.csv",
        ]

    def test_when_the_table_is_read_then_paths_are_relative_to_it(self, split, tmp_path):
        augmentation.augment_folders(split, tmp_path / "out", 10)
        listed = pd.read_csv(tmp_path / "out" / "train.csv")
        named = pd.concat([listed["path"], listed["source"].dropna()])
        assert [n for n in named if not (tmp_path / "out" / n).is_file()] == []
        assert listed["source"].notna().sum() == 6

    def test_when_a_split_is_augmented_then_only_copies_have_a_source(self, split, tmp_path):
        found = augmentation.augment_folders(split, tmp_path / "out", 10)
        originals = found[found["source"].isna()]
        indexed = cnmc.index(split / "train")
        names = [[Path(path).name for path in rows["path"]] for rows in (originals, indexed)]
        assert names[0] == names[1]
        columns = ["label", "subject", "image", "cell", "fold"]
        pd.testing.assert_frame_equal(originals[columns], indexed[columns])
        assert set(found["source"].dropna()) <= set(originals["path"])
        assert set(found["split"]) == {"train"}

    def test_when_nothing_is_to_be_drawn_then_all_are_originals(self, split, tmp_path):
        found = augmentation.augment_folders(split, tmp_path / "out", 4)
        assert found["source"].isna().tolist() == [True] * 4

    def test_when_a_split_has_other_parts_then_they_come_along_as_they_were(self, split, tmp_path):
        shutil.copytree(split / "test", split / "validation")
        shutil.copytree(split / "test" / "all", split / "mine" / "deep")
        augmentation.augment_folders(split, tmp_path / "out", 6)
        for part in ("test", "validation", "mine"):
            assert contents(tmp_path / "out" / part) == contents(split / part) != {}

    def test_when_the_split_is_made_of_links_then_it_is_augmented(self, split, tmp_path):
        linked = tmp_path / "linked"
        for path in split.rglob("*.bmp"):
            (linked / path.relative_to(split)).parent.mkdir(parents=True, exist_ok=True)
            (linked / path.relative_to(split)).symlink_to(path)
        augmentation.augment_folders(linked, tmp_path / "a", 8)
        augmentation.augment_folders(split, tmp_path / "b", 8)
        assert contents(tmp_path / "a") == contents(tmp_path / "b")

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_when_a_link_leads_nowhere_then_it_is_named_once(self, split, tmp_path):
        (split / "test" / "all" / "UID_7_1_1_all.bmp").symlink_to("gone.bmp")
        with pytest.raises(FileNotFoundError, match=r"^[^,]*UID_7_1_1_all.bmp'$"):
            augmentation.augment_folders(split, tmp_path / "out", 8)
        assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["split"]

    def test_when_the_classes_are_foreign_then_their_names_are_the_fault(self, tmp_path):
        for label, light in (("cat", 9), ("dog", 99)):
            (tmp_path / "in" / "train" / label).mkdir(parents=True)
            image = Image.new("RGB", (450, 450), (light,) * 3)
            image.save(tmp_path / "in" / "train" / label / "1.png")
        with pytest.raises(ValueError, match=r"^Images are named UID_.*Received: 2 others"):
            augmentation.augment_folders(tmp_path / "in", tmp_path / "out", 8)

    def test_when_killed_and_run_again_then_nothing_is_lost_or_doubled(self, split, tmp_path):
        augmentation.augment_folders(split, tmp_path / "whole", 60)
        command = [sys.executable, "-m", "helpers", "augment", split, tmp_path / "out"]
        with subprocess.Popen([*map(str, command), "--total", "60", "--seed", "1"]) as process:
            while len(list(tmp_path.glob(".out.partial/train/*/*_augmented_*.bmp"))) < 10:
                assert process.poll() is None
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        assert not (tmp_path / "out").exists()
        augmentation.augment_folders(split, tmp_path / "out", 60)
        assert contents(tmp_path / "out") == contents(tmp_path / "whole")
        assert not (tmp_path / ".out.partial").exists()

    def test_when_it_fails_then_no_work_folder_stays(self, split, tmp_path):
        damaged = next((split / "train" / "all").iterdir())
        damaged.write_bytes(damaged.read_bytes()[:-9])
        with pytest.raises(image_files.ImageError, match=damaged.name):
            augmentation.augment_folders(split, tmp_path / "out", 40)
        assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["split"]

    def test_when_there_is_no_split_then_it_says_how_to_make_one(self, tmp_path):
        (tmp_path / "in").mkdir()
        with pytest.raises(FileNotFoundError, match="helpers split"):
            augmentation.augment_folders(tmp_path / "in", tmp_path / "out", 6)

    def test_when_a_class_is_missing_then_it_is_named(self, split, tmp_path):
        for path in (split / "train" / "hem").iterdir():
            path.unlink()
        with pytest.raises(ValueError, match=r"each class.*0 HEM"):
            augmentation.augment_folders(split, tmp_path / "out", 6)

    def test_when_the_output_is_inside_the_input_then_it_is_refused(self, split):
        with pytest.raises(ValueError, match="outside the input"):
            augmentation.augment_folders(split, split / "out", 6)

    def test_when_the_output_is_not_empty_then_it_is_untouched(self, split, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="nothing was changed"):
            augmentation.augment_folders(split, tmp_path / "out", 6)

    def test_when_the_disk_is_too_small_then_nothing_is_written(self, split, tmp_path):
        with pytest.raises(OSError, match="GB of free disk"):
            augmentation.augment_folders(split, tmp_path / "out", 10**12)
        assert [p.name for p in tmp_path.iterdir()] == ["split"]
