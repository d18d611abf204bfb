"""Stain: planted dyes are found again, targets are reached, and black stays black."""

import functools
import hashlib
import linecache
import subprocess
import sys
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
    style = nucleus.Style()
    return [nucleus.draw_nucleus(np.random.default_rng(n), "ALL", style) for n in range(3)]


def darken(by):
    return lambda image: image // by


def power(image, by):
    return (image // 16) ** by


@functools.wraps(power)
def wrapped(image, by):
    return image // 2


def apply(image, treat):
    return image - treat(image)


def add(image, what, less=0):
    return image + what - less


def brighter(image):
    return image + (image > 0)


def defined(body, place, **names):
    """A function as a notebook would define it: its text is in a file."""
    default = "=BY" * ("BY" in names)
    place.write_text(f"def treat(image, by{default or '=0'}):\n    {body}\n")
    linecache.checkcache(str(place))
    exec(compile(place.read_text(), str(place), "exec"), names)
    return names["treat"]


class Fade:
    def treat(self, image):
        return image // 2

    __call__ = treat


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
    target = stain.measure([stain.as_seen_in(cells[1], (1, 1, 1), (1.3, 1.2, 0.9))])
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
        lambda image: stain.as_seen_in(image, (3.0, 3.0, 3.0), (1, 1, 1)),
        stain.even_light,
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
    seen = stain.as_seen_in(image, (2.0, 1.0, 1.0), (1.0, 1.5, 0.5))
    assert seen[0, 0].tolist() == [round(64**2 / 255), 48, 64]


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
        copy = Path(written["path"][2])
        assert written["sha256"][2] == hashlib.sha256(copy.read_bytes()).hexdigest()
        assert written["pixels"][2] not in table["pixels"].tolist()
        assert written["label"].tolist() == ["ALL"] * 3
        assert (image_files.read_image(written["path"][2]) == stain.even_light(cells[2])).all()

    def test_when_copies_are_there_then_they_are_not_written_again(self, table):
        seen = partial(stain.as_seen_in, density=(1, 1, 1), light=(1.2, 1.0, 1.0))
        first = stain.write_copies(table, seen)
        times = [Path(path).stat().st_mtime_ns for path in first["path"]]
        equal = partial(stain.as_seen_in, density=(1, 1, 1), light=(1.2, 1.0, 1.0))
        again = stain.write_copies(table, equal)
        assert [Path(path).stat().st_mtime_ns for path in again["path"]] == times
        other = partial(stain.as_seen_in, density=(1, 1, 1), light=(1.3, 1.0, 1.0))
        assert stain.write_copies(table, other)["path"][0] != first["path"][0]

    def test_when_another_process_asks_then_it_finds_them(self, table, tmp_path):
        target = stain.measure([np.full((9, 9, 3), (90, 40, 80), np.uint8)], 50)
        first = stain.write_copies(table, partial(stain.reinhard, target=target))
        table.to_csv(tmp_path / "table.csv", index=False)
        code = (
            "import sys, functools, numpy as np, pandas as pd; from helpers.augment import stain; "
            "target = stain.measure([np.full((9, 9, 3), (90, 40, 80), np.uint8)], 50); "
            "again = functools.partial(stain.reinhard, target=target); "
            "print(stain.write_copies(pd.read_csv(sys.argv[1]), again)['path'][0])"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "table.csv")]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == first["path"][0]

    def test_when_an_image_is_in_two_rows_then_it_is_written_once(self, table):
        written = stain.write_copies(pd.concat([table, table[:1]]), stain.even_light)
        assert written["path"].nunique() == 3
        assert written["path"].iloc[0] == written["path"].iloc[3]

    def test_when_other_files_hold_the_same_images_then_their_copies_are_there(
        self, table, tmp_path
    ):
        stain.write_copies(table, partial(power, by=1))
        path = tmp_path / "other_name.png"
        path.write_bytes(Path(table["path"].iloc[0]).read_bytes())
        again = table.assign(path=[str(path), *table["path"].iloc[1:]])
        assert all(
            Path(p).is_file() for p in stain.write_copies(again, partial(power, by=1))["path"]
        )

    def test_when_a_function_is_wrapped_in_another_then_it_is_refused(self, table):
        with pytest.raises(ValueError, match="named function"):
            stain.write_copies(table, wrapped)

    def test_when_a_function_is_redefined_then_its_new_copies_are_written(
        self, table, cells, tmp_path
    ):
        for number, text in enumerate(("image", "255 - image")):
            written = stain.write_copies(
                table, defined(f"return {text}", tmp_path / f"{number}.py")
            )
        assert (image_files.read_image(written["path"][0]) == 255 - cells[0]).all()

    @pytest.mark.parametrize("pair", [
        (stain.even_light, brighter),
        (partial(power, by=2), partial(power, by=3)),
        (partial(power, by=1), partial(power, by=True)),
        (partial(add, what=np.zeros(3, "uint8")), partial(add, what=np.ones(3, "uint8"))),
        (partial(add, what=1, less=2), partial(add, what=2, less=1)),
    ])  # fmt: skip
    def test_when_two_functions_do_not_do_the_same_then_neither_gets_the_others(self, table, pair):
        paths = [stain.write_copies(table, transform)["path"][0] for transform in pair]
        assert paths[0] != paths[1]
        assert stain.write_copies(table, pair[0])["path"][0] == paths[0]

    def test_when_only_a_default_differs_then_the_copies_do(self, table, tmp_path):
        place = tmp_path / "one.py"
        one, other = (defined("return image // by", place, BY=number) for number in (2, 3))
        assert (
            stain.write_copies(table, one)["path"][0] != stain.write_copies(table, other)["path"][0]
        )

    def test_when_the_order_of_arguments_differs_then_the_copies_are_the_same(self, table):
        one, other = partial(add, what=1, less=2), partial(add, less=2, what=1)
        first = stain.write_copies(table, one)["path"].tolist()
        assert stain.write_copies(table, other)["path"].tolist() == first

    @pytest.mark.parametrize(
        "transform",
        [
            lambda image: image,
            darken(2),
            np.invert,
            Fade().treat,
            Fade(),
            partial(apply, treat=brighter),
            partial(apply, treat=Fade()),
        ],
    )
    def test_when_nobody_can_say_what_it_does_then_it_is_refused(self, table, transform):
        with pytest.raises(ValueError, match=r"named function.*Received: "):
            stain.write_copies(table, transform)


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
