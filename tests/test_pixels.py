"""Decoded images: the right ones, each once, also after an interruption."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from tiny_training import make_table

from helpers import feed

SIDE = 16


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    return make_table(tmp_path / "images", 12)


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
    return np.concatenate(list(feed.make_dataset(table[["path"]], SIDE)))


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


def test_when_the_file_is_shorter_than_its_list_then_all_is_decoded_anew(table, decoded, tmp_path):
    feed.keep_images(table, SIDE)
    with open(store(tmp_path), "r+b") as stored:
        stored.truncate(100)
    assert (feed.keep_images(table, SIDE)[:] == expected(table)).all()
    assert decoded == [12, 12]
