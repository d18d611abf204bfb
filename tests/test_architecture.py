"""Sizes, receptive fields and memory of networks, against counts from papers and by hand."""

import keras
import numpy as np
import pytest

from helpers.looking import activations
from helpers.models import architecture, registry

LAYERS = keras.layers


@pytest.fixture(scope="module")
def proposed():
    return registry.build("proposed_cnn", 64, weights=None)


def test_when_vgg16_is_described_then_it_is_as_its_authors_say():
    table = activations.layer_table(keras.applications.VGG16(weights=None)).set_index("layer")
    assert table["parameters"].sum() == 138_357_544
    assert table["receptive_field"]["block5_conv3"] == 196
    assert table["receptive_field"]["block5_pool"] == 212
    assert table["receptive_field"]["fc1"] == 224


def test_when_alexnet_is_described_then_fields_are_those_counted_by_hand():
    table = activations.layer_table(registry.build("alexnet", 227)).set_index("layer")
    fields = table["receptive_field"]
    assert [fields[f"conv{n}"] for n in range(1, 6)] == [11, 51, 99, 131, 163]
    assert [table["shape"][f"conv{n}"][0] for n in (1, 2, 3)] == [55, 27, 13]


def test_when_a_value_sees_a_field_then_nothing_outside_moves_it(proposed):
    """The field of the description, found again by changing the image at its rim."""
    layer = "block3_conv2"
    field = activations.layer_table(proposed).set_index("layer")["receptive_field"][layer]
    probe = keras.Model(proposed.input, proposed.get_layer(layer).output)
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    answer = probe(image).numpy()[0, 8, 8]
    seen = []
    for column in range(64):
        changed = image.copy()
        changed[:, :, column] = 255 - changed[:, :, column]
        if not np.array_equal(probe(changed).numpy()[0, 8, 8], answer):
            seen.append(column)
    assert seen[-1] - seen[0] + 1 == field


def test_when_summed_up_then_blocks_hold_all_layers_and_parameters(proposed):
    table = architecture.blocks(proposed)
    assert table["parameters"].sum() == proposed.count_params()
    assert table["kind"].tolist() == ["input"] + ["convolution"] * 6 + ["dense"] * 3
    assert table["layers"].tolist() == [0, 2, 2, 2, 2, 3, 3, 1, 1, 1]
    assert table["channels"].tolist() == [3, 32, 64, 128, 256, 384, 512, 512, 256, 2]
    assert table["side"].tolist() == [64, 64, 32, 16, 8, 4, 2, 1, 1, 1]


@pytest.mark.parametrize(("name", "convolutions"), [("inception_v3", 94), ("resnet50", 53)])
def test_when_networks_branch_then_blocks_still_hold_everything(name, convolutions):
    model = registry.build(name, 75, weights=None)
    table = architecture.blocks(model)
    assert table["parameters"].sum() == model.count_params()
    assert table.query("kind == 'convolution'")["layers"].sum() == convolutions
    assert table["side"].is_monotonic_decreasing
    assert activations.layer_table(model)["receptive_field"].max() == 75


def separable() -> keras.Model:
    first = keras.Input((16, 16, 3))
    x = LAYERS.SeparableConv2D(8, 5, padding="same", name="both")(first)
    x = LAYERS.MaxPooling2D(name="pool")(x)
    x = LAYERS.DepthwiseConv2D(3, padding="same", name="deep")(x)
    return keras.Model(first, LAYERS.Dense(2)(LAYERS.GlobalAveragePooling2D()(x)))


def test_when_convolutions_are_separable_then_they_are_convolutions_too():
    table = activations.layer_table(separable()).set_index("layer")
    assert table["receptive_field"][["both", "pool", "deep"]].tolist() == [5, 6, 10]
    blocks = architecture.blocks(separable())
    assert blocks["side"].tolist() == [16, 16, 8, 1]
    assert blocks["parameters"].sum() == separable().count_params()


def test_when_multiplications_are_counted_then_they_are_those_of_each_output_by_hand():
    each = 16 * 16 * (5 * 5 * 3 + 3 * 8) + 8 * 8 * (3 * 3 * 8)
    assert architecture.multiplications(separable()) == each
    vgg16 = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    assert architecture.multiplications(vgg16) == pytest.approx(15.35e9, rel=0.001)


def test_when_memory_is_estimated_then_it_is_the_sum_by_hand():
    first = keras.Input((8, 8, 3))
    hidden = LAYERS.Flatten()(LAYERS.Conv2D(4, 3, padding="same")(first))
    model = keras.Model(first, LAYERS.Dense(2)(hidden))
    parameters = 3 * 9 * 4 + 4 + 8 * 8 * 4 * 2 + 2
    answers = 8 * 8 * 3 + 8 * 8 * 4 * 2 + 2 + 2 * 8 * 8 * 4
    expected = (4 * parameters * 3 + answers * 10 * 4) / 1e9
    assert architecture.memory(model, 10) == pytest.approx(expected)


def test_when_frozen_or_in_16_bits_then_less_memory_is_needed(proposed):
    registry.set_trainable(proposed, "all")
    full, half = (architecture.memory(proposed, 30, bits=bits) for bits in (32, 16))
    registry.set_trainable(proposed, "head")
    assert half < full > architecture.memory(proposed, 30)
