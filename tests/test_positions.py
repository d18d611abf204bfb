"""The eight positions of a square: all different, none with a pixel of its own."""

from __future__ import annotations

import numpy as np

from helpers import feed

IMAGES = np.arange(2 * 3 * 3 * 3).reshape(2, 3, 3, 3)


def test_when_turned_into_all_positions_then_they_are_those_of_pillow():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (5, 5, 3), np.uint8)
    ours = {feed.turn(image[None], n)[0].tobytes() for n in range(feed.POSITIONS)}
    ways = [None, *Image.Transpose]
    theirs = [
        Image.fromarray(image) if w is None else Image.fromarray(image).transpose(w) for w in ways
    ]
    assert ours == {np.asarray(one).tobytes() for one in theirs}
    assert len(ours) == 8


def test_when_the_position_is_the_first_then_nothing_changes():
    assert (feed.turn(IMAGES, 0) == IMAGES).all()


def test_when_each_has_its_own_position_then_it_is_turned_into_that_one():
    turned = feed.turn_each(IMAGES, np.array([6, 1]))
    assert (turned[0] == feed.turn(IMAGES, 6)[0]).all()
    assert (turned[1] == feed.turn(IMAGES, 1)[1]).all()
