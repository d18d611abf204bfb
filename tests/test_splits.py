"""Splits: who goes where, what may not be on two sides, and what a broken run leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sealed_run import write_cells

import helpers
from helpers.data import cnmc, duplicates, image_files, split_files, splits
from helpers.settings import Profile

SIZES = {"ALL": [40, 25, 16, 11, 9, 7, 5, 3], "HEM": [30, 14, 9, 6, 4, 2]}
PROFILE = Profile("tiny", 32, (8, 6), 1_000, (4, 3, 14), 50, 1, 1e-2)


def make_table(sizes: dict[str, list[int]] = SIZES) -> pd.DataFrame:
    """A table with unequal subjects, unique digests and no files behind it."""
    rows = []
    for label, counts in sizes.items():
        for number, count in enumerate(counts, start=1):
            subject = f"{'H' if label == 'HEM' else ''}{number}"
            for cell in range(1, count + 1):
                name = f"/cells/UID_{subject}_1_{cell}_{label.lower()}.bmp"
                rows.append((name, label, subject, 1, cell, str(number % 3)))
    table = pd.DataFrame(rows, columns=["path", "label", "subject", "image", "cell", "fold"])
    return table.assign(sha256=table["path"], pixels=table["path"])


def make_twins(table: pd.DataFrame, *pairs: tuple[str, str]) -> pd.DataFrame:
    """Gives the first image of two subjects the same digests, for every pair of subjects."""
    table = table.copy()
    for first, second in pairs:
        row, twin = (table.index[table["subject"] == who][-1] for who in (first, second))
        table.loc[twin, ["sha256", "pixels"]] = table.loc[row, ["sha256", "pixels"]].to_numpy()
    return table


def look_at_folds(linked: pd.DataFrame) -> dict:
    """Runs that cell of notebook 01 on a table, and returns the names it leaves behind."""
    notebook = Path(__file__).resolve().parents[1] / "notebooks" / "01_dataset_split.ipynb"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = next(t for t in ("".join(c["source"]) for c in cells) if "repaired = " in t)
    names = {"linked": linked, "table": linked, "splits": splits, "duplicates": duplicates}
    exec(code, names)
    return names


@pytest.fixture
def linked() -> pd.DataFrame:
    return duplicates.link_subjects(make_twins(make_table(), ("2", "1"), ("H6", "H2")))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images of 12 subjects as plain class folders; the first two ALL subjects share one."""
    rng = np.random.default_rng(0)
    for label, prefix in (("all", ""), ("hem", "H")):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for subject in range(1, 7):
            for cell in (1, 2, 3):
                pixels = rng.integers(0, 99, (450, 450, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"UID_{prefix}{subject}_1_{cell}_{label}.bmp")
    twin = tmp_path / "images" / "all" / "UID_2_1_1_all.bmp"
    twin.write_bytes((tmp_path / "images" / "all" / "UID_1_1_1_all.bmp").read_bytes())
    return tmp_path / "images"


def content(folder: Path) -> Counter:
    return Counter(path.read_bytes() for path in folder.rglob("*.bmp"))


class TestDuplicates:
    def test_when_three_rows_share_a_digest_then_three_pairs(self):
        table = make_table().iloc[:4].assign(pixels=["x", "y", "x", "x"])
        assert len(duplicates.find_duplicates(table)) == 3
        assert len(duplicates.find_duplicates(table.drop(columns="pixels"))) == 0

    def test_when_there_are_no_digests_then_it_says_how_to_add_them(self):
        with pytest.raises(ValueError, match=r"add_digests.*Received"):
            duplicates.find_duplicates(make_table().drop(columns=["sha256", "pixels"]))

    def test_when_subjects_share_images_then_they_are_linked_through_each_other(self):
        subjects = ["51", "51", "75", "78", "2"]
        cells = pd.DataFrame({"path": list("abcde"), "subject": subjects})
        linked = duplicates.link_subjects(cells.assign(sha256=["x", "y", "x", "y", "z"]))
        assert list(linked["linked_subject"]) == ["51+75+78"] * 4 + ["2"]

    def test_when_names_hold_numbers_then_groups_read_in_natural_order(self):
        cells = pd.DataFrame({"path": list("abcd"), "subject": ["h3", "H10", "51", "9"]})
        linked = duplicates.link_subjects(cells.assign(sha256=["x", "x", "y", "y"]))
        assert list(linked["linked_subject"]) == ["H10+h3", "H10+h3", "9+51", "9+51"]

    def test_when_a_subject_is_missing_then_it_stays_missing(self):
        table = make_table().assign(subject=None)
        assert duplicates.link_subjects(table)["linked_subject"].isna().all()

    @pytest.mark.parametrize("level", [0, 255])
    def test_when_subjects_share_a_blank_image_then_it_links_nobody(self, tree, tmp_path, level):
        blank = image_files.to_bmp(np.full((450, 450, 3), level, np.uint8))
        for name in ("all/UID_3_1_1_all.bmp", "all/UID_4_1_1_all.bmp", "hem/UID_H1_1_1_hem.bmp"):
            (tree / name).write_bytes(blank)
        with pytest.warns(UserWarning, match=r"3 images are blank.*UID_3_1_1_all"):
            linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tree)))
        assert {name for name in linked["linked_subject"] if "+" in name} == {"1+2"}
        assert len(duplicates.find_duplicates(linked)) == 1
        with pytest.warns(UserWarning, match="blank"):
            split_files.split_folders(tree, tmp_path / "out", by="subject")
        assert len(split_files.read_split(tmp_path / "out", tree)) == 36

    def test_when_copies_are_dropped_then_every_image_is_left_once(self, linked):
        kept = duplicates.drop_duplicates(linked)
        assert kept["pixels"].is_unique
        assert set(kept["pixels"]) == set(linked["pixels"])
        assert len(linked) - len(kept) == 2

    @pytest.mark.parametrize(
        "find",
        [
            duplicates.find_duplicates,
            duplicates.drop_duplicates,
            duplicates.link_subjects,
            splits.find_leaks,
        ],
    )
    def test_when_there_are_no_images_then_nothing_is_found(self, find):
        assert len(find(make_table().assign(split="train").iloc[:0])) == 0


class TestSplitByImage:
    def test_when_cut_then_every_class_has_the_ratio(self):
        table = splits.split_by_image(make_table({"ALL": [50, 50], "HEM": [60]}), 0.8, seed=3)
        counts = table.groupby(["label", "split"]).size().to_dict()
        assert counts == {
            ("ALL", "train"): 80,
            ("ALL", "test"): 20,
            ("HEM", "train"): 48,
            ("HEM", "test"): 12,
        }

    def test_when_the_seed_is_the_same_then_so_is_the_split(self):
        first, again, other = (splits.split_by_image(make_table(), seed=s) for s in (1, 1, 2))
        assert first["split"].equals(again["split"])
        assert not first["split"].equals(other["split"])

    @pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.2, float("nan")])
    def test_when_the_ratio_is_out_of_range_then_it_is_refused(self, ratio):
        for split in (splits.split_by_image, splits.split_by_subject):
            with pytest.raises(ValueError, match=r"ratio.*Received"):
                split(make_table(), ratio)

    def test_when_a_class_is_missing_then_it_says_which(self):
        with pytest.raises(ValueError, match=r"2 images of each class.*0 HEM of 0"):
            splits.split_by_image(make_table({"ALL": [5, 5]}))


class TestSplitBySubject:
    @pytest.mark.parametrize("seed", range(8))
    def test_when_split_then_no_subject_and_no_twin_is_on_two_sides(self, linked, seed):
        table = splits.split_by_subject(linked, seed=seed)
        for column in ("linked_subject", "subject", "pixels"):
            assert table.groupby(column)["split"].nunique().max() == 1
        splits.check_split(table)

    @pytest.mark.parametrize("seed", range(8))
    def test_when_whole_subjects_allow_it_then_the_asked_shares_are_met(self, seed):
        sizes = {"ALL": [757, 402, *range(10, 300, 7)], "HEM": [405, 404, 385, *range(9, 200, 9)]}
        table = duplicates.link_subjects(make_table(sizes))
        report = splits.describe_split(splits.split_by_subject(table, seed=seed))
        asked = pd.Series({"train": 0.7, "validation": 0.1, "test": 0.2})
        assert (report["share"] - asked).abs().max() < 0.04
        assert np.ptp(report["ALL_share"]) < 0.15

    def test_when_the_nearest_choice_is_unique_then_it_is_found(self):
        table = duplicates.link_subjects(make_table({"ALL": [70, 20, 7, 3], "HEM": [7, 2, 1]}))
        split = splits.split_by_subject(table, seed=0, tolerance=0)
        sides = split.groupby("subject")["split"].first().to_dict()
        assert sides == {
            "1": "train",
            "2": "test",
            "3": "validation",
            "4": "train",
            "H1": "train",
            "H2": "test",
            "H3": "validation",
        }

    def test_when_seeds_differ_then_so_do_the_splits(self, linked):
        keep = {"tolerance": 0.05}
        drawn = {tuple(splits.split_by_subject(linked, seed=s, **keep)["split"]) for s in range(10)}
        again = {tuple(splits.split_by_subject(linked, seed=s, **keep)["split"]) for s in range(10)}
        assert len(drawn) > 3
        assert drawn == again

    def test_when_a_class_has_too_few_subjects_then_it_is_refused(self):
        table = duplicates.link_subjects(make_table({"ALL": [5, 5, 5], "HEM": [5, 5]}))
        with pytest.raises(ValueError, match=r"at least 3 linked subjects.*10 HEM of 2 sub"):
            splits.split_by_subject(table)
        assert set(splits.split_by_subject(table, validation=0)["split"]) == {"train", "test"}

    @pytest.mark.parametrize("validation", [-0.1, 0.8, 0.9])
    def test_when_validation_is_out_of_range_then_it_is_refused(self, linked, validation):
        with pytest.raises(ValueError, match=r"validation.*Received"):
            splits.split_by_subject(linked, validation=validation)

    def test_when_subjects_were_not_linked_then_it_says_so(self):
        with pytest.raises(ValueError, match="link_subjects"):
            splits.split_by_subject(make_table())


class TestCheckSplit:
    def test_when_a_subject_is_moved_in_part_then_it_is_named(self, linked):
        table = splits.split_by_subject(linked, seed=1)
        row = table.index[table["linked_subject"] == "1+2"][0]
        table.loc[row, "split"] = "test" if table.loc[row, "split"] == "train" else "train"
        with pytest.raises(splits.LeakError, match=r"linked subject 1\+2 in test, train"):
            splits.check_split(table)

    def test_when_twins_are_parted_under_other_names_then_the_files_are_named(self):
        table = make_twins(make_table(), ("2", "1")).assign(split="train")
        table.loc[table["subject"] == "1", "split"] = "test"
        with pytest.raises(splits.LeakError, match=r"UID_1_1_40_all.bmp = UID_2_1_25_all.bmp"):
            splits.check_split(table)

    def test_when_an_original_is_tested_and_its_copy_trains_then_it_is_a_leak(self):
        rows = {"path": ["a.bmp", "a_augmented_1.bmp", "b.bmp"], "source": [None, "a.bmp", None]}
        table = pd.DataFrame(rows).assign(split=["test", "train", "train"])
        with pytest.raises(splits.LeakError, match=r"1 x image drawn from.*a\.bmp = a_augmented"):
            splits.check_split(table)
        splits.check_split(table.assign(split=["train", "train", "test"]))

    def test_when_a_row_is_on_no_side_then_it_is_refused(self, linked):
        with pytest.raises(ValueError, match=r"one of train.*Received"):
            splits.check_split(linked.assign(split="exam"))


class TestFolds:
    """The cell of notebook 01 that looks at the official folds and repairs them."""

    def test_when_official_folds_part_twins_then_they_are_named(self, linked):
        found = look_at_folds(linked)["found"]
        assert "linked subject 1+2 in 1, 2" in found

    def test_when_folds_are_repaired_then_nothing_leaks_and_few_move(self, linked):
        table = look_at_folds(linked)["repaired"]
        assert len(splits.find_leaks(table, sides="fold")) == 0
        assert set(table.loc[table["linked_subject"] == "1+2", "fold"]) == {"1"}
        alone = table[~table["linked_subject"].str.contains("+", regex=False)]
        before = linked.set_index("path")["fold"]
        assert list(alone["fold"]) == list(before[alone["path"]])

    def test_when_there_are_no_folds_then_it_says_so(self, linked, capsys):
        look_at_folds(linked.assign(fold=""))
        assert "no folds" in capsys.readouterr().out


class TestWriteAndRead:
    @pytest.fixture
    def table(self, tree) -> pd.DataFrame:
        linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tree)))
        return splits.split_by_subject(linked, seed=2)

    @pytest.fixture
    def folder(self, table, tree, tmp_path) -> Path:
        keep = {"root": tree, "ratio": 0.8, "seed": 2}
        split_files.write_split(table, tmp_path / "split", method="subject", **keep)
        return tmp_path / "split"

    def test_when_written_then_it_reads_the_same_from_another_place(self, table, folder, tree):
        moved = tree.rename(tree.with_name("moved"))
        paths = [str(moved / Path(path).relative_to(tree)) for path in table["path"]]
        pd.testing.assert_frame_equal(
            split_files.read_split(folder, moved), table.assign(path=paths), check_dtype=False
        )

    def test_when_written_then_it_says_how_it_was_made(self, folder, table):
        facts = json.loads((folder / "split.json").read_text())
        assert (facts["method"], facts["ratio"], facts["seed"]) == ("subject", 0.8, 2)
        assert facts["data"] == cnmc.listing_digest(table)
        assert sum(part["images"] for part in facts["parts"].values()) == len(table)
        assert str(Path(table["path"][0]).parent) not in (folder / "split.csv").read_text()

    def test_when_a_row_changes_sides_then_reading_refuses_and_names_it(self, folder, tree):
        text = (folder / "split.csv").read_text()
        assert text.count("1+2,train") > 1
        (folder / "split.csv").write_text(text.replace("1+2,train", "1+2,test", 1))
        with pytest.raises(splits.LeakError, match=r"1\+2 in test, train"):
            split_files.read_split(folder, tree)

    def test_when_the_subject_is_renamed_too_then_the_twins_give_it_away(self, folder, tree):
        lines = (folder / "split.csv").read_text().splitlines()
        forged = [x.replace("1+2,train", "1,test" if ",1,1," in x else "2,train") for x in lines]
        forged = [x.replace("1+2,train", "2,train") for x in forged]
        (folder / "split.csv").write_text("\n".join(forged) + "\n")
        with pytest.raises(splits.LeakError):
            split_files.read_split(folder, tree)

    def test_when_there_is_no_split_then_it_says_what_one_is(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"split\.json"):
            split_files.read_split(tmp_path, tmp_path)

    def test_when_a_leaky_split_is_called_leak_free_then_it_is_not_written(self, tree, tmp_path):
        linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tree)))
        leaky = splits.split_by_image(linked, seed=1)
        keep = {"root": tree, "ratio": 0.8, "seed": 1}
        with pytest.raises(splits.LeakError):
            split_files.write_split(leaky, tmp_path / "split", method="subject", **keep)
        assert not (tmp_path / "split").exists()

    def test_when_the_split_leaks_on_purpose_then_its_record_says_so(self, tree, tmp_path):
        linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tree)))
        leaky = splits.split_by_image(linked, seed=1)
        keep = {"root": tree, "ratio": 0.8, "seed": 1}
        split_files.write_split(leaky, tmp_path / "split", method="image", **keep)
        assert json.loads((tmp_path / "split" / "split.json").read_text())["leak_free"] is False
        read = split_files.read_split(tmp_path / "split", tree)
        assert list(read["split"]) == list(leaky["split"])


class TestSplitFolders:
    @pytest.mark.parametrize("by", ["image", "subject"])
    def test_when_split_then_every_image_is_in_one_place(self, tree, tmp_path, by):
        split_files.split_folders(tree, tmp_path / "out", 0.6, seed=1, by=by)
        assert content(tmp_path / "out") == content(tree)
        assert {p.name for p in (tmp_path / "out").iterdir()} == {
            "train",
            "test",
            "split.csv",
            "split.json",
        }
        for part in ("train", "test"):
            assert {p.name for p in (tmp_path / "out" / part).iterdir()} == {"all", "hem"}

    def test_when_split_by_subject_then_folders_share_no_image(self, tree, tmp_path):
        split_files.split_folders(tree, tmp_path / "out", seed=1, by="subject")
        assert not content(tmp_path / "out" / "train") & content(tmp_path / "out" / "test")

    @pytest.mark.parametrize("place", ["images", "images/deep/out"])
    def test_when_the_output_is_inside_the_input_then_it_is_refused(self, tree, tmp_path, place):
        with pytest.raises(ValueError, match=r"outside the input.*Received"):
            split_files.split_folders(tree, tmp_path / place)

    def test_when_the_output_is_not_empty_then_nothing_is_changed(self, tree, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("keep")
        with pytest.raises(FileExistsError, match=r"new or empty.*Received"):
            split_files.split_folders(tree, tmp_path / "out")
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_when_the_root_is_missing_or_empty_then_it_is_refused(self, tmp_path):
        (tmp_path / "empty").mkdir()
        for root in ("nowhere", "empty"):
            with pytest.raises(FileNotFoundError, match="Received"):
                split_files.split_folders(tmp_path / root, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_when_one_class_is_missing_then_it_is_named(self, tree, tmp_path):
        for path in (tree / "hem").iterdir():
            path.unlink()
        with pytest.raises(ValueError, match="HEM"):
            split_files.split_folders(tree, tmp_path / "out")

    def test_when_the_ratio_is_wrong_then_nothing_is_written(self, tree, tmp_path):
        with pytest.raises(ValueError, match="Received"):
            split_files.split_folders(tree, tmp_path / "out", ratio=1.5)
        assert {p.name for p in tmp_path.iterdir()} == {"images"}

    def test_when_a_folder_of_a_like_name_is_there_then_it_is_kept(self, tree, tmp_path):
        (tmp_path / "out.partial").mkdir()
        (tmp_path / "out.partial" / "thesis.doc").write_text("keep")
        split_files.split_folders(tree, tmp_path / "out")
        assert (tmp_path / "out.partial" / "thesis.doc").read_text() == "keep"

    def test_when_two_split_into_one_folder_then_one_is_refused(self, tree, tmp_path):
        script = (
            "import sys; from helpers.data import split_files; "
            "split_files.split_folders(sys.argv[1], sys.argv[2], seed=int(sys.argv[3]))"
        )
        command = [sys.executable, "-c", script, str(tree), str(tmp_path / "out")]
        runs = [subprocess.Popen([*command, n], stderr=subprocess.PIPE, text=True) for n in "12"]
        told = [run.communicate(timeout=120)[1] for run in runs]
        assert sorted(run.returncode for run in runs) == [0, 1]
        assert sum("new or empty" in text for text in told) == 1
        assert content(tmp_path / "out") == content(tree)

    def test_when_the_disk_is_small_then_no_file_is_copied(self, tree, tmp_path, monkeypatch):
        usage = namedtuple("usage", "total used free")(0, 0, 1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(OSError, match=r"copy of the images needs 21\.9 MB.*Received"):
            split_files.split_folders(tree, tmp_path / "out")
        assert not list(tmp_path.rglob("*out*/**/*.bmp"))

    @pytest.mark.skipif(os.name == "nt", reason="names are text there")
    def test_when_a_name_is_not_utf_8_then_it_is_named_at_once(self, tree, tmp_path):
        for label in ("cat", os.fsdecode(b"caf\xe9")):
            (tmp_path / "in" / label).mkdir(parents=True)
            shutil.copy(next(tree.rglob("*.bmp")), tmp_path / "in" / label / "1.bmp")
        with pytest.raises(ValueError, match=r"UTF-8: rename.*caf\\udce9"):
            split_files.split_folders(tmp_path / "in", tmp_path / "out")

    def test_when_images_are_of_other_formats_then_they_are_counted(self, tree, tmp_path):
        for name in ("UID_9_1_1_all.tif", "UID_9_2_1_all.WEBP", "UID_9_3_1_all.webp"):
            (tree / "all" / name).write_bytes(b"")
        with pytest.warns(UserWarning, match=r"3 files \(.tif, .webp\) under .*PNG"):
            split_files.split_folders(tree, tmp_path / "out")
        assert content(tmp_path / "out") == content(tree)

    def test_when_two_images_of_a_class_have_one_name_then_none_is_copied(self, tree, tmp_path):
        for fold in ("fold_0", "fold_1"):
            (tree / fold / "all").mkdir(parents=True)
            shutil.copy(tree / "all" / "UID_3_1_1_all.bmp", tree / fold / "all")
        with pytest.raises(ValueError, match=r"one name.*UID_3_1_1_all"):
            split_files.split_folders(tree, tmp_path / "out")
        assert not list(tmp_path.rglob("*out*/**/*.bmp"))

    @pytest.mark.skipif(os.name == "nt", reason="SIGKILL is not known on Windows")
    def test_when_killed_and_run_again_then_nothing_is_lost_or_doubled(self, tree, tmp_path):
        slow = (
            "import shutil, sys, time; from helpers.data import split_files; "
            "split_files.COPIERS['copy'] = lambda a, b: (shutil.copy2(a, b), time.sleep(0.2)); "
            "split_files.split_folders(sys.argv[1], sys.argv[2], seed=1)"
        )
        run = subprocess.Popen([sys.executable, "-c", slow, str(tree), str(tmp_path / "out")])
        wait_for(lambda: len(content(tmp_path / ".out.partial")) > 3)
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert not (tmp_path / "out").exists()
        split_files.split_folders(tree, tmp_path / "out", seed=1)
        assert content(tmp_path / "out") == content(tree)
        assert not (tmp_path / ".out.partial").exists()


CLASSES = "Dogs and cats are taken for the classes"


class TestAnyClasses:
    """Two class folders of any images, as for another project: the paper's general script."""

    @pytest.fixture
    def pets(self, tmp_path) -> Path:
        rng = np.random.default_rng(0)
        for number in range(20):
            side, name = 40 + number % 3, ("cats/big", "cats", "Dogs/1", "Dogs/2")[number % 4]
            path = tmp_path / "pets" / name / f"{number // 4}{('.png', '.jpg')[number % 2]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (side, 50, 3), dtype=np.uint8)).save(path)
        return tmp_path / "pets"

    def test_when_names_and_sizes_are_any_then_they_are_split_with_a_warning(self, pets, tmp_path):
        with pytest.warns(UserWarning, match=CLASSES):
            table = split_files.split_folders(pets, tmp_path / "out", 0.8, seed=3)
        counts = table.groupby(["label", "split"]).size().to_dict()
        assert counts == dict.fromkeys([("cats", "train"), ("Dogs", "train")], 8) | dict.fromkeys(
            [("cats", "test"), ("Dogs", "test")], 2
        )

    def test_when_split_then_every_image_keeps_its_place_in_its_class(self, pets, tmp_path):
        with pytest.warns(UserWarning, match=CLASSES):
            split_files.split_folders(pets, tmp_path / "out", 0.5, seed=3)
        found = sorted((tmp_path / "out").glob("t*/**/*.*g"))
        places = {path.relative_to(tmp_path / "out").as_posix().split("/", 1)[1] for path in found}
        assert places == {path.relative_to(pets).as_posix() for path in pets.rglob("*.*g")}
        assert len(found) == 20

    def test_when_read_again_then_it_is_the_same_table(self, pets, tmp_path):
        with pytest.warns(UserWarning, match=CLASSES):
            table = split_files.split_folders(pets, tmp_path / "out", 0.5, seed=3)
        read = split_files.read_split(tmp_path / "out", pets)
        columns = ["path", "label", "sha256", "split"]
        pd.testing.assert_frame_equal(read[columns], table[columns], check_dtype=False)
        facts = json.loads((tmp_path / "out" / "split.json").read_text())
        assert facts["parts"]["test"] == {
            "images": 10, "share": 0.5, "Dogs": 5, "cats": 5, "cats_share": 0.5, "subjects": 0,
        }  # fmt: skip

    def test_when_subjects_are_not_known_then_a_split_by_subject_is_refused(self, pets, tmp_path):
        with (
            pytest.warns(UserWarning, match=CLASSES),
            pytest.raises(ValueError, match=r"UID_<subject>.*Received: 20 other images.*Dogs"),
        ):
            split_files.split_folders(pets, tmp_path / "out", by="subject")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("third", ["birds/1.png", "1.png"])
    def test_when_there_are_not_two_classes_then_it_says_what_there_is(self, pets, tmp_path, third):
        (pets / third).parent.mkdir(exist_ok=True)
        shutil.copy(pets / "cats" / "0.jpg", pets / third)
        with pytest.raises(ValueError, match=f"two folders.*Received: .*{third.split('/')[0]}"):
            split_files.split_folders(pets, tmp_path / "out")

    def test_when_a_file_is_broken_then_it_is_named(self, pets, tmp_path):
        (pets / "cats" / "0.jpg").write_bytes(b"no image")
        with (
            pytest.warns(UserWarning, match=CLASSES),
            pytest.raises(image_files.ImageError, match=r"0\.jpg: unre"),
        ):
            split_files.split_folders(pets, tmp_path / "out")


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


class TestLinks:
    """Trees whose images, folders or root are links to elsewhere."""

    @pytest.fixture(autouse=True)
    def work(self, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))

    def link_files(self, tree: Path, to: Path, *, relative: bool = False) -> Path:
        for path in tree.rglob("*.bmp"):
            place = to / path.relative_to(tree)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(os.path.relpath(path, place.parent) if relative else path)
        return to

    def link_folders(self, tree: Path, to: Path) -> Path:
        to.mkdir()
        for folder in tree.iterdir():
            (to / folder.name).symlink_to(folder)
        return to

    def link_root(self, tree: Path, to: Path) -> Path:
        to.symlink_to(tree)
        return to

    @pytest.mark.parametrize("way", ["link_files", "link_folders", "link_root"])
    def test_when_a_tree_is_of_links_then_it_is_prepared_as_the_tree_itself(
        self, tree, tmp_path, way
    ):
        links = getattr(self, way)(tree, tmp_path / "links")
        tables = []
        for root in (tree, links):
            table = split_files.prepare(cnmc.locate(root), PROFILE)
            assert all(Path(path).is_file() for path in table["path"])
            tables.append(table.assign(path=table["path"].map(os.path.basename)))
        pd.testing.assert_frame_equal(*tables)

    def test_when_a_split_is_made_of_links_then_it_is_prepared(self, tree, tmp_path):
        split_files.split_folders(tree, tmp_path / "out", by="subject")
        links = self.link_files(tmp_path / "out", tmp_path / "links")
        table = split_files.prepare(cnmc.locate(links), PROFILE)
        assert len(table) == 35
        assert set(table["path"].str.split("/").str[-3]) == {"train", "test"}

    @pytest.mark.parametrize("relative", [True, False])
    def test_when_links_are_split_then_the_images_arrive(self, tree, tmp_path, relative):
        links = self.link_files(tree, tmp_path / "links", relative=relative)
        split_files.split_folders(links, tmp_path / "out", seed=1)
        assert content(tmp_path / "out") == content(tree)
        assert len(split_files.read_split(tmp_path / "out", links)) == 36

    def test_when_the_root_is_named_by_a_link_then_paths_are_relative_to_it(self, tree, tmp_path):
        (tmp_path / "link").symlink_to(tree)
        linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tmp_path / "link")))
        table = splits.split_by_subject(linked, seed=2)
        spelled = table["path"].str.replace(str(tree), str(tmp_path / "link"))
        for paths, name in ((table["path"], "a"), (spelled, "b")):
            facts = {"root": tmp_path / "link", "method": "subject", "ratio": 0.8, "seed": 2}
            split_files.write_split(table.assign(path=paths), tmp_path / name, **facts)
            assert len(split_files.read_split(tmp_path / name, tmp_path / "link")) == len(table)

    def test_when_an_image_is_outside_the_root_then_it_is_refused(self, tree, tmp_path):
        linked = duplicates.link_subjects(image_files.add_digests(cnmc.index(tree)))
        table = splits.split_by_subject(linked, seed=2)
        facts = {"root": tree / "all", "method": "subject", "ratio": 0.8, "seed": 2}
        with pytest.raises(ValueError, match="hem"):
            split_files.write_split(table, tmp_path / "split", **facts)


class TestPrepare:
    @pytest.fixture(autouse=True)
    def work(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
        return tmp_path / "work"

    def test_when_prepared_then_three_clean_parts_without_copies(self, tree):
        table = split_files.prepare(cnmc.Source(tree, is_synthetic=True), PROFILE)
        splits.check_split(table)
        assert table["pixels"].is_unique
        assert len(table) == 35
        assert table.groupby("split")["label"].nunique().to_dict() == dict.fromkeys(splits.PARTS, 2)

    def test_when_asked_again_then_it_comes_from_cache(self, tree, monkeypatch):
        source = cnmc.Source(tree, is_synthetic=True)
        first = split_files.prepare(source, PROFILE)
        monkeypatch.setattr(split_files, "add_digests", lambda *_: pytest.fail("read again"))
        pd.testing.assert_frame_equal(split_files.prepare(source, PROFILE), first)

    def test_when_an_image_changes_then_the_split_is_made_anew(self, tree):
        source = cnmc.Source(tree, is_synthetic=True)
        before = split_files.prepare(source, PROFILE)
        shared = tree / "all" / "UID_2_1_1_all.bmp"
        shared.write_bytes((tree / "all" / "UID_2_1_2_all.bmp").read_bytes())
        after = split_files.prepare(source, PROFILE)
        assert "1+2" in set(before["linked_subject"])
        assert "1+2" not in set(after["linked_subject"])

    def test_when_the_step_or_a_library_changes_then_the_split_is_made_anew(
        self, tree, work, monkeypatch
    ):
        source = cnmc.Source(tree, is_synthetic=True)
        for attribute, value in (("VERSION", 1), ("VERSION", 2), ("version", str)):
            monkeypatch.setattr(split_files, attribute, value)
            split_files.prepare(source, PROFILE)
        kept = [path for path in (work / "splits").iterdir() if not path.name.startswith(".")]
        assert len(kept) == 3

    def test_when_there_are_more_images_than_the_profile_reads_then_no_subject_is_lost(self, tree):
        few = Profile("few", 32, (8, 6), 20, (4, 3, 14), 50, 1, 1e-2)
        table = split_files.prepare(cnmc.Source(tree, is_synthetic=True), few)
        assert len(table) == 20
        assert table["linked_subject"].nunique() == 11

    def test_when_a_class_has_two_subjects_then_it_says_what_is_needed(self, tree):
        for path in (tree / "hem").iterdir():
            if path.name[5] not in "12":
                path.unlink()
        with pytest.raises(ValueError, match="at least 3 linked subjects"):
            split_files.prepare(cnmc.Source(tree, is_synthetic=True), PROFILE)


class TestStart:
    """What begins every notebook refuses, in words, what is too little for the series."""

    @pytest.fixture(autouse=True)
    def told(self, tree, tmp_path, monkeypatch) -> None:
        monkeypatch.setenv("CNMC_DATA", str(tree))
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))

    def test_when_there_is_enough_then_it_goes_on(self, tree):
        _, source, split = helpers.start()
        assert (source.root, len(split)) == (tree.resolve(), 35)

    def test_when_a_class_has_few_images_then_it_says_how_many_of_how_many_subjects(self, tree):
        kept = {f"UID_H{number}_1_{cell}_hem.bmp" for number in (1, 2, 3) for cell in (1, 2)}
        for path in (tree / "hem").iterdir():
            if path.name not in kept:
                path.unlink()
        with pytest.raises(
            ValueError, match=r"6 images in the training.*6 HEM of 3 subjects, 17 ALL of 5"
        ):
            helpers.start()

    def test_when_a_class_has_two_subjects_then_it_says_so(self, tree):
        for path in (tree / "all").iterdir():
            if path.name[4] in "123":
                path.unlink()
        (tree / "all" / "UID_6_1_1_all.bmp").write_bytes(
            (tree / "all" / "UID_5_1_1_all.bmp").read_bytes()
        )
        with pytest.raises(ValueError, match=r"3 linked subjects.*18 HEM of 6.*8 ALL of 2"):
            helpers.start()


def test_when_images_are_blank_then_none_is_dropped_as_the_copy_of_another():
    table = pd.DataFrame({"path": list("abcd"), "pixels": [None, None, "x", "x"]})
    assert list(duplicates.drop_duplicates(table)["path"]) == ["a", "b", "c"]


def test_when_subjects_share_a_blank_image_then_that_is_no_leak():
    table = make_table().head(4).assign(split=["train", "test"] * 2, subject=list("abcd"))
    table = table.assign(linked_subject=list("abcd"), sha256="x", pixels=None)
    assert splits.find_leaks(table).empty
    splits.check_split(table)
    same = table.assign(pixels=["y", "y", None, None])
    assert list(splits.find_leaks(same)["kind"]) == ["identical image"]


class TestOfficialTest:
    @pytest.fixture
    def make(self, tmp_path, monkeypatch):
        """Writes both parts; of the preliminary one two PNG files for each name, as in C-NMC."""
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
        root = tmp_path / "data"
        write_cells(root / "training_data" / "fold_0", ["1", "2", "3", "H1", "H2", "H3"])
        known = root / "training_data" / "fold_0" / "all" / "UID_1_0_1_all.bmp"

        def call(people, shared=""):
            folder = root / "validation_data" / "C-NMC_test_prelim_phase_data"
            folder.mkdir(parents=True)
            rng, lines = np.random.default_rng(1), ["Patient_ID,new_names,labels"]
            for n, who in enumerate(np.repeat(people, 2), start=1):
                image = Image.fromarray(rng.integers(0, 255, (450, 450, 3), dtype=np.uint8))
                image = Image.open(known) if who == shared and n % 2 else image
                image.save(folder / f"{n}.bmp", format="PNG")
                label = "hem" if who.startswith("H") else "all"
                lines.append(f"UID_{who}_{n}_1_{label}.bmp,{n}.bmp,{int(label == 'all')}")
            (folder.parent / f"{folder.name}_labels.csv").write_text("\n".join(lines))
            return cnmc.locate(root)

        return call

    def test_when_a_subject_shares_an_image_or_a_name_with_training_then_it_is_left_out(self, make):
        people = ["4", "5", "6", "7", "H4", "H5", "H6", "H1"]
        table, told = split_files.official_test(make(people, shared="7"), PROFILE)
        assert sorted(set(table["linked_subject"])) == ["4", "5", "6", "H4", "H5", "H6"]
        assert set(table["split"]) == {"test"}
        assert "12 of 16 images" in told
        assert "4 of subjects that share a name or an image" in told

    def test_when_there_are_more_than_the_profile_takes_then_every_subject_stays(self, make):
        people = ["4", "5", "6", "7", "8", "H4", "H5", "H6", "H7"]
        table, told = split_files.official_test(make(people), PROFILE)
        assert (len(table), set(table["linked_subject"])) == (14, set(people))
        assert "4 more than this profile takes" in told

    @pytest.mark.parametrize(("people", "why"), [([], "No prel"), (["4", "5", "H4"], "Too few")])
    def test_when_there_is_no_test_to_speak_of_then_a_line_says_so(self, make, people, why):
        source = make(people)
        if not people:
            shutil.rmtree(source.root / "validation_data")
        table, told = split_files.official_test(source, PROFILE)
        assert table.empty
        assert told.startswith(why)
