"""Figures of the layers: every channel and region that should be there is, and dead ones show."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.plots import layers

RNG = np.random.default_rng(0)
ORIGIN = "drawn"


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def pictures(fig) -> list:
    return [ax for ax in fig.axes if ax.images]


def test_when_channels_are_silent_then_they_are_drawn_and_crossed_out():
    answers = RNG.uniform(0, 1, (4, 4, 5))
    answers[..., 3] = 0
    fig = layers.activation_grid(answers, "conv", ORIGIN)
    crossed = [ax.get_title() for ax in pictures(fig) if ax.lines]
    assert len(pictures(fig)) == 5
    assert crossed == ["3 silent"]
    assert "1 of all silent" in fig.get_suptitle()


def test_when_one_channel_is_far_louder_then_each_is_on_the_scale_that_its_title_tells():
    answers = np.stack([np.array([[0.0, 0.5], [0, 0]]), np.array([[-3.0, 80], [0, 0]])], axis=-1)
    loud, low = pictures(layers.activation_grid(answers, "conv", ORIGIN))
    assert (loud.images[0].get_clim(), loud.get_title()) == ((-3, 80), "1: -3 to 80")
    assert (low.images[0].get_clim(), low.get_title()) == ((0, 0.5), "0: 0 to 0.5")


@pytest.mark.parametrize(("shape", "drawn"), [((6, 6, 1), 1), ((2, 2, 2048), 8), ((5,), 5)])
def test_when_there_are_one_or_many_channels_then_the_title_says_how_many(shape, drawn):
    fig = layers.activation_grid(RNG.uniform(0.1, 1, shape), "conv", ORIGIN)
    assert len(pictures(fig)) == drawn
    assert f"{drawn} of {shape[-1]} channels" in fig.get_suptitle()


def test_when_silence_is_drawn_then_each_subject_is_a_point_and_each_network_a_line():
    rows = [(n, s, d, 0.1 * d) for n in ("trained", "untrained") for s in "abc" for d in (1, 2)]
    zeros = pd.DataFrame(rows, columns=["network", "subject", "depth", "zeros"])
    dead = zeros.query("subject == 'a'").rename(columns={"zeros": "dead"})
    left, right = layers.silence_by_depth(zeros, dead, ORIGIN).axes
    assert [len(points.get_offsets()) for points in left.collections] == [6, 6]
    assert len(left.lines) == len(right.lines) == 2


def test_when_maps_of_two_networks_are_drawn_then_each_has_a_row():
    images, maps = RNG.uniform(0, 90, (3, 8, 8, 3)), RNG.uniform(0, 1, (3, 8, 8))
    fig = layers.cam_grid(images, {"one": maps, "two": maps}, list("abc"), ORIGIN)
    assert len(pictures(fig)) == 9


def test_when_attention_is_drawn_then_bars_are_the_means_over_subjects():
    rows = [("net", r, s, v) for r in layers.REGION_COLOURS for s, v in (("a", 1.0), ("b", 3.0))]
    shares = pd.DataFrame(rows, columns=["network", "region", "subject", "ratio"])
    fig = layers.attention_bars(shares, ORIGIN)
    heights = [bar.get_height() for bar in fig.axes[0].patches if bar.get_height() > 0]
    assert heights == [2.0, 2.0, 2.0]


def test_when_a_journey_is_drawn_then_each_stop_shows_its_loudest_channel_and_its_zeros():
    maps = np.zeros((4, 4, 6))
    maps[0, 0, 2], maps[1, 1, 5] = 1.0, 3.0
    cell = RNG.uniform(0, 90, (8, 8, 3))
    _, first, last = pictures(layers.journey(cell, {"a": maps, "b": maps[:1]}, "ALL", ORIGIN))
    assert (np.asarray(first.images[0].get_array()) == maps[..., 5]).all()
    assert first.images[0].get_clim() == (0, 3)
    assert first.get_title() == "a: 4 x 4 x 6\n98% at zero"
    assert last.get_title() == "b: 1 x 4 x 6\n96% at zero"


def test_when_channels_are_equally_loud_then_the_first_of_them_comes_first():
    assert layers.loudest(np.array([[[1.0, 3.0, 2.0, 3.0]]]), most=3).tolist() == [1, 3, 2]
