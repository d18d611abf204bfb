import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.plots import augment

ORIGIN = "made up in a test"


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture
def discs():
    """A small and a large disc; the large one loses its rim to a crop of 256 px."""
    rows, columns = np.mgrid[:450, :450] - 224.5
    return [
        (np.hypot(rows, columns) < radius)[..., None] * np.full(3, 70, np.uint8)
        for radius in (60, 150)
    ]


def panels(fig):
    return [ax for ax in fig.axes if ax.images]


class TestCrop:
    def test_when_squares_are_drawn_then_they_have_the_sides_asked(self, discs):
        fig = augment.crop_squares(discs, (256, 400), ["a", "b"], ORIGIN)
        for ax in panels(fig):
            assert [p.get_width() for p in ax.patches] == [256, 400]
            assert {p.get_x() + p.get_width() / 2 for p in ax.patches} == {224.5}

    def test_when_a_crop_cuts_then_the_lost_pixels_are_coloured(self, discs):
        parts = [(disc[..., 0] > 0, np.zeros((450, 450), bool)) for disc in discs]
        fig = augment.cut_cells(discs, parts, 256, ["a", "b"], ORIGIN)
        colour = np.uint8(255 * np.array(mpl.colors.to_rgb(augment.LOST["nucleus"])))
        lost = [(ax.images[0].get_array() == colour).all(axis=2).sum() for ax in panels(fig)]
        large, inside = parts[1][0], np.s_[97:353, 97:353]
        assert lost == [0, large.sum() - large[inside].sum()]

    def test_when_cuts_are_summarised_then_each_kind_has_its_line(self):
        columns = ["images", "cut", "nucleus", "nucleus if turned"]
        summary = pd.DataFrame([(2, 1, 1, 1), (2, 0, 0, 0)], [256, 400], columns)
        fig = augment.crop_cuts(summary, ORIGIN)
        (ax,) = fig.axes
        drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
        assert drawn["anything"] == drawn["nucleus"] == [50, 0]
        assert "2 images" in fig.get_suptitle()


class TestAugment:
    def test_when_flips_are_drawn_then_what_is_off_shows(self):
        done = pd.DataFrame({"asked": [0.5, 0.5], "way": ["a", "b"], "done": [0.55, 0.5]})
        done = done.assign(low=[0.52, 0.47], high=[0.58, 0.53])
        (ax,) = augment.asked_and_done(done, 1000, ORIGIN).axes
        heights = [box[0].get_ydata()[0] for box in ax.containers]
        assert heights == pytest.approx([5, 0])
        bars = [box[2][0].get_segments()[0][:, 1] for box in ax.containers]
        np.testing.assert_allclose(bars, [[2, 8], [-3, 3]])

    def test_when_sizes_grow_then_every_operation_has_its_line_of_dots(self):
        grown = pd.DataFrame({"operation": ["turn", "turn", "flip"], "growth": [1.1, 1.4, 1.0]})
        (ax,) = augment.growth(grown, 1.17, ORIGIN).axes
        assert ax.collections[0].get_offsets().round().tolist() == [[1, 0], [1, 0], [1, 1]]
        assert [t.get_text() for t in ax.get_yticklabels()] == ["turn\n(n=2)", "flip\n(n=1)"]

    def test_when_parts_are_counted_then_augmented_images_are_on_top(self):
        table = pd.DataFrame(
            [("train", "ALL", "original")] * 3
            + [("train", "ALL", "augmented")] * 2
            + [("validation", "ALL", "original"), ("test", "HEM", "original")],
            columns=["split", "label", "kind"],
        )
        counts = pd.crosstab([table["split"], table["label"]], table["kind"])
        (ax,) = augment.balance(counts, ORIGIN).axes
        assert [text.get_text() for text in ax.texts] == ["5", "0", "1", "0", "0", "1"]
        original, added = (bars[0] for bars in ax.containers)
        assert (original.get_height(), added.get_height(), added.get_y()) == (3, 2, 3)
