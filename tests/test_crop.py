import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.augment import crop
from helpers.data import image_files


def disc(radius: float, x: float = 224.5, y: float = 224.5) -> np.ndarray:
    rows, columns = np.mgrid[:450, :450]
    return np.hypot(rows - y, columns - x) <= radius


def table_of(folder, *masks) -> pd.DataFrame:
    paths = [str(folder / f"{n}.bmp") for n in range(len(masks))]
    for path, mask in zip(paths, masks, strict=True):
        image = np.repeat(mask[..., None] * np.uint8(70), 3, axis=2)
        (folder / path).write_bytes(image_files.to_bmp(image))
    return pd.DataFrame({"path": paths, "label": "ALL"})


@pytest.fixture
def tailed(tmp_path):
    """A nucleus of radius 100 with a tail of cytoplasm that reaches the right edge."""
    tail = np.zeros((450, 450), bool)
    tail[215:235, 225:440] = True
    return table_of(tmp_path, disc(100) | tail), disc(100), tail


class TestFindNucleus:
    def test_when_there_is_only_a_nucleus_then_nothing_is_debris(self):
        nucleus, debris = crop.find_nucleus(disc(100)[..., None] * np.full(3, 70, np.uint8))
        np.testing.assert_array_equal(nucleus, disc(100))
        assert not debris.any()

    def test_when_a_tail_hangs_on_then_it_is_debris_but_for_its_root(self, tailed):
        table, body, tail = tailed
        nucleus, debris = crop.find_nucleus(image_files.read_image(table["path"][0]))
        assert not (nucleus & debris).any()
        np.testing.assert_array_equal(nucleus | debris, body | tail)
        assert not (debris & body).any()
        assert debris.sum() > 0.8 * (tail & ~body).sum()

    def test_when_a_nucleus_is_oval_then_its_ends_are_not_debris(self):
        rows, columns = np.mgrid[:450, :450] - 224.5
        oval = (rows / 90) ** 2 + (columns / 150) ** 2 <= 1
        nucleus, debris = crop.find_nucleus(oval[..., None] * np.full(3, 70, np.uint8))
        assert debris.sum() < 0.002 * nucleus.sum()

    def test_when_an_image_is_black_then_there_is_neither(self):
        nucleus, debris = crop.find_nucleus(np.zeros((450, 450, 3), np.uint8))
        assert not nucleus.any()
        assert not debris.any()


class TestSurvey:
    def test_when_a_crop_cuts_then_slicing_finds_the_same_pixels(self, tmp_path):
        mask = disc(120, x=190)
        measured = crop.survey(table_of(tmp_path, mask), [200, 300, 400]).set_index("side")
        for side in (200, 300, 400):
            edge = (450 - side) // 2
            kept = mask[edge : edge + side, edge : edge + side].sum()
            assert measured.loc[side, "nucleus_cut"] == mask.sum() - kept
        assert measured["nucleus"].unique() == mask.sum()

    def test_when_only_a_tail_is_cut_then_the_nucleus_is_safe(self, tailed):
        measured = crop.survey(tailed[0], [300, 400, 440])
        summary = crop.summarise(measured)
        assert summary["debris only"].tolist() == [1, 1, 0]
        assert summary["nucleus"].tolist() == [0, 0, 0]
        assert 200 <= measured["nucleus_side"].max() <= 230

    def test_when_a_cell_is_out_of_centre_then_turning_may_cut_it(self, tmp_path):
        table = table_of(tmp_path, disc(80, x=310, y=310))  # corner to corner, it fits 400
        measured = crop.survey(table, [400])
        assert (measured["nucleus_cut"][0], measured["turned_cut"][0] > 0) == (0, True)
        turned = Image.fromarray(disc(80, x=310, y=310)).rotate(45)
        assert np.asarray(turned)[:, 425:].any() or np.asarray(turned)[:25].any()
        assert measured["nucleus_side"].max() < 400 < measured["turned_side"].max()

    def test_when_images_differ_then_the_worst_one_decides(self, tmp_path):
        measured = crop.survey(table_of(tmp_path, disc(60), disc(180)), [300])
        assert measured["nucleus_side"].max() == 360
        summary = crop.summarise(measured)
        assert summary.loc[300, ["images", "cut", "nucleus"]].tolist() == [2, 1, 1]
        lost = 1 - (disc(180)[75:375, 75:375].sum() / disc(180).sum())
        assert summary.loc[300, "worst"] == pytest.approx(lost)

    @pytest.mark.parametrize("sides", [[], [401], [452], [0]])
    def test_when_a_side_makes_no_sense_then_it_is_refused(self, sides, tmp_path):
        with pytest.raises(ValueError, match="Sides of crops"):
            crop.survey(table_of(tmp_path, disc(60)), sides)
