"""Telling the published set from any other copy."""

import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data import cnmc, image_files, official
from helpers.data.cnmc import index, listing_digest, read_labels
from helpers.data.official import PUBLISHED, PUBLISHED_DIGEST, Report, verify

LISTING = Path(__file__).resolve().parents[2] / "shared" / "cnmc" / "listing.csv.gz"
LABELS = "C-NMC_test_prelim_phase_data/C-NMC_test_prelim_phase_data_labels.csv"


@pytest.fixture
def copy(tmp_path) -> Path:
    """One image of a training fold and one of each test part, none of them published."""
    rng = np.random.default_rng(0)
    places = {
        "fold_0/all/UID_1_1_1_all.bmp": 450,
        "C-NMC_test_prelim_phase_data/1.bmp": 450,
        "C-NMC_test_final_phase_data/1.bmp": 600,
    }
    for place, side in places.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / place)
    row = {"Patient_ID": "UID_2_1_1_all.bmp", "new_names": "1.bmp", "labels": 1}
    pd.DataFrame([row]).to_csv(tmp_path / LABELS, index=False)
    return tmp_path


@pytest.mark.skipif(not LISTING.is_file(), reason="the listing of the published set is not here")
class TestPublished:
    @pytest.fixture
    def listing(self) -> pd.DataFrame:
        listing = pd.read_csv(LISTING)
        return listing[~listing["path"].str.endswith(".csv")]

    def test_when_the_published_files_are_listed_then_the_digest_is_ours(self, listing):
        assert len(listing) == 15_114 == sum(images for images, _ in PUBLISHED.values())
        assert listing_digest(listing) == PUBLISHED_DIGEST

    def test_when_each_folder_is_listed_then_number_and_digest_are_ours(self, listing):
        folders = {
            **{f"fold_{n}/{c}": f"fold_{n}/{c}/" for n in (0, 1, 2) for c in ("all", "hem")},
            "preliminary": "prelim_phase",
            "final": "final_phase",
        }
        parts = {g: listing[listing["path"].str.contains(text)] for g, text in folders.items()}
        found = {group: (len(rows), listing_digest(rows)) for group, rows in parts.items()}
        assert found == PUBLISHED

    def test_when_layout_and_order_change_then_the_digest_does_not(self, listing):
        other = listing.sample(frac=1, random_state=0)
        moved = other["path"].str.replace("training_data/", "x/C-NMC_training_data/")
        assert listing_digest(other.assign(path=moved)) == PUBLISHED_DIGEST

    def test_when_two_images_are_swapped_then_the_digest_changes(self, listing):
        swapped = listing["sha256"].to_numpy().copy()
        swapped[[0, 1]] = swapped[[1, 0]]
        assert listing_digest(listing.assign(sha256=swapped)) != PUBLISHED_DIGEST


class TestVerify:
    def test_when_nothing_is_published_then_each_folder_is_compared(self, copy):
        report = verify(copy)
        found = report.groups.set_index("group")
        assert found.loc["fold_0/all"].to_list() == [1, 2_397, "differs"]
        assert found.loc["fold_1/hem", "state"] == "absent"
        assert (len(report.problems), report.is_published) == (0, False)

    def test_when_it_is_printed_then_the_differences_can_be_read(self, copy):
        text = str(verify(copy))
        assert "3 images, listing digest" in text
        assert "This is not the whole published set." in text
        assert re.search(r"preliminary +1 +1867 +differs", text)

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"", "zero bytes"),
            (b"<html>" * 99, "unreadable, not an image"),
            (image_files.to_bmp(np.zeros((450, 450, 3), np.uint8))[:-9], "truncated"),
            (image_files.to_bmp(np.zeros((600, 600, 3), np.uint8)), "wrong size, 600 x 600 px"),
            (image_files.to_bmp(np.zeros((9, 9, 3), np.uint8)), "wrong size, 9 x 9 px"),
        ],
    )
    def test_when_a_file_is_bad_then_it_is_named_and_the_others_read(self, copy, data, problem):
        path = copy / "fold_0" / "all" / "UID_1_1_1_all.bmp"
        path.write_bytes(data)
        report = verify(copy)
        assert report.problems["path"].to_list() == [str(path)]
        assert report.problems["problem"][0].startswith(problem)
        assert f"{path}: {problem}" in str(report)

    @pytest.mark.skipif(os.name == "nt", reason="Windows knows neither such links nor such names")
    @pytest.mark.parametrize("bad", ["loop", "nowhere", "no UTF-8"])
    def test_when_a_file_cannot_be_opened_then_the_others_are_read(self, copy, bad):
        path = copy / "fold_0" / "all" / "UID_1_1_1_all.bmp"
        if bad == "no UTF-8":
            path = path.rename(path.with_name(os.fsdecode(b"UID_\xff_1_1_all.bmp")))
        else:
            path.unlink()
            path.symlink_to({"loop": path.name, "nowhere": "gone.bmp"}[bad])
        report = verify(copy)
        assert report.groups.set_index("group").loc["preliminary", "state"] == "differs"
        assert re.search(r"all/UID_.*_1_1_all\.bmp", str(report))

    def test_when_the_label_file_cannot_be_read_then_that_is_a_problem_too(self, copy, monkeypatch):
        def refuse(*_):
            raise PermissionError(13, "Permission denied", LABELS)

        monkeypatch.setattr(cnmc, "read_labels", refuse)
        assert "Permission denied" in verify(copy).problems["problem"][0]

    def test_when_a_final_image_is_450_px_wide_then_it_is_not_the_published_one(self, copy):
        path = copy / "C-NMC_test_final_phase_data" / "1.bmp"
        path.write_bytes(image_files.to_bmp(np.zeros((450, 450, 3), np.uint8)))
        assert "wrong size, 450 x 450 px" in verify(copy).problems["problem"][0]

    def test_when_the_label_file_is_wrong_then_that_is_a_problem_too(self, copy):
        (copy / LABELS).write_text("Patient_ID,new_names,labels\nUID_2_1_1_all.bmp,8.bmp,1\n")
        problems = verify(copy).problems
        assert problems["path"].to_list() == [str(copy / LABELS)]

    def test_when_there_are_foreign_folders_then_they_are_not_in_the_set(self, copy):
        path = copy / "hem" / "UID_H1_1_1_hem.png"
        path.parent.mkdir()
        Image.new("RGB", (450, 450)).save(path)
        assert re.search(r"hem +1 +0 +not in the set", str(verify(copy)))

    def test_when_there_is_no_image_then_it_is_refused(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="holds no images"):
            verify(tmp_path)

    def test_when_it_is_the_published_set_then_the_verdict_says_so(self):
        states = {"fold_0/all": "published", "preliminary": "differs", "final": "absent"}
        table = pd.DataFrame(list(states.items()), columns=["group", "state"])
        table = table.assign(images=1, expected=1)
        problems = pd.DataFrame(columns=["path", "problem"])
        assert "This is the published set." in str(Report(table, problems, PUBLISHED_DIGEST))
        assert "preliminary   differs" in str(Report(table, problems, "0"))


SHARED = LISTING.parent / "C-NMC_Leukemia" / "validation_data"


class TestLabels:
    """The preliminary set's images may be the published ones with a label file that is not."""

    @pytest.fixture
    def published(self, copy, monkeypatch):
        """A copy whose preliminary image and label are taken for the published ones."""
        cells = index(copy, "preliminary")
        digest = listing_digest(image_files.add_digests(cells))
        lines = "".join(f"1.bmp {who} ALL\n" for who in cells["subject"])
        monkeypatch.setitem(official.PUBLISHED, "preliminary", (1, digest))
        monkeypatch.setattr(official, "LABELS_DIGEST", sha256(lines.encode()).hexdigest())
        return copy

    def test_when_the_labels_are_published_then_there_is_no_problem(self, published):
        assert verify(published).problems.empty

    @pytest.mark.parametrize("cell", ["UID_3_1_1_all.bmp,1.bmp,1", "UID_H2_1_1_hem.bmp,1.bmp,0"])
    def test_when_a_label_or_subject_is_another_then_it_is_named(
        self, published, monkeypatch, cell
    ):
        (published / LABELS).write_text(f"Patient_ID,new_names,labels\n{cell}\n")
        whole = listing_digest(pd.DataFrame(columns=["path", "sha256"]))
        monkeypatch.setattr(official, "PUBLISHED_DIGEST", whole)
        report = verify(published)
        assert f"{published / LABELS}: labels other than the published" in str(report)
        assert not report._replace(digest=whole).is_published

    @pytest.mark.skipif(not SHARED.is_dir(), reason="the real C-NMC 2019 files are not here")
    def test_when_the_published_label_file_is_read_then_its_digest_is_ours(self):
        cells = read_labels([str(next(SHARED.glob("*_labels.csv")))])
        named = pd.DataFrame([(name, cell.subject, cell.label) for name, cell in cells.items()],
                             columns=["path", "subject", "label"])  # fmt: skip
        assert len(cells) == 1_867
        assert official._has_published_labels(named)
