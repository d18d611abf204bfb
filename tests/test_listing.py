"""Finding the images of a copy in any layout, and what is refused."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from cnmc_tree import build_tree

from helpers.data import cnmc, duplicates, image_files
from helpers.data.cnmc import COLUMNS

NAMES = ["UID_1_2_1_all", "UID_1_10_1_all", "UID_h3_1_1_hem", "UID_H10_1_2_hem"]
LISTING = Path(__file__).resolve().parents[2] / "shared" / "cnmc" / "listing.csv.gz"
LABELS = "C-NMC_test_prelim_phase_data_labels.csv"


def make(root: Path, *paths: str) -> Path:
    """Makes files that hold nothing but their own names."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path.rsplit("/", 1)[-1])
    return root


def in_folders(above: str, suffix: str = ".bmp") -> list[str]:
    return [f"{above}/{name[-3:]}/{name}{suffix}" for name in NAMES]


class TestLayouts:
    @pytest.mark.parametrize(
        ("above", "fold"),
        [
            ("C-NMC_Leukemia/training_data/fold_0", "0"),
            ("deep/er/PKG - C-NMC 2019/C-NMC_training_data/fold_2", "2"),
            ("training_data/fold_1/fold_1", "1"),
            ("plain", ""),
        ],
    )
    def test_when_the_layout_differs_then_the_table_does_not(self, tmp_path, above, fold):
        table = cnmc.index(make(tmp_path, *in_folders(above)))
        assert list(table.columns) == COLUMNS
        assert [Path(path).stem for path in table["path"]] == NAMES
        assert list(table["subject"]) == ["1", "1", "h3", "H10"]
        assert list(table["image"]) == [2, 10, 1, 1]
        assert set(table["fold"]) == {fold}

    @pytest.mark.parametrize("suffix", [".bmp", ".BMP", ".png", ".jpg", ".JPEG"])
    def test_when_the_format_differs_then_the_images_are_found(self, tmp_path, suffix):
        assert len(cnmc.index(make(tmp_path, *in_folders("cells", suffix)))) == 4

    def test_when_the_class_folders_are_in_capitals_then_they_are_read(self, tmp_path):
        table = cnmc.index(make(tmp_path, "ALL/UID_1_1_1_all.bmp", "HEM/UID_H1_1_1_hem.bmp"))
        assert list(table["label"]) == ["ALL", "HEM"]

    def test_when_all_lie_in_one_folder_then_their_names_tell(self, tmp_path):
        table = cnmc.index(make(tmp_path, *(f"{name}.bmp" for name in NAMES)))
        assert list(table["label"]) == ["ALL", "ALL", "HEM", "HEM"]

    def test_when_other_files_lie_about_then_they_are_passed_over(self, tmp_path):
        others = ("README.txt", ".cache/UID_9_9_9_all.bmp", "__MACOSX/all/._UID_9_9_9_all.bmp")
        assert len(cnmc.index(make(tmp_path, *in_folders("cells"), *others))) == 4

    def test_when_a_copy_lies_nested_beside_itself_then_it_counts_once(self, tmp_path):
        make(tmp_path, *in_folders("fold_0"), *in_folders("fold_0/fold_0"))
        assert len(cnmc.index(tmp_path)) == 4

    def test_when_a_folder_is_linked_into_itself_then_it_ends(self, tmp_path):
        make(tmp_path, *in_folders("cells"))
        try:
            (tmp_path / "cells" / "again").symlink_to(tmp_path, target_is_directory=True)
        except OSError:
            pytest.skip("links need a permission here")
        assert len(cnmc.index(tmp_path)) == 4


class TestTestParts:
    FOLDER = "C-NMC_test_prelim_phase_data"

    def label(self, root: Path, *rows: tuple) -> Path:
        table = pd.DataFrame(rows, columns=["Patient_ID", "new_names", "labels"])
        table.to_csv(root / self.FOLDER / LABELS, index=False)
        return root

    @pytest.mark.parametrize("nested", ["", "/C-NMC_test_prelim_phase_data"])
    def test_when_preliminary_then_the_label_file_tells_who_it_is(self, tmp_path, nested):
        make(tmp_path, f"{self.FOLDER}{nested}/1.bmp", f"{self.FOLDER}{nested}/2.bmp")
        rows = ("UID_57_29_1_all.bmp", "1.bmp", 1), ("UID_H48_1_2_hem.bmp", "2.bmp", 0)
        table = cnmc.index(self.label(tmp_path, *rows), "preliminary")
        assert list(table["subject"]) == ["57", "H48"]
        assert list(table["label"]) == ["ALL", "HEM"]
        assert set(table["fold"]) == {"preliminary"}

    def test_when_the_label_file_knows_other_names_then_the_image_is_shown(self, tmp_path):
        make(tmp_path, f"{self.FOLDER}/1.bmp", f"{self.FOLDER}/7.bmp")
        self.label(tmp_path, ("UID_57_29_1_all.bmp", "1.bmp", 1))
        with pytest.raises(ValueError, match=r"label file.*Received: 1 others.*7\.bmp"):
            cnmc.index(tmp_path, "preliminary")

    def test_when_the_label_file_is_missing_then_it_is_asked_for(self, tmp_path):
        make(tmp_path, f"{self.FOLDER}/1.bmp")
        with pytest.raises(FileNotFoundError, match=f"{LABELS}.*Received"):
            cnmc.index(tmp_path, "preliminary")

    def test_when_final_then_there_are_no_labels_and_numbers_sort(self, tmp_path):
        folder = "testing_data/C-NMC_test_final_phase_data"
        table = cnmc.index(make(tmp_path, f"{folder}/10.bmp", f"{folder}/9.bmp"), "final")
        assert list(table["image"]) == [9, 10]
        assert table[["label", "subject", "cell"]].isna().all(axis=None)

    def test_when_a_name_of_the_final_set_is_no_plain_number_then_it_has_none(self, tmp_path):
        table = cnmc.index(make(tmp_path, "C-NMC_test_final_phase_data/1².bmp"), "final")
        assert table["image"].isna().all()

    def test_when_training_is_asked_for_then_the_test_parts_stay_out(self, tmp_path):
        make(tmp_path, *in_folders("fold_0"), f"{self.FOLDER}/1.bmp")
        self.label(tmp_path, ("UID_57_29_1_all.bmp", "1.bmp", 1))
        assert len(cnmc.index(tmp_path)) == 4
        assert len(cnmc.index(tmp_path, "all")) == 5


class TestOtherFolders:
    """What lies beside the data set is named and left alone."""

    @pytest.mark.parametrize(
        "others",
        [
            ("phase2/1.bmp", "phase3/1.bmp"),
            ("val/1.bmp", "test/1.bmp"),
            ("my crops/all/1.png", "my crops/hem/1.png", "old/all/1.png"),
        ],
    )
    def test_when_other_images_lie_beside_then_they_are_named_and_left_out(self, tmp_path, others):
        make(tmp_path, *in_folders("C-NMC_training_data/fold_0"))
        for number, path in enumerate(others):
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text(str(number))
        with pytest.warns(
            UserWarning, match=rf"no part of the data set: .*{others[0].split('/')[0]}"
        ):
            assert len(cnmc.index(tmp_path)) == 4

    def test_when_one_lies_above_the_data_set_then_only_it_is_left_out(self, tmp_path):
        make(tmp_path, *in_folders("C-NMC_training_data/fold_0"), "figure.png")
        with pytest.warns(UserWarning, match=r"Left out, .*: 1 images in "):
            assert len(cnmc.index(tmp_path)) == 4

    def test_when_there_is_nothing_else_then_they_are_refused_as_ever(self, tmp_path):
        make(tmp_path, "phase2/1.bmp", "phase3/2.bmp")
        with pytest.raises(ValueError, match=r"rename or move these.*2 others"):
            cnmc.index(tmp_path)

    @pytest.mark.parametrize("closed", ["lost+found", "fold_0/.Trash-0", "fold_0/private"])
    def test_when_a_folder_cannot_be_read_then_the_others_are(self, tmp_path, monkeypatch, closed):
        make(tmp_path, *in_folders("fold_0"), f"{closed}/UID_9_9_9_all.bmp")
        scan = os.scandir

        def refuse(folder):
            if str(folder).endswith(closed):
                raise PermissionError(13, "Permission denied", str(folder))
            return scan(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        with warnings.catch_warnings(record=True) as told:
            assert len(cnmc.index(tmp_path)) == 4
        said = {str(warning.message).split(": ")[0] for warning in told}
        assert said == (set() if ".Trash" in closed else {"Passed over, as it cannot be read"})


class TestListImages:
    FILES = ("b/10.png", "b/2.png", "a/1.png", "x.JPG", "notes.txt", ".cache/1.png", "1²2.bmp")

    def test_when_images_have_any_names_then_each_is_listed_in_natural_order(self, tmp_path):
        table = cnmc.list_images(make(tmp_path, *self.FILES))
        assert list(table["file"]) == ["1²2.bmp", "a/1.png", "b/2.png", "b/10.png", "x.JPG"]
        assert list(table["path"]) == [str(tmp_path / file) for file in table["file"]]

    def test_when_two_are_of_one_name_then_both_are_listed(self, tmp_path):
        """Equal and different ones: one folder per patient numbers its images from 1."""
        make(tmp_path, "p1/1.png", "p2/1.png", "p3/1.png")
        (tmp_path / "p3" / "1.png").write_text("another")
        assert list(cnmc.list_images(tmp_path)["file"]) == ["p1/1.png", "p2/1.png", "p3/1.png"]

    def test_when_the_folder_is_a_link_then_the_files_are_under_it(self, tmp_path):
        make(tmp_path / "there", "a/1.png")
        (tmp_path / "here").symlink_to(tmp_path / "there")
        assert list(cnmc.list_images(tmp_path / "here")["file"]) == ["a/1.png"]

    def test_when_files_are_of_other_formats_then_they_are_counted(self, tmp_path):
        make(tmp_path, "a/1.png", "a/2.TIF", "b/3.tiff", "4.npy", ".cache/5.tif", "notes.txt")
        with pytest.warns(UserWarning, match=r"3 files \(.npy, .tif, .tiff\).*PNG") as told:
            assert list(cnmc.list_images(tmp_path)["file"]) == ["a/1.png"]
        assert len(told) == 1

    def test_when_there_is_none_then_it_says_what_is_sought(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"\.png.*Received"):
            cnmc.list_images(make(tmp_path, "notes.txt"))


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (["10", "9", "H2", "h1"], ["9", "10", "H2", "h1"]),
        (["1²2", "1²10", "x³"], ["1²2", "1²10", "x³"]),
        (["٣", "12"], ["٣", "12"]),
    ],
)
def test_when_names_hold_numbers_then_they_sort_by_their_value(names, ordered):
    assert sorted(reversed(names), key=cnmc.natural_key) == ordered


class TestBadInput:
    def test_when_the_root_is_missing_then_it_says_how_to_get_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"helpers fetch.*Received: '.*nowhere'"):
            cnmc.index(tmp_path / "nowhere")

    def test_when_the_root_is_empty_then_it_says_what_was_sought(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"\.bmp.*Received: .*no images"):
            cnmc.index(tmp_path)

    def test_when_foreign_images_share_a_name_then_their_names_are_the_fault(self, tmp_path):
        make(tmp_path, "cat/1.bmp", "dog/1.bmp")
        (tmp_path / "dog" / "1.bmp").write_text("another")
        with pytest.raises(ValueError, match=r"^Images are named UID_.*Received: 2 others"):
            cnmc.index(tmp_path)

    @pytest.mark.skipif(os.name == "nt", reason="names are text there")
    def test_when_a_folder_is_not_in_utf_8_then_it_is_named(self, tmp_path):
        make(tmp_path, *in_folders(os.fsdecode(b"caf\xe9")))
        with pytest.raises(ValueError, match=r"UTF-8: rename.*caf\\udce9"):
            cnmc.index(tmp_path)

    def test_when_only_another_part_is_there_then_it_is_counted(self, tmp_path):
        make(tmp_path, *in_folders("fold_0"))
        with pytest.raises(FileNotFoundError, match=r"final part.*4 training images"):
            cnmc.index(tmp_path, "final")

    def test_when_the_part_is_unknown_then_the_parts_are_named(self, tmp_path):
        make(tmp_path, *in_folders("fold_0"))
        with pytest.raises(FileNotFoundError, match=r"training, preliminary, final.*part='x'"):
            cnmc.index(tmp_path, "x")

    @pytest.mark.parametrize("name", ["all/cell 7.bmp", "hem/UID_1_1_1_all.bmp"])
    def test_when_a_name_does_not_parse_or_fit_its_folder_then_it_is_shown(self, tmp_path, name):
        make(tmp_path, *in_folders("."), name)
        with pytest.raises(ValueError, match=f"Received: 1 others.*{Path(name).name}"):
            cnmc.index(tmp_path)

    def test_when_two_files_claim_to_be_one_image_then_both_are_shown(self, tmp_path):
        make(tmp_path, *in_folders("fold_0"), *in_folders("copy/fold_0"))
        (tmp_path / "copy/fold_0/all/UID_1_2_1_all.bmp").write_text("other")
        with pytest.raises(ValueError, match=r"differ.*Received: .*UID_1_2_1_all\.bmp and .*copy"):
            cnmc.index(tmp_path)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Iterator[Path]:
    """A tree of stand-in files with the names and the duplicates of all 15,114 images."""
    listing = pd.read_csv(LISTING)
    root = build_tree(tmp_path_factory.mktemp("cnmc"), listing)
    yield root
    for path in listing["path"]:
        (root / path).unlink()


@pytest.mark.skipif(not LISTING.is_file(), reason="the listing of the published set is not here")
class TestFullSize:
    def test_when_the_published_tree_is_indexed_then_nothing_is_lost(self, root):
        table = cnmc.index(root)
        assert table["label"].value_counts().to_dict() == {"ALL": 7_272, "HEM": 3_389}
        assert table["subject"].nunique() == 73
        assert table["fold"].value_counts().sort_index().to_dict() == {
            "0": 3_527,
            "1": 3_581,
            "2": 3_553,
        }

    def test_when_subjects_are_linked_then_there_are_66_and_106_pairs(self, root):
        trained = image_files.add_digests(cnmc.index(root))
        final = image_files.add_digests(cnmc.index(root, "final"))
        assert duplicates.link_subjects(trained)["linked_subject"].nunique() == 66
        assert (
            len(duplicates.find_duplicates(trained)) + len(duplicates.find_duplicates(final)) == 106
        )
