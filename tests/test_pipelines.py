from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from helpers import feed
from helpers.data import image_files


def noise(side: int = 450, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def make_table(folder, count: int = 10) -> pd.DataFrame:
    """Flat pictures, each of a grey level of its own that tells which one it is."""
    rows = []
    for n in range(count):
        path = folder / f"{n}.bmp"
        path.write_bytes(image_files.to_bmp(np.full((450, 450, 3), 20 * n, np.uint8)))
        rows.append((str(path), ("ALL", "HEM")[n % 2]))
    return pd.DataFrame(rows, columns=["path", "label"])


def order(dataset) -> list[int]:
    return [round(float(image.mean()) / 20) for batch, _ in dataset for image in batch.numpy()]


FILES = {
    "24-bit.bmp": Image.fromarray(noise()),
    "600px.bmp": Image.fromarray(noise(600)),
    "grey.bmp": Image.fromarray(noise(channels=1)),
    "alpha.bmp": Image.fromarray(noise(channels=4)),
    "colour.png": Image.fromarray(noise()),
    "grey.png": Image.fromarray(noise(channels=1)),
    "alpha.png": Image.fromarray(noise(channels=4)),
    "palette.png": Image.fromarray(noise()).quantize(64),
    "final.jpg": Image.fromarray(noise(600)),
}


class TestRead:
    @pytest.mark.parametrize("name", FILES)
    def test_when_a_file_is_read_then_its_pixels_are_those_of_read_image(self, name, tmp_path):
        FILES[name].save(tmp_path / name)
        read = feed.read(str(tmp_path / name)).numpy()
        np.testing.assert_array_equal(read, image_files.read_image(tmp_path / name))

    def test_when_the_header_is_longer_then_pixels_are_read_from_behind_it(self, tmp_path):
        whole = image_files.to_bmp(noise())
        longer = whole[:10] + (138).to_bytes(4, "little") + whole[14:54] + bytes(84) + whole[54:]
        (tmp_path / "x.bmp").write_bytes(longer)
        np.testing.assert_array_equal(feed.read(str(tmp_path / "x.bmp")), noise())

    @pytest.mark.parametrize(
        ("data", "problem"),
        [
            (b"", "zero bytes"),
            (b"not an image", "not an image"),
            (image_files.to_bmp(noise())[:-9], "truncated"),
            (image_files.to_bmp(noise(100)), "wrong size, 100 x 100 px"),
        ],
    )
    def test_when_a_file_is_no_whole_image_then_its_path_and_fault_are_told(
        self, data, problem, tmp_path
    ):
        (tmp_path / "bad.bmp").write_bytes(data)
        table = pd.DataFrame({"path": [tmp_path / "bad.bmp"]})
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"bad.bmp: .*{problem}"):
            list(feed.make_dataset(table, 32))


class TestShrink:
    def test_when_cropped_then_the_centre_is_left(self):
        image = noise()
        kept = feed.shrink(tf.constant(image), 400).numpy()
        np.testing.assert_array_equal(kept, image[25:425, 25:425])

    def test_when_shrunk_with_antialiasing_then_every_pixel_counts(self):
        checks = np.indices((450, 450)).sum(0)[..., None] % 2 * np.full(3, 200, np.uint8)
        smooth = feed.shrink(tf.constant(checks), 50).numpy()[1:-1, 1:-1]
        assert np.abs(smooth - 100).max() < 4

    def test_when_shrunk_then_pillow_agrees(self):
        image = Image.fromarray(noise()).crop((25, 25, 425, 425))
        peer = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR), float)
        ours = feed.shrink(tf.constant(noise()), 64).numpy()
        assert np.abs(ours - peer).max() <= 1  # Pillow rounds


class TestMakeDataset:
    def test_when_the_table_has_labels_then_all_is_1(self, tmp_path):
        images, labels = next(iter(feed.make_dataset(make_table(tmp_path), 8, batch_size=4)))
        assert (images.shape, images.dtype) == ((4, 8, 8, 3), tf.float32)
        assert labels.numpy().tolist() == [1, 0, 1, 0]

    def test_when_the_table_has_no_labels_then_images_come_alone(self, tmp_path):
        table = make_table(tmp_path, 3).drop(columns="label")
        (images,) = feed.make_dataset(table, 8)
        np.testing.assert_allclose(images[:, 0, 0, 0], [0, 20, 40], rtol=1e-6)

    @pytest.mark.parametrize("cache", [True, False])
    def test_when_a_seed_is_given_then_passes_differ_and_repeat(self, tmp_path, cache):
        table = make_table(tmp_path)
        first = feed.make_dataset(table, 8, batch_size=3, seed=5, cache=cache)
        passes = [order(first), order(first)]
        assert passes[0] != passes[1]
        assert sorted(passes[0]) == sorted(passes[1]) == list(range(10))
        again = feed.make_dataset(table, 8, batch_size=3, seed=5, cache=cache)
        assert [order(again), order(again)] == passes

    def test_when_shuffled_then_labels_stay_with_their_images(self, tmp_path):
        data = feed.make_dataset(make_table(tmp_path), 8, batch_size=10, seed=1)
        images, labels = next(iter(data))
        number = np.rint(images.numpy().mean((1, 2, 3)) / 20).astype(int)
        np.testing.assert_array_equal(labels, (number + 1) % 2)

    def test_when_augmented_then_images_take_the_eight_positions_of_a_square(self, tmp_path):
        (tmp_path / "x.bmp").write_bytes(image_files.to_bmp(noise()))
        table = pd.DataFrame({"path": [str(tmp_path / "x.bmp")] * 60})
        plain = feed.make_dataset(table[:1], 8)
        image = next(iter(plain)).numpy()[0]
        turns = [np.rot90(side, k) for side in (image, image[:, ::-1]) for k in range(4)]
        data = feed.make_dataset(table, 8, batch_size=60, augment=True)
        seen = next(iter(data)).numpy()
        which = [[np.array_equal(one, turn) for turn in turns].index(True) for one in seen]
        assert set(which) == set(range(8))
        assert not np.array_equal(next(iter(data)), seen)
        again = feed.make_dataset(table, 8, batch_size=60, augment=True)
        np.testing.assert_array_equal(next(iter(again)), seen)


class TestBadInput:
    @pytest.mark.parametrize("wrong", [{"size": 0}, {"batch_size": 0}, {"crop": 451}])
    def test_when_a_number_is_out_of_range_then_it_is_refused(self, wrong, tmp_path):
        with pytest.raises(ValueError, match="Received: size="):
            feed.make_dataset(make_table(tmp_path), **({"size": 8} | wrong))

    def test_when_the_table_is_empty_then_it_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="at least one image"):
            feed.make_dataset(make_table(tmp_path)[:0], 8)

    def test_when_a_label_is_missing_then_it_is_refused(self, tmp_path):
        table = make_table(tmp_path)
        table.loc[3, "label"] = None
        with pytest.raises(ValueError, match="1 others"):
            feed.make_dataset(table, 8)

    def test_when_a_file_is_missing_then_it_is_named_before_training_begins(self, tmp_path):
        table = make_table(tmp_path)
        (tmp_path / "4.bmp").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of 10 .*4\.bmp"):
            feed.make_dataset(table, 8)
