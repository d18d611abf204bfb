"""The published files themselves; skipped where `shared/cnmc` is not beside the project."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_synthetic
from PIL import Image
from test_splits import look_at_folds

from helpers import settings
from helpers.data import cnmc, duplicates, image_files, split_files, splits

CNMC = Path(__file__).resolve().parents[2] / "shared" / "cnmc"
pytestmark = pytest.mark.skipif(not CNMC.is_dir(), reason="the real C-NMC 2019 files are not here")


class TestSplits:
    """Splits of the published training images: the whole listing, and the few real files."""

    @pytest.fixture
    def listed(self) -> pd.DataFrame:
        """The table of all 10,661 training images, with the digests of the published files."""
        listing = pd.read_csv(CNMC / "listing.csv.gz")
        listing = listing[listing["path"].str.startswith("training_data")].reset_index(drop=True)
        name = (
            r"fold_(?P<fold>\d)/.*UID_(?P<subject>\w+?)_(?P<image>\d+)_(?P<cell>\d+)_(?P<label>\w+)"
        )
        table = listing.join(listing["path"].str.extract(name))
        return duplicates.link_subjects(table.assign(label=table["label"].str.upper()))

    def test_when_subjects_are_linked_then_the_true_groups_appear(self, listed):
        groups = listed["linked_subject"].unique()
        joined = {group for group in groups if "+" in group}
        assert joined == {"20+21", "51+75+78", "H2+H4+H5+H6", "H10+h3"}
        assert (len(groups), listed["subject"].nunique()) == (66, 73)

    def test_when_pairs_are_counted_then_they_are_the_known_ones(self, listed):
        pairs = duplicates.find_duplicates(listed)
        names = pairs[["subject", "subject_twin"]].apply(frozenset, axis="columns").value_counts()
        assert len(pairs) == 104  # and two more in the final test set
        assert (pairs["fold"] != pairs["fold_twin"]).sum() == 94
        assert names[frozenset({"20", "21"})] == 71
        assert names[frozenset({"H10"})] == 5

    @pytest.mark.parametrize("seed", range(5))
    def test_when_split_by_subject_then_shares_and_balance_are_met(self, listed, seed):
        table = splits.split_by_subject(duplicates.drop_duplicates(listed), seed=seed)
        splits.check_split(table)
        for _, rows in table.groupby("label"):
            share = rows["split"].value_counts(normalize=True)
            assert share.to_dict() == pytest.approx(
                {"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.011
            )

    def test_when_split_by_image_then_nearly_everybody_is_on_both_sides(self, listed):
        leaks = splits.find_leaks(splits.split_by_image(listed, seed=1))["kind"].value_counts()
        assert leaks["subject"] >= 71
        assert 15 <= leaks["identical image"] <= 55

    def test_when_folds_are_repaired_then_the_known_subjects_move(self, listed):
        found = look_at_folds(listed)
        assert found["found"].startswith("4 x linked subject, 94 x identical image")
        repaired = found["repaired"]
        moved = repaired[repaired["fold"] != repaired["path"].str.extract(r"fold_(\d)")[0]]
        assert moved.groupby("subject")["fold"].first().to_dict() == {
            "21": "0",
            "75": "1",
            "78": "1",
            "H6": "2",
            "h3": "1",
        }
        assert len(splits.find_leaks(repaired, sides="fold")) == 0

    def test_when_the_real_files_are_prepared_then_three_clean_parts(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        source = cnmc.locate(CNMC / "C-NMC_Leukemia")
        table = split_files.prepare(source, settings.active("smoke"))
        assert len(table) == 33
        assert table.groupby("split")["label"].nunique().to_dict() == dict.fromkeys(splits.PARTS, 2)

    def test_when_real_files_become_folders_then_none_is_lost(self, tmp_path):
        table = split_files.split_folders(
            CNMC / "C-NMC_Leukemia", tmp_path / "out", 0.8, by="subject"
        )
        assert len(table) == len(list((tmp_path / "out").rglob("*.bmp"))) == 33


class TestStandIns:
    """The figures that the drawn cells are held to are those of the real nuclei."""

    def test_when_real_nuclei_are_measured_then_their_medians_lie_within_the_same_bounds(self):
        files = sorted((CNMC / "C-NMC_Leukemia" / "training_data").rglob("*.bmp"))
        images = [np.asarray(Image.open(path)) for path in files]
        masks = [image.any(axis=2) for image in images]
        rows = [
            test_synthetic.shape_of(mask) | test_synthetic.look_of(image, mask)
            for image, mask in zip(images, masks, strict=True)
        ]
        medians = pd.DataFrame(rows).median()
        bounds = test_synthetic.QUARTILES
        assert not {k: medians[k] for k, (a, b) in bounds.items() if not a < medians[k] < b}

    def test_when_real_files_are_written_again_then_not_a_byte_differs(self):
        path = next((CNMC / "C-NMC_Leukemia" / "training_data").rglob("*.bmp"))
        assert image_files.to_bmp(np.asarray(Image.open(path))) == path.read_bytes()
