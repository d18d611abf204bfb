"""The five networks, built: raw images go in, the probabilities of `cnmc.CLASSES` come out.

Each scales the images itself, by layers that Keras knows, and is one flat chain or graph of layers,
so that any of them can be looked into and a saved network needs nothing but its file.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from helpers.data import cnmc

# What a network takes off and divides by. The means are ImageNet's, in the order red, green, blue:
# VGG16 and ResNet50 learnt in the order blue, green, red, which `weights.load` turns over once in
# their first kernels instead of in every image.
PREPROCESSING: dict[str, dict[str, Any]] = {
    "centred": {"scale": 1.0, "offset": [-123.68, -116.779, -103.939]},
    "signed": {"scale": 1 / 127.5, "offset": -1.0},
    "unit": {"scale": 1 / 255, "offset": 0.0},
    "raw": {"scale": 1.0, "offset": 0.0},
}
ORDERS = ("conv-relu-bn", "conv-bn-relu")
HEADS = ("dense", "gap")
# How slowly normalisation's moving statistics follow. Keras' own 0.99 takes hundreds of steps, more
# than a short training has.
_MOMENTUM = 0.9
_RELU: dict[str, Any] = {"activation": "relu", "kernel_initializer": "he_normal"}


def proposed_cnn(
    image_size: int,
    *,
    filters: Sequence[int] = (32, 64, 128, 256, 384, 512),
    convs_per_block: Sequence[int] = (2, 2, 2, 2, 3, 3),
    order: str = "conv-relu-bn",
    head: str = "dense",
    dropout: float = 0.5,
) -> keras.Model:
    """Builds the paper's own network: 14 convolutions, 5 poolings, 3 dense layers, 2 dropouts.

    Args:
        image_size: Side of the images in px; below 32 they get a black frame.
        filters: Filters of the convolutions, per block (paper, section III 3.3).
        convs_per_block: How many convolutions each block has. The paper gives only their sum, 14;
            (1, 2, 2, 3, 3, 3) would be VGG16 with a block in front.
        order: "conv-relu-bn" as the paper lists them, or "conv-bn-relu" as is usual.
        head: "dense" flattens the last maps, "gap" takes their means; then 512, 256 and 2 units.
        dropout: Share of the units dropped after each hidden dense layer.

    Returns:
        The network, with He's initial weights.

    Raises:
        ValueError: If filters and convolutions do not pair, or a word is not known.
    """
    _check(filters, convs_per_block, order, head)
    inputs, x = _enter(image_size, 32, "unit")
    for block, (width, count) in enumerate(zip(filters, convs_per_block, strict=True), 1):
        for n in range(1, count + 1):
            x = _convolve(x, width, f"block{block}_%s{n}", order)
        if block < len(filters):
            x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    flatten = layers.Flatten if head == "dense" else layers.GlobalAveragePooling2D
    x = flatten(name="flatten")(x)
    for n, units in enumerate((512, 256), 1):
        x = _hidden(x, units, n, dropout)
    return _finish(inputs, x, "proposed_cnn")


def _check(filters: Sequence[int], counts: Sequence[int], order: str, head: str) -> None:
    paired = len(filters) == len(counts) and min((*filters, *counts), default=0) > 0
    if not paired or order not in ORDERS or head not in HEADS:
        raise ValueError(
            "Give each block its filters and convolutions, at least 1 of each; order is of "
            f"{', '.join(ORDERS)}, head of {', '.join(HEADS)}. "
            f"Received: {filters=}, convs_per_block={counts}, {order=}, {head=}"
        )


def _convolve(x: keras.KerasTensor, width: int, name: str, order: str) -> keras.KerasTensor:
    # Right before a normalisation, a bias would be taken off again.
    how = {"padding": "same", "use_bias": order == "conv-relu-bn"}
    stations = {
        "conv": layers.Conv2D(width, 3, **how, kernel_initializer="he_normal", name=name % "conv"),
        "relu": layers.ReLU(name=name % "relu"),
        "bn": layers.BatchNormalization(momentum=_MOMENTUM, name=name % "bn"),
    }
    for word in order.split("-"):
        x = stations[word](x)
    return x


def alexnet(image_size: int) -> keras.Model:
    """Builds AlexNet as one tower: 5 convolutions, 3 overlapping poolings, 3 dense layers.

    Krizhevsky, Sutskever and Hinton (2012) split it into two towers, as one GPU was too small; here
    every filter sees all maps. Keras has no local response normalisation; batch normalisation
    takes its two places.

    Args:
        image_size: Side of the images in px (2012: 227); below 67, where nothing would be left
            after the last pooling, they get a black frame, up to 67.

    Returns:
        The network, with He's initial weights.
    """
    inputs, x = _enter(image_size, 67, "signed")
    for n, (width, side) in enumerate(((96, 11), (256, 5), (384, 3), (384, 3), (256, 3)), 1):
        how = {"strides": 4} if n == 1 else {"padding": "same"}
        x = layers.Conv2D(width, side, **how, **_RELU, name=f"conv{n}")(x)
        if n <= 2:
            x = layers.BatchNormalization(momentum=_MOMENTUM, name=f"bn{n}")(x)
        if n in (1, 2, 5):
            x = layers.MaxPooling2D(3, 2, name=f"pool{n}")(x)
    x = layers.Flatten(name="flatten")(x)
    for n in (6, 7):
        x = _hidden(x, 4096, n)
    return _finish(inputs, x, "alexnet")


def vgg16(image_size: int, preprocessing: str = "centred") -> keras.Model:
    """Builds VGG16 (Simonyan and Zisserman, 2015) with a head for two classes.

    Args:
        image_size: Side of the images in px (its own: 224); below 32 they get a black frame.
        preprocessing: A name of `PREPROCESSING`; any but the default is wrong for its weights.

    Returns:
        The network, with random weights.
    """
    return _add_head(keras.applications.VGG16, image_size, 32, preprocessing)


def resnet50(image_size: int) -> keras.Model:
    """Builds ResNet50 (He, Zhang, Ren and Sun, 2016): as `vgg16`, its own size is 224, too."""
    return _add_head(keras.applications.ResNet50, image_size, 32, "centred")


def inception_v3(image_size: int) -> keras.Model:
    """Builds InceptionV3 (Szegedy and others, 2016): as `vgg16`; own size 299, a frame below 75."""
    return _add_head(keras.applications.InceptionV3, image_size, 75, "signed")


def _add_head(application: Any, image_size: int, smallest: int, preprocessing: str) -> keras.Model:
    """Builds one of Keras' own networks, with our preprocessing before and our head after it."""
    inputs, x = _enter(image_size, smallest, preprocessing)
    base = application(include_top=False, weights=None, input_tensor=x)
    if base.name == "inception_v3":
        _number_layers(base)
    x = layers.GlobalAveragePooling2D(name="head_pool")(base.output)
    x = layers.Dropout(0.5, name="head_dropout")(x)
    return _finish(inputs, x, base.name)


def _number_layers(base: keras.Model) -> None:
    """Names a layer by its place here, not by how many networks the process built before."""
    counts: dict[str, int] = {}
    for layer in base.layers:
        kind = layer.name.rstrip("_0123456789")
        if kind not in ("image", "frame", "preprocess", "mixed"):
            counts[kind] = counts.get(kind, 0) + 1
            layer.name = f"{kind}_{counts[kind]}"


def _enter(image_size: int, smallest: int, preprocessing: str) -> list[keras.KerasTensor]:
    """Opens a network: input, a frame where it is too small, and scaling of the values."""
    if image_size < 1 or preprocessing not in PREPROCESSING:
        told = f"A side is at least 1 px, preprocessing one of {', '.join(PREPROCESSING)}."
        raise ValueError(f"{told} Received: {image_size=}, {preprocessing=}")
    inputs = x = keras.Input((image_size, image_size, 3), name="image")
    if image_size < smallest:
        # Not by `Resizing`, which in Keras 3.15 puts all layers after it in training mode.
        ends = ((smallest - image_size) // 2, (smallest - image_size + 1) // 2)
        x = layers.ZeroPadding2D((ends, ends), name="frame")(x)
    return [inputs, layers.Rescaling(**PREPROCESSING[preprocessing], name="preprocess")(x)]


def _hidden(x: keras.KerasTensor, units: int, n: int, dropout: float = 0.5) -> keras.KerasTensor:
    x = layers.Dense(units, **_RELU, name=f"dense{n}")(x)
    return layers.Dropout(dropout, name=f"dropout{n}")(x)


def _finish(inputs: keras.KerasTensor, x: keras.KerasTensor, name: str) -> keras.Model:
    # In float32 whatever the policy: a softmax in 16 bits has too few steps near 0 and 1.
    x = layers.Dense(len(cnmc.CLASSES), activation="softmax", dtype="float32", name="softmax")(x)
    return keras.Model(inputs, x, name=name)
