"""Reading one image, refusing bad ones, and telling images apart by content."""

import hashlib
import io
import struct

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data import image_files
from helpers.data.image_files import map_files


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (450, 450, 3), dtype=np.uint8)


def save(pixels: np.ndarray, path, **options) -> str:
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def digests(*paths: str) -> pd.DataFrame:
    return image_files.add_digests(pd.DataFrame({"path": list(paths)}))


class TestToBmp:
    def test_when_written_then_another_library_reads_the_same(self, pixels):
        for shape in ((450, 450), (600, 600), (3, 5)):
            image = np.resize(pixels, (*shape, 3))
            assert np.array_equal(Image.open(io.BytesIO(image_files.to_bmp(image))), image)

    def test_when_written_then_the_size_is_the_published_one(self, pixels):
        assert len(image_files.to_bmp(pixels)) == 608_454
        assert len(image_files.to_bmp(np.zeros((600, 600, 3), np.uint8))) == 1_080_054


class TestReadImage:
    @pytest.mark.parametrize("suffix", [".bmp", ".png"])
    def test_when_the_format_keeps_pixels_then_they_are_read(self, pixels, tmp_path, suffix):
        path = save(pixels, tmp_path / f"cell{suffix}")
        assert np.array_equal(image_files.read_image(path), pixels)

    def test_when_it_is_a_jpeg_then_it_is_nearly_the_image(self, tmp_path):
        smooth = np.tile(np.linspace(20, 99, 450, dtype=np.uint8)[:, None, None], (1, 450, 3))
        read = image_files.read_image(save(smooth, tmp_path / "cell.jpg", quality=95))
        assert np.abs(read.astype(int) - smooth).max() <= 2

    def test_when_it_is_of_the_final_set_then_the_middle_is_cut_out(self, pixels, tmp_path):
        large = np.zeros((600, 600, 3), np.uint8)
        large[75:525, 75:525] = pixels
        assert np.array_equal(image_files.read_image(save(large, tmp_path / "1.bmp")), pixels)

    def test_when_it_is_grey_then_it_gets_three_equal_channels(self, pixels, tmp_path):
        read = image_files.read_image(save(pixels[..., 0], tmp_path / "cell.bmp"))
        assert all(np.array_equal(read[..., channel], pixels[..., 0]) for channel in range(3))

    def test_when_pixels_are_transparent_then_they_are_black(self, pixels, tmp_path):
        alpha = np.zeros((450, 450, 1), np.uint8)
        alpha[100:200, 100:200] = 255
        read = image_files.read_image(save(np.dstack([pixels, alpha]), tmp_path / "cell.png"))
        assert np.array_equal(read, np.where(alpha == 255, pixels, 0))

    @pytest.mark.parametrize("used", [False, True])
    def test_when_a_fourth_byte_is_no_alpha_then_a_bmp_keeps_its_colours(
        self, pixels, tmp_path, used
    ):
        """A header of 124 bytes, which says where alpha would be; many programs leave it at 0."""
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
        head = struct.pack("<IiiHHIIiiII", 124, 450, 450, 1, 32, 3, 4 * 450**2, 0, 0, 0, 0)
        alpha = np.zeros((450, 450, 1), np.uint8)
        alpha[:200] = 255 * used
        body = np.dstack([pixels[::-1, :, ::-1], alpha[::-1]]).tobytes()
        head = (head + masks).ljust(124, b"\0")
        file = b"BM" + struct.pack("<IHHI", 138 + len(body), 0, 0, 138) + head + body
        (tmp_path / "cell.bmp").write_bytes(file)
        read = image_files.read_image(tmp_path / "cell.bmp")
        assert np.array_equal(read, pixels * (alpha > 0) if used else pixels)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 608454\n"
WRONG = {
    "Git LFS pointer": lambda whole: LFS,
    "zero bytes": lambda whole: b"",
    "truncated": lambda whole: whole[: len(whole) // 2],
    "not an image": lambda whole: b"<html>404</html>" * 99,
    "30 x 40": lambda whole: image_files.to_bmp(np.zeros((40, 30, 3), np.uint8)),
    "kind 'I;16'": lambda whole: _as_png(np.zeros((450, 450), np.uint16)),
}


def _as_png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


class TestBadFiles:
    @pytest.mark.parametrize("said", WRONG)
    def test_when_a_file_is_bad_then_reading_and_hashing_say_why(self, pixels, tmp_path, said):
        path = tmp_path / "cell.bmp"
        path.write_bytes(WRONG[said](image_files.to_bmp(pixels)))
        for read in (image_files.read_image, digests):
            with pytest.raises(
                image_files.ImageError, match=f"450 x 450.*Received: .*cell.*{said}"
            ):
                read(str(path))

    @pytest.mark.parametrize("suffix", [".png", ".jpg"])
    def test_when_a_packed_file_is_truncated_then_it_is_refused(self, pixels, tmp_path, suffix):
        path = tmp_path / f"cell{suffix}"
        save(pixels, path)
        path.write_bytes(path.read_bytes()[:20_000])
        with pytest.raises(image_files.ImageError, match="truncated"):
            image_files.read_image(path)

    def test_when_a_file_is_missing_then_it_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"cell\.bmp"):
            image_files.read_image(tmp_path / "cell.bmp")


class TestDigests:
    def test_when_it_is_a_training_image_then_both_are_the_digest_of_the_file(
        self, pixels, tmp_path
    ):
        (tmp_path / "cell.bmp").write_bytes(image_files.to_bmp(pixels))
        row = digests(str(tmp_path / "cell.bmp")).iloc[0]
        assert (
            row["sha256"] == row["pixels"] == hashlib.sha256(image_files.to_bmp(pixels)).hexdigest()
        )

    def test_when_headers_and_formats_differ_then_equal_pixels_are_found(self, pixels, tmp_path):
        """The preliminary images have a header of 138 bytes, the final ones a border."""
        plain, large = image_files.to_bmp(pixels), np.zeros((600, 600, 3), np.uint8)
        large[75:525, 75:525] = pixels
        longer = plain[:10] + (138).to_bytes(4, "little") + plain[14:54] + bytes(84) + plain[54:]
        (tmp_path / "long.bmp").write_bytes(longer)
        paths = [save(pixels, tmp_path / "a.png"), save(large, tmp_path / "b.bmp")]
        table = digests(*paths, str(tmp_path / "long.bmp"))
        assert set(table["pixels"]) == {hashlib.sha256(plain).hexdigest()}
        assert table["sha256"].is_unique

    def test_when_one_pixel_differs_then_it_is_another_image(self, pixels, tmp_path):
        other = pixels.copy()
        other[449, 449, 2] ^= 1
        table = digests(save(pixels, tmp_path / "a.bmp"), save(other, tmp_path / "b.bmp"))
        assert table["pixels"].is_unique

    @pytest.mark.parametrize("level", [0, 90, 255, (230, 190, 210)])
    @pytest.mark.parametrize("suffix", [".bmp", ".png"])
    def test_when_an_image_is_blank_then_it_is_named_and_equals_none(
        self, pixels, tmp_path, suffix, level
    ):
        blank = np.full((450, 450, 3), level, np.uint8)
        paths = [save(blank, tmp_path / f"{name}{suffix}") for name in "ab"]
        with pytest.warns(UserWarning, match=rf"2 images are blank.*a{suffix}"):
            table = digests(*paths, save(pixels, tmp_path / "c.png"))
        assert list(table["pixels"].isna()) == list(table["sha256"].isna()) == [True, True, False]

    def test_when_many_files_are_read_in_parallel_then_results_keep_their_order(self, tmp_path):
        paths = [tmp_path / f"{n}.txt" for n in range(300)]
        for n, path in enumerate(paths):
            path.write_bytes(b"%d" % n * ((n * 37) % 50 + 1))
        read = map_files(lambda data, path: bytes(data), [str(path) for path in paths])
        assert list(read) == [path.read_bytes() for path in paths]
