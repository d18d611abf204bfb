"""Stain: planted dyes are found again, targets are reached, and black stays black."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.color import rgb2lab

from helpers.augment import stain
from helpers.data import image_files
from helpers.standin import nucleus

CNMC = Path(__file__).resolve().parents[2] / "shared" / "cnmc"
PURPLE, PINK = np.array([0.65, 0.65, 0.39]), np.array([0.27, 0.85, 0.45])
DYES = np.array([v / np.linalg.norm(v) for v in (PURPLE, PINK)])


def mix(strengths, side=120, seed=0):
    """An image of two dyes of Beer and Lambert's law, some pixels pure, on a black frame."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.3, 1, (side * side, 2)) * strengths
    amounts[: side * 8, 0] = 0
    amounts[side * 8 : side * 16, 1] = 0
    pixels = 255 * np.exp(-rng.permutation(amounts) @ DYES)
    return np.pad(np.rint(pixels).astype(np.uint8).reshape(side, side, 3), ((9, 9), (9, 9), (0, 0)))


@pytest.fixture(scope="module")
def cells():
    return [nucleus.draw_nucleus(np.random.default_rng(n), "ALL") for n in range(3)]


def lab_of(image):
    return rgb2lab(image)[image.any(axis=2)]


def test_when_dyes_are_planted_then_macenko_finds_them():
    found = stain.measure([mix((1.2, 0.8))], per_image=20_000)
    angles = np.degrees(np.arccos((found.stains * DYES).sum(axis=1)))
    assert (angles < 2).all()
    assert found.strengths == pytest.approx([1.2, 0.8], rel=0.05)


def test_when_one_dye_is_weaker_then_macenko_restores_its_pixels():
    strong, weak = mix((1.2, 0.8)), mix((1.2, 0.5))
    restored = stain.macenko(weak, stain.measure([strong], per_image=20_000))
    before, after = (np.abs(image.astype(float) - strong).mean() for image in (weak, restored))
    assert before > 8
    assert after < before / 5


def test_when_normalised_by_reinhard_then_mean_and_spread_are_the_targets(cells):
    target = stain.measure([stain.as_seen_in(cells[1], stain.Laboratory(light=(1.3, 1.2, 0.9)))])
    after = lab_of(stain.reinhard(cells[0], target))
    assert after.mean(axis=0) == pytest.approx(target.lab_mean, abs=0.6)
    assert after.std(axis=0) == pytest.approx(target.lab_sd, rel=0.1)


@pytest.mark.parametrize("method", [stain.reinhard, stain.macenko])
def test_when_an_image_is_its_own_target_then_hardly_a_pixel_moves(cells, method):
    after = method(cells[0], stain.measure([cells[0]], per_image=30_000))
    assert np.abs(after.astype(float) - cells[0]).mean() < 1


@pytest.mark.parametrize(
    "change",
    [
        lambda image: stain.reinhard(image, stain.measure([mix((1, 1))])),
        lambda image: stain.macenko(image, stain.measure([mix((3, 3))])),
        lambda image: stain.as_seen_in(image, stain.Laboratory((3.0, 3.0, 3.0))),
        stain.even_light,
        stain.jitter,
    ],
)
def test_when_a_stain_is_changed_then_the_outline_is_not(cells, change):
    assert (change(cells[0]).any(axis=2) == cells[0].any(axis=2)).all()


def test_when_light_falls_off_then_even_light_takes_the_slope_out():
    rows = np.linspace(0.8, 1.2, 200)[:, None, None]
    tilted = np.rint(np.full((200, 200, 3), 100) * rows).astype(np.uint8)
    assert stain.even_light(tilted).std() < tilted.std() / 10


def test_when_another_laboratory_takes_the_picture_then_the_law_of_beer_holds():
    image = np.full((2, 2, 3), (64, 32, 128), np.uint8)
    seen = stain.as_seen_in(image, stain.Laboratory((2.0, 1.0, 1.0), (1.0, 1.5, 0.5)))
    assert seen[0, 0].tolist() == [round(64**2 / 255), 48, 64]


def test_when_jittered_then_the_seed_decides_within_the_amount(cells):
    first, again = stain.jitter(cells[0], 0.2, seed=1), stain.jitter(cells[0], 0.2, seed=1)
    assert (first == again).all()
    assert (first != stain.jitter(cells[0], 0.2, seed=2)).any()
    assert (stain.jitter(cells[0], 0.0) == cells[0]).all()


def test_when_the_image_is_black_then_the_error_says_so():
    with pytest.raises(ValueError, match="Received: 0 pixels"):
        stain.macenko(np.zeros((4, 4, 3), np.uint8), None)


class TestCopies:
    @pytest.fixture
    def table(self, tmp_path, monkeypatch, cells):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
        paths = [tmp_path / f"{n}.bmp" for n in range(len(cells))]
        for path, cell in zip(paths, cells, strict=True):
            Image.fromarray(cell).save(path)
        return image_files.add_digests(pd.DataFrame({"path": map(str, paths), "label": "ALL"}))

    def test_when_copies_are_written_then_they_hold_the_changed_images(self, table, cells):
        written = stain.write_copies(table, stain.even_light)
        assert "sha256" not in written
        assert written["label"].tolist() == ["ALL"] * 3
        assert (image_files.read_image(written["path"][2]) == stain.even_light(cells[2])).all()

    def test_when_copies_are_there_then_they_are_not_written_again(self, table):
        first = stain.write_copies(table, partial(stain.jitter, seed=1))
        times = [Path(path).stat().st_mtime_ns for path in first["path"]]
        again = stain.write_copies(table, partial(stain.jitter, seed=1))
        assert [Path(path).stat().st_mtime_ns for path in again["path"]] == times
        other = stain.write_copies(table, partial(stain.jitter, seed=2))
        assert other["path"][0] != first["path"][0]

    def test_when_a_transform_has_no_name_then_it_is_refused(self, table):
        with pytest.raises(ValueError, match="Received: <function"):
            stain.write_copies(table, lambda image: image)


@pytest.mark.skipif(not CNMC.is_dir(), reason="the real C-NMC 2019 files are not here")
@pytest.mark.parametrize("method", [stain.reinhard, stain.macenko])
def test_when_real_cells_are_normalised_then_their_colours_come_closer(method):
    files = sorted((CNMC / "C-NMC_Leukemia" / "training_data").rglob("*.bmp"))[::6]
    images = [image_files.read_image(path) for path in files]
    target = stain.measure(images)
    before, after = (
        np.std([lab_of(image).mean(axis=0) for image in some], axis=0)
        for some in (images, [method(image, target) for image in images])
    )
    assert np.linalg.norm(after) < np.linalg.norm(before)
