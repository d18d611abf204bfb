"""Images to batches: the right pixels, each kept once, in an order of seed and epoch."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny_training
from PIL import Image

from helpers import feed, runs
from helpers.data import image_files

SIDE, STREAM = 16, feed.stream_images
SQUARES = np.arange(2 * 3 * 3 * 3).reshape(2, 3, 3, 3)


def noise(side: int = 450, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (side, side, channels) if channels > 1 else (side, side)
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def flat_table(folder, count: int = 10) -> pd.DataFrame:
    """Flat pictures, each of a grey level of its own that tells which one it is."""
    rows = []
    for n in range(count):
        path = folder / f"{n}.bmp"
        path.write_bytes(image_files.to_bmp(np.full((450, 450, 3), 20 * n, np.uint8)))
        rows.append((str(path), ("ALL", "HEM")[n % 2]))
    return pd.DataFrame(rows, columns=["path", "label"])


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
        seen = feed.read_images(pd.DataFrame({"path": [tmp_path / name]}), 400)
        whole = image_files.read_image(tmp_path / name)
        np.testing.assert_array_equal(seen[0], whole[25:425, 25:425])

    def test_when_the_header_is_longer_then_pixels_are_read_from_behind_it(self, tmp_path):
        whole = image_files.to_bmp(noise())
        longer = whole[:10] + (138).to_bytes(4, "little") + whole[14:54] + bytes(84) + whole[54:]
        (tmp_path / "x.bmp").write_bytes(longer)
        seen = feed.read_images(pd.DataFrame({"path": [tmp_path / "x.bmp"]}), 400)
        np.testing.assert_array_equal(seen[0], noise()[25:425, 25:425])

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
            feed.read_images(table, 32)

    def test_when_images_are_read_then_they_are_whole_levels_in_the_order_of_the_table(
        self, tmp_path
    ):
        images = feed.read_images(flat_table(tmp_path, 4)[::-1], 8)
        assert (images.shape, images.dtype) == ((4, 8, 8, 3), np.float32)
        assert images[:, 3, 3, 0].tolist() == [60, 40, 20, 0]
        (tmp_path / "x.bmp").write_bytes(image_files.to_bmp(noise()))
        seen = feed.read_images(pd.DataFrame({"path": [tmp_path / "x.bmp"]}), 50)[0]
        exact = feed.shrink(tf.constant(noise()), 50).numpy()
        assert (seen == np.rint(exact)).all()
        assert (seen != exact).any()

    @pytest.mark.parametrize("wrong", [{"size": 0}, {"batch_size": 0}])
    def test_when_a_number_is_out_of_range_then_it_is_refused(self, wrong, tmp_path):
        with pytest.raises(ValueError, match="Received: 10 images, size="):
            next(feed.stream_images(flat_table(tmp_path), **({"size": 8} | wrong)))

    def test_when_the_table_is_empty_then_it_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="at least one image"):
            feed.read_images(flat_table(tmp_path)[:0], 8)

    def test_when_a_file_is_missing_then_it_is_named_before_any_is_read(self, tmp_path):
        table = flat_table(tmp_path)
        (tmp_path / "4.bmp").unlink()
        with pytest.raises(FileNotFoundError, match=r"1 of 10 .*4\.bmp"):
            feed.read_images(table, 8)


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


class TestPositions:
    def test_when_turned_into_all_positions_then_they_are_those_of_pillow(self):
        image = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
        ours = {feed.turn(image[None], n)[0].tobytes() for n in range(feed.POSITIONS)}
        ways = [None, *Image.Transpose]
        theirs = [
            Image.fromarray(image) if w is None else Image.fromarray(image).transpose(w)
            for w in ways
        ]
        assert ours == {np.asarray(one).tobytes() for one in theirs}
        assert len(ours) == 8

    def test_when_the_position_is_the_first_then_nothing_changes(self):
        assert (feed.turn(SQUARES, 0) == SQUARES).all()

    def test_when_each_has_its_own_position_then_it_is_turned_into_that_one(self):
        turned = feed.turn_each(SQUARES, np.array([6, 1]))
        assert (turned[0] == feed.turn(SQUARES, 6)[0]).all()
        assert (turned[1] == feed.turn(SQUARES, 1)[1]).all()


class TestBatches:
    def test_when_batches_are_shuffled_then_each_epoch_has_its_own_order_with_all_rows(self):
        rows = pd.DataFrame({"label": ["ALL", "HEM"] * 5})
        entries = np.arange(10, dtype="float32")[:, None]
        shuffled = feed.Batches(entries, rows, 4, seed=1)
        orders = []
        for epoch in (0, 1, 0):
            shuffled.start_epoch(epoch)
            features, labels = (np.concatenate(part) for part in zip(*shuffled, strict=True))
            assert (labels == (features[:, 0] % 2 == 0)).all()
            orders.append(features[:, 0].tolist())
        assert orders[0] == orders[2] != orders[1]
        assert sorted(orders[1]) == list(range(10))

    def test_when_batches_are_turned_then_each_image_lies_anew_in_each_epoch(self):
        rows = pd.DataFrame({"label": ["ALL", "HEM"] * 10})
        images = np.random.default_rng(0).normal(size=(20, 4, 4, 3)).astype("float32")
        turned = feed.Batches(images, rows, 8, seed=1, turn=True)
        epochs = []
        for epoch in (0, 1, 0):
            turned.start_epoch(epoch)
            shown = np.concatenate([entries for entries, _ in turned])[np.argsort(turned.order)]
            same_values = np.sort(shown.reshape(20, -1)) == np.sort(images.reshape(20, -1))
            assert same_values.all()
            assert (shown != images).any(axis=(1, 2, 3)).sum() > 10  # seven of eight positions do
            epochs.append(shown)
        assert (epochs[0] == epochs[2]).all()
        assert (epochs[0] != epochs[1]).any()

    def test_when_labels_are_served_then_all_is_1_and_the_last_batch_is_smaller(self):
        rows = pd.DataFrame({"label": ["ALL", "HEM", "ALL"]})
        (_, first), (entries, last) = feed.Batches(np.arange(3.0)[:, None], rows, 2)
        assert [first.tolist(), entries.tolist(), last.tolist()] == [[1, 0], [[2.0]], [1]]

    @pytest.mark.parametrize("label", [None, "all", "BLAST"])
    def test_when_a_label_is_none_of_the_classes_then_it_is_refused(self, label):
        rows = pd.DataFrame({"label": ["ALL", label, "HEM"]})
        with pytest.raises(ValueError, match=r"Labels are HEM or ALL.*Received: 1 others, such as"):
            feed.Batches(np.zeros((3, 1)), rows, 2)

    def test_when_colours_are_changed_then_each_image_has_factors_of_its_own(self):
        rows = pd.DataFrame({"label": ["ALL", "HEM"] * 50})
        changed = feed.Batches(np.ones((100, 1, 1, 3), "float32"), rows, 100, seed=1, jitter=0.1)
        (gains, _), again = changed[0], feed.draw_gains(100, 0.1, seed=1)
        assert (gains == again[changed.order]).all()
        assert np.abs(gains - 1).max() <= 0.2 + 1e-6  # none further off than twice the jitter
        assert 0.05 < gains.std() < 0.12


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    return tiny_training.make_table(tmp_path / "images", 12)


@pytest.fixture
def decoded(monkeypatch):
    """Takes down how many images are decoded, call by call."""
    counts, stream = [], feed.stream_images

    def counting(rows, *arguments):
        counts.append(len(rows))
        return stream(rows, *arguments)

    monkeypatch.setattr(feed, "stream_images", counting)
    return counts


def expected(table):
    return np.concatenate(list(STREAM(table, SIDE)))  # not counted by `decoded`


def store(tmp_path):
    return next((tmp_path / "work" / "pixels").glob(f"*/{feed.IMAGES}"))


def test_when_kept_then_they_are_those_of_the_pipeline_in_the_order_of_the_rows(table):
    want = expected(table)
    assert len(np.unique(want.reshape(len(want), -1), axis=0)) == 12  # so the order is seen
    kept = feed.keep_images(table, SIDE)
    assert len(kept) == 12
    assert (kept[np.array([3, 0, 11])] == want[[3, 0, 11]]).all()
    turned = feed.keep_images(table[::-1], SIDE)
    assert (turned[2:5] == want[::-1][2:5]).all()


def test_when_tables_share_images_then_only_the_new_ones_are_decoded(table, decoded):
    first = feed.keep_images(table[:5], SIDE)
    before = first[:].copy()
    both = feed.keep_images(table, SIDE)
    feed.keep_images(table[2:9], SIDE)
    assert decoded == [5, 7]
    assert (first[:] == before).all()
    assert (both[:] == expected(table)).all()


def test_when_a_file_is_there_under_two_names_then_it_is_decoded_once(table, decoded, tmp_path):
    twin = shutil.copy(table["path"].iloc[0], tmp_path / "twin.bmp")
    kept = feed.keep_images(pd.DataFrame({"path": [table["path"].iloc[0], twin]}), SIDE)
    assert decoded == [1]
    assert (kept[:][0] == kept[:][1]).all()


def test_when_another_size_is_asked_for_then_it_has_a_file_of_its_own(table, decoded):
    small, large = (feed.keep_images(table, size) for size in (SIDE, 2 * SIDE))
    assert small[:1].shape == (1, SIDE, SIDE, 3)
    assert large[:1].shape == (1, 2 * SIDE, 2 * SIDE, 3)
    assert decoded == [12, 12]


def test_when_interrupted_then_what_was_kept_stays_and_the_rest_is_right(
    table, decoded, monkeypatch, tmp_path
):
    stream = feed.stream_images

    def broken(rows, size):
        batches = iter(stream(rows, size, 4))
        yield next(batches)
        yield next(batches)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feed, "stream_images", broken)
        with pytest.raises(KeyboardInterrupt):
            feed.keep_images(table, SIDE)
    with open(store(tmp_path), "ab") as stored:
        stored.write(b"half an image")
    assert (feed.keep_images(table, SIDE)[:] == expected(table)).all()
    assert decoded == [12, 4]


def test_when_images_are_changed_meanwhile_then_none_is_kept_under_the_digest_of_another(table):
    listed = table.assign(sha256=runs.image_digests(table))
    shutil.copy(table["path"][1], table["path"][0])  # as a folder that is synchronised
    with pytest.raises(ValueError, match=rf"changed while.*1, such as {table['path'][0]}"):
        feed.keep_images(listed, SIDE)
    kept = feed.keep_images(table, SIDE)
    assert (kept[:] == expected(table)).all()


def test_when_the_file_was_cut_then_what_is_missing_is_decoded_anew(table, decoded, tmp_path):
    feed.keep_images(table, SIDE)
    size = store(tmp_path).stat().st_size
    with open(store(tmp_path), "r+b") as stored:
        stored.truncate(size // 12 * 5 + 100)
    assert (feed.keep_images(table, SIDE)[:] == expected(table)).all()
    assert decoded == [12, 7]


def test_when_images_are_kept_then_they_take_a_byte_per_value_and_are_handed_out_as_floats(
    table, tmp_path
):
    kept = feed.keep_images(table, SIDE)
    assert kept[:2].dtype == np.float32
    assert store(tmp_path).stat().st_size == 12 * (64 + 3 * SIDE**2)


def test_when_the_disk_is_full_then_nothing_is_decoded(table, decoded, monkeypatch):
    full = shutil._ntuple_diskusage(10**9, 10**9, 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(OSError, match="12 images of 16 px"):
        feed.keep_images(table, SIDE)
    assert decoded == []
