"""TensorFlow's first words, kept out of a notebook: no setting of its own silences them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def start_up() -> Iterator[None]:
    """Mutes what libraries in C++ write straight to stderr while TensorFlow is imported.

    Python's own exceptions pass through as ever.

    Example:
        >>> with start_up():
        ...     noise = os.write(2, b"oneDNN custom operations are on")
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
