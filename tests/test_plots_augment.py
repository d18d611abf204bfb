from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.augment import crop
from helpers.data import image_files
from helpers.plots import augment

ORIGIN = "made up in a test"


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def paths(tmp_path):
    """A small and a large disc; the large one loses its rim to a crop of 256 px."""
    rows, columns = np.mgrid[:450, :450] - 224.5
    found = []
    for radius in (60, 150):
        image = (np.hypot(rows, columns) < radius)[..., None] * np.full(3, 70, np.uint8)
        found.append(str(tmp_path / f"{radius}.bmp"))
        (tmp_path / f"{radius}.bmp").write_bytes(image_files.to_bmp(image))
    return found


def panels(fig):
    return [ax for ax in fig.axes if ax.images]


class TestCrop:
    def test_when_squares_are_drawn_then_they_have_the_sides_asked(self, paths):
        fig = augment.crop_squares(paths, (256, 400), ["a", "b"], ORIGIN)
        for ax in panels(fig):
            assert [p.get_width() for p in ax.patches] == [256, 400]
            assert {p.get_x() + p.get_width() / 2 for p in ax.patches} == {224.5}

    def test_when_a_crop_cuts_then_the_lost_pixels_are_coloured(self, paths):
        fig = augment.cut_cells(paths, 256, ["a", "b"], ORIGIN)
        colour = augment._rgb(augment.LOST["nucleus"])
        lost = [(ax.images[0].get_array() == colour).all(axis=2).sum() for ax in panels(fig)]
        measured = crop.survey(pd.DataFrame({"path": paths}), [256])
        assert lost == measured["nucleus_cut"].tolist()
        assert lost[0] == 0 < lost[1]

    def test_when_cuts_are_summarised_then_each_kind_has_its_line(self, paths):
        summary = crop.summarise(crop.survey(pd.DataFrame({"path": paths}), [256, 400]))
        fig = augment.crop_cuts(summary, ORIGIN)
        (ax,) = fig.axes
        drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
        assert drawn["anything"] == drawn["nucleus"] == [50, 0]
        assert "2 images" in fig.get_suptitle()

    def test_when_images_stand_in_a_row_then_each_has_its_name(self):
        pixels = np.full((8, 8, 3), 100)
        fig = augment.image_row({"large": pixels, "small": pixels[::2]}, "Two", ORIGIN)
        assert [ax.get_title() for ax in panels(fig)] == ["large", "small"]

    def test_when_an_image_is_brightened_then_nothing_overflows(self):
        bright = augment.brighten(np.array([0, 100, 255]))
        assert bright.tolist() == [0, 160, 255]
        assert bright.dtype == np.uint8


class TestAugment:
    def test_when_copies_stand_beside_originals_then_columns_say_which(self):
        rows = [[np.full((4, 4, 3), n) for n in range(3)]] * 2
        fig = augment.beside(rows, "Copies", ORIGIN)
        assert [ax.get_title() for ax in fig.axes[:3]] == ["original", "copy 1", "copy 2"]
        assert len(panels(fig)) == 6

    def test_when_flips_are_drawn_then_what_is_off_shows(self):
        done = pd.DataFrame(
            {"asked": [0.5, 0.5], "way": ["a", "b"], "done": [0.55, 0.5], "tries": 1000}
        )
        (ax,) = augment.asked_and_done(done, ORIGIN).axes
        heights = [box[0].get_ydata()[0] for box in ax.containers]
        assert heights == pytest.approx([5, 0])

    def test_when_sizes_grow_then_every_operation_has_its_line_of_dots(self):
        grown = pd.DataFrame({"operation": ["turn", "turn", "flip"], "growth": [1.1, 1.4, 1.0]})
        (ax,) = augment.growth(grown, 1.17, ORIGIN).axes
        assert [len(dots.get_offsets()) for dots in ax.collections] == [2, 1]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["turn\n(n=2)", "flip\n(n=1)"]

    def test_when_parts_are_counted_then_augmented_images_are_on_top(self):
        table = pd.DataFrame(
            [("train", "ALL", None)] * 3 + [("train", "ALL", "x")] * 2 + [("test", "HEM", None)],
            columns=["split", "label", "source"],
        )
        (ax,) = augment.balance(table, ORIGIN).axes
        assert [text.get_text() for text in ax.texts] == ["5", "0", "0", "1"]
        assert [bar.get_height() for bar in ax.patches[:2]] == [3, 2]

    def test_when_a_batch_is_shown_then_titles_name_class_and_number(self):
        fig = augment.batch_grid(np.zeros((12, 4, 4, 3)), np.arange(12) % 2, "Batch", ORIGIN)
        titles = [ax.get_title() for ax in panels(fig)]
        assert titles == ["HEM 0", "ALL 1"] * 6
