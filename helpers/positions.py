"""The eight positions in which a square comes to lie on itself: four turns, each also mirrored.

A nucleus has no up and no left, and no pixel is lost or computed anew by any of them.
"""

from __future__ import annotations

import numpy as np

POSITIONS = 8


def turn(images: np.ndarray, position: int) -> np.ndarray:
    """Turns images into one position.

    Args:
        images: An array of shape (n, side, side, channels).
        position: From 0, the images as they are, to 7; from 4 on mirrored.

    Returns:
        An array of the same shape.

    Example:
        >>> turn(np.arange(4).reshape(1, 2, 2, 1), 1).ravel().tolist()
        [1, 3, 0, 2]
    """
    mirrored = images[:, :, ::-1] if position >= POSITIONS // 2 else images
    return np.rot90(mirrored, position % 4, axes=(1, 2))


def turn_each(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turns each image into a position of its own.

    Args:
        images: An array of shape (n, side, side, channels).
        positions: As in `turn`, one per image.

    Returns:
        An array of the same shape.
    """
    turned = np.empty_like(images)
    for position in range(POSITIONS):
        turned[positions == position] = turn(images[positions == position], position)
    return turned
