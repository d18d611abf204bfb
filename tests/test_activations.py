"""Activations and Grad-CAM of every kind of model, against values worked by hand."""

import weakref

import keras
import numpy as np
import pytest

from helpers.looking import activations, gradcam

L = keras.layers
IMAGES = np.random.default_rng(0).uniform(0, 255, (5, 16, 16, 3)).astype(np.float32)


def stack() -> list:
    return [
        L.Conv2D(4, 3, padding="same", activation="relu", name="conv1"),
        L.MaxPooling2D(name="pool"),
        L.Conv2D(6, 3, padding="same", name="conv2"),
        L.ReLU(name="relu2"),
        L.GlobalAveragePooling2D(name="mean"),
        L.Dense(2, activation="softmax", name="end"),
    ]


def functional(nested: bool = False) -> keras.Model:
    keras.utils.set_random_seed(3)
    start = keras.Input((16, 16, 3))
    layers = stack()
    if nested:
        layers[:4] = [keras.Sequential([keras.Input((16, 16, 3)), *layers[:4]], name="base")]
    end = start
    for layer in layers:
        end = layer(end)
    return keras.Model(start, end)


def sequential() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input((16, 16, 3)), *stack()])


KINDS = {"sequential": sequential, "flat": functional, "nested": lambda: functional(nested=True)}


@pytest.fixture(params=KINDS)
def model(request) -> keras.Model:
    return KINDS[request.param]()


def by_hand(model: keras.Model, count: int) -> np.ndarray:
    layers = [inner for layer in model.layers for inner in getattr(layer, "layers", [layer])]
    out = IMAGES
    for layer in [layer for layer in layers if not isinstance(layer, L.InputLayer)][:count]:
        out = layer(out)
    return np.asarray(out)


def test_when_any_kind_of_model_is_asked_then_each_layer_answers_as_called_by_hand(model):
    table = activations.layer_table(model)
    answers = activations.activations(model, IMAGES, table["layer"].tolist())
    for count, (name, shape) in enumerate(zip(table["layer"], table["shape"], strict=True), 1):
        assert answers[name].shape[1:] == shape
        np.testing.assert_allclose(answers[name], by_hand(model, count), rtol=1e-4, atol=1e-4)


def test_when_models_differ_only_in_nesting_then_their_maps_are_the_same():
    flat, nested = (gradcam.grad_cam(functional(n), IMAGES) for n in (False, True))
    assert flat.any()
    np.testing.assert_allclose(flat, nested, atol=1e-5)


def test_when_a_model_is_nested_then_its_layers_carry_its_name():
    names = activations.layer_table(functional(nested=True))["layer"].tolist()
    assert names == ["base/conv1", "base/pool", "base/conv2", "base/relu2", "mean", "end"]


def added_one_by_one() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((16, 16, 3))])
    for layer in stack():
        model.add(layer)
    return model


def scaled_by_hand() -> keras.Model:
    """As in many a tutorial: bare arithmetic before a model inside, and after it."""
    keras.utils.set_random_seed(3)
    inner = keras.Sequential([keras.Input((16, 16, 3)), *stack()[:4]], name="base")
    start = keras.Input((16, 16, 3))
    end = inner(start / 2.0 - 1.0) * 3.0
    for layer in stack()[4:]:
        end = layer(end)
    return keras.Model(start, end)


@pytest.mark.parametrize("make", [added_one_by_one, scaled_by_hand])
def test_when_a_model_was_put_together_otherwise_then_it_is_followed_all_the_same(make):
    model = make()
    table = activations.layer_table(model)
    assert table["parameters"].sum() == model.count_params()
    answers = activations.activations(model, IMAGES, [table["layer"].iloc[-1]])
    np.testing.assert_allclose(answers.popitem()[1], model(IMAGES), rtol=1e-5)
    assert gradcam.grad_cam(model, IMAGES).any()
    assert gradcam.sanity(model, IMAGES, [0])["similarity"].tolist() == pytest.approx([1.0] * 5)


def test_when_a_model_is_loaded_again_then_it_answers_the_same(model, tmp_path):
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras", compile=False)
    name = activations.layer_table(model)["layer"].iloc[3]
    first, second = (activations.activations(m, IMAGES, [name])[name] for m in (model, again))
    np.testing.assert_array_equal(first, second)


def test_when_a_model_branches_and_joins_then_its_layers_are_followed():
    start = keras.Input((16, 16, 3))
    left = L.Conv2D(2, 1, name="left")(start)
    right = L.Conv2D(2, 1, name="right", activation="relu")(start)
    model = keras.Model(start, L.Flatten()(L.Add(name="sum")([left, right])))
    got = activations.activations(model, IMAGES, ["left", "right", "sum"])
    np.testing.assert_allclose(got["sum"], got["left"] + got["right"], rtol=1e-5)


def test_when_looking_at_a_model_then_its_answers_and_weights_stay_as_they_were(model):
    before, weights = model.predict(IMAGES, verbose=0), model.get_weights()
    gradcam.sanity(model, IMAGES[:2], [1, 3])
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), before)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))


@pytest.mark.parametrize("channels", [1, 2048])
def test_when_a_layer_has_one_or_very_many_channels_then_all_are_counted(channels):
    conv = L.Conv2D(
        channels, 1, activation="relu", bias_initializer=keras.initializers.Constant(-1)
    )
    model = keras.Sequential([keras.Input((8, 8, 3)), conv])
    _, layers = activations.silence(model, [IMAGES[:, :8, :8]])
    answers = np.asarray(conv(IMAGES[:, :8, :8]))
    assert layers["dead"].tolist() == [1 - answers.any(axis=(0, 1, 2)).mean()]


def test_when_channels_are_dead_then_their_share_and_that_of_zeros_are_exact():
    conv = L.Conv2D(4, 1, activation="relu", use_bias=True)
    model = keras.Sequential([keras.Input((4, 4, 1)), conv])
    conv.set_weights([np.array([[[[1.0, 0, 0, 1]]]]), np.array([0.0, -1, 2, -100])])
    image = np.zeros((2, 4, 4, 1), np.float32)
    image[0, :2], image[1] = 255, 50  # channel 1 is always dead, channel 3 silent in image 1
    zeros, layers = activations.silence(model, [image[:1], image[1:]])
    assert layers["dead"].tolist() == [0.25]
    assert zeros.iloc[:, 0].tolist() == [(0.5 + 1 + 0 + 0.5) / 4, (0 + 1 + 0 + 1) / 4]


def test_when_images_come_in_other_batches_then_the_measure_is_the_same(model):
    whole, parts = activations.silence(model, [IMAGES]), activations.silence(model, IMAGES[:, None])
    np.testing.assert_allclose(whole[0], parts[0], atol=1e-6)
    assert whole[1].equals(parts[1])


def test_when_many_batches_pass_then_no_more_than_two_are_held_at_a_time(model):
    seen, most = [], 0

    def batches():
        nonlocal most
        for _ in range(20):
            images = IMAGES[:2].copy()
            seen.append(weakref.ref(images))
            yield images
            most = max(most, sum(ref() is not None for ref in seen))

    activations.silence(model, batches())
    assert most <= 2


def test_when_many_images_are_mapped_then_the_network_sees_a_few_at_a_time():
    seen = []

    class Count(L.Layer):
        def call(self, x):
            seen.extend([x.shape[0]] if x.shape[0] else [])  # none while the graph is drawn up
            return x

    model = keras.Sequential([keras.Input((16, 16, 3)), Count(), *stack()])
    maps = gradcam.grad_cam(model, np.concatenate([IMAGES] * 8))
    assert (len(maps), sum(seen), max(seen)) == (40, 40, gradcam.BATCH)


def test_when_there_is_no_rectified_layer_or_no_image_then_it_says_so(model):
    linear = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(1, 1)])
    with pytest.raises(ValueError, match="Received: 'seq"):
        activations.silence(linear, [])
    with pytest.raises(ValueError, match="at least one array"):
        activations.silence(model, [])


def test_when_a_model_cannot_be_followed_then_it_says_what_to_do():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="Received: Own"):
        activations.layer_table(Own())


def test_when_a_layer_is_unknown_then_the_known_ones_are_named(model):
    with pytest.raises(KeyError, match=r"mean, end\. Received: 'nope'"):
        activations.activations(model, IMAGES, ["nope"])


def two_channels(bias: float = 0.0) -> keras.Model:
    """One channel copies the image and speaks for class 1, the other its negative for class 0."""
    conv, end = L.Conv2D(2, 1, use_bias=False, name="maps"), L.Dense(2, activation="softmax")
    model = keras.Sequential([keras.Input((4, 4, 1)), conv, L.GlobalAveragePooling2D(), end])
    conv.set_weights([np.array([[[[1.0, -1.0]]]])])
    end.set_weights([np.array([[0.0, 3.0], [1.0, 0.0]]), np.array([0.0, bias])])
    return model


def test_when_worked_by_hand_then_the_map_is_the_same():
    # Logits: z0 = -mean(x), z1 = 3 mean(x). Weights of z1 - z0 are 3/16 and -1/16; the map is
    # relu(3/16 x + 1/16 x) = x/4, scaled to x / max(x). For class 0 it is -x/4: nothing.
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    model = two_channels()
    np.testing.assert_allclose(gradcam.grad_cam(model, image)[0], image[0, ..., 0] / 15, rtol=1e-5)
    assert not gradcam.grad_cam(model, image, target=0).any()


def test_when_the_network_is_sure_beyond_rounding_then_the_map_is_still_there():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    assert two_channels(bias=500).predict(image, verbose=0)[0, 1] == 1.0
    assert gradcam.grad_cam(two_channels(bias=500), image).max() == 1.0


def test_when_a_patch_gives_the_class_away_then_the_map_lies_on_it():
    model, images = trained_on_a_patch()
    maps = gradcam.grad_cam(model, images)
    assert maps[:, :6, :6].sum() > 0.8 * maps.sum()


def trained_on_a_patch() -> tuple[keras.Model, np.ndarray]:
    rng = np.random.default_rng(1)
    images = rng.uniform(0, 60, (200, 24, 24, 3)).astype(np.float32)
    images[100:, 1:5, 1:5] = 250.0
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((24, 24, 3)),
            L.Rescaling(1 / 255),
            L.Conv2D(8, 3, padding="same", activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(2, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(images, np.repeat([0, 1], 100), epochs=15, verbose=0)
    assert model.evaluate(images, np.repeat([0, 1], 100), verbose=0)[1] > 0.95
    return model, images[100:120]


def test_when_the_last_maps_are_tiny_then_earlier_ones_are_looked_at():
    layers = [L.Conv2D(2, 3, padding="same", strides=2, name=f"conv{n}") for n in range(4)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *layers])
    assert gradcam.last_map(model, side=7) == "conv1"  # 16, 8, 4 and 2 px
    assert gradcam.last_map(model, side=1) == "conv3"
    assert gradcam.last_map(model, side=99) == "conv0"


NETWORKS = {
    "resnet50": keras.applications.ResNet50,
    "inception_v3": keras.applications.InceptionV3,
    "densenet121": keras.applications.DenseNet121,
}


@pytest.mark.parametrize(
    ("name", "size", "side", "where"),
    [
        ("resnet50", 224, 7, "conv5_block3_out"),  # 7 px: the ReLU after the last sum
        ("resnet50", 64, 7, "conv3_block4_out"),  # 32, 16, 8, 4, 2 px
        ("resnet50", 64, 2, "conv5_block3_out"),
        ("inception_v3", 299, 7, "mixed10"),  # 8 px: the last four branches side by side
        ("inception_v3", 107, 2, "mixed10"),
        ("inception_v3", 75, 2, "mixed7"),  # 3 px; mixed8 and what follows have one
        ("densenet121", 224, 7, "relu"),  # after the last concatenation and its normalisation
        ("densenet121", 64, 7, "pool3_conv"),  # 16, 8 px, where a pooling follows: 4, 2 px
    ],
)
def test_when_a_network_branches_then_the_map_is_where_all_branches_have_met(
    name, size, side, where
):
    base = NETWORKS[name](include_top=False, weights=None, input_shape=(size, size, 3))
    assert gradcam.last_map(base, side) == where


def convnext_like() -> keras.Model:
    """Two blocks that add to what came in: a wide depthwise window, then dense layers in place."""
    start = keras.Input((32, 32, 3))
    x = L.Conv2D(8, 4, strides=4, name="stem")(start)
    for n in (1, 2):
        y = L.DepthwiseConv2D(7, padding="same", name=f"wide{n}")(x)
        y = L.Dense(16, activation="gelu", name=f"grow{n}")(L.LayerNormalization()(y))
        x = L.Add(name=f"sum{n}")([L.Dense(8, name=f"shrink{n}")(y), x])
    end = L.LayerNormalization()(L.GlobalAveragePooling2D()(x))
    return keras.Model(start, L.Dense(2, activation="softmax")(end))


def separable() -> keras.Model:
    sizes = [
        L.SeparableConv2D(4, 3, padding="same", activation="relu", name=f"s{n}") for n in (1, 2)
    ]
    middle = [
        sizes[0],
        L.MaxPooling2D(),
        sizes[1],
        L.BatchNormalization(name="end"),
        L.Dropout(0.5),
    ]
    return keras.Sequential(
        [keras.Input((16, 16, 3)), *middle, L.Flatten(), L.Dense(2, activation="softmax")]
    )


def bottleneck() -> keras.Model:
    """Two branches of unequal length and their product, as in squeeze and excitation."""
    start = keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, padding="same", name="first")(start)
    means = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(4, 1, activation="sigmoid", name="gate")(L.Conv2D(1, 1)(means))
    x = L.Multiply(name="gated")([x, gate])
    narrow = L.Conv2D(8, 1, name="head")(L.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(start, L.Dense(2, activation="softmax")(L.Flatten()(narrow)))


@pytest.mark.parametrize(
    ("make", "where"), [(convnext_like, "sum2"), (separable, "end"), (bottleneck, "gated")]
)
def test_when_blocks_are_of_another_kind_then_the_map_is_after_the_last(make, where):
    keras.utils.set_random_seed(0)
    model = make()
    assert gradcam.last_map(model) == where
    start = keras.Input(model.input_shape[1:])
    assert gradcam.last_map(keras.Model(start, model(start))) == f"{model.name}/{where}"
    images = np.random.default_rng(0).uniform(0, 1, (2, *model.input_shape[1:]))
    assert gradcam.grad_cam(model, images).shape == images.shape[:3]


def test_when_branches_never_meet_in_maps_then_a_layer_must_be_named():
    start = keras.Input((8, 8, 3))
    two = [L.Flatten()(L.Conv2D(2, 3, name=name)(start)) for name in ("left", "right")]
    model = keras.Model(start, L.Dense(2, activation="softmax")(L.Concatenate()(two)))
    with pytest.raises(ValueError, match="name a layer"):
        gradcam.grad_cam(model, IMAGES[:, :8, :8])
    assert gradcam.grad_cam(model, IMAGES[:, :8, :8], layer="left").shape == (5, 8, 8)


def test_when_weights_are_shuffled_then_the_copy_differs_from_the_top_down(model):
    copy = gradcam.randomised(model, last=1)
    same = [
        np.array_equal(a, b) for a, b in zip(model.get_weights(), copy.get_weights(), strict=True)
    ]
    assert same[:4] == [True] * 4
    assert not same[4]
    assert np.allclose(*(np.sort(m.get_weights()[4], axis=None) for m in (model, copy)))


def test_when_nothing_is_shuffled_then_the_maps_are_alike_and_else_less_so():
    table = gradcam.sanity(functional(), IMAGES, [0, 3])
    similar = table.groupby("shuffled")["similarity"].mean()
    assert similar[0] == pytest.approx(1.0)
    assert similar[3] < 0.9


def test_when_a_disc_is_divided_then_the_edge_is_a_ring_and_images_stay_apart():
    y, x = np.indices((40, 40))
    disc = np.hypot(y - 20, x - 20) < 10
    images = np.stack([disc[..., None] * np.full(3, 90.0), np.zeros((40, 40, 3))])
    where = gradcam.regions(images)
    assert where[0, 20, 20] == 1
    assert where[0, 20, 30] == 2
    assert not where[1].any()


def test_when_a_map_is_even_then_attention_equals_area():
    images = np.zeros((1, 20, 20, 3))
    images[0, 5:15, 5:15] = 80
    table = gradcam.attention_shares(np.ones((1, 20, 20)), images)
    assert table["attention"].tolist() == pytest.approx(table["area"].tolist())
    assert table["area"].sum() == pytest.approx(1.0)


def test_when_a_map_is_empty_then_its_shares_are_missing():
    table = gradcam.attention_shares(np.zeros((1, 20, 20)), np.zeros((1, 20, 20, 3)))
    assert table["attention"].isna().all()


def test_when_a_network_has_no_softmax_or_convolution_then_it_says_so():
    plain = keras.Sequential([keras.Input((4, 4, 1)), L.Conv2D(1, 1, name="c"), L.Flatten()])
    with pytest.raises(ValueError, match="softmax"):
        gradcam.grad_cam(plain, np.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="convolution"):
        gradcam.last_map(keras.Sequential([keras.Input((4,)), L.Dense(2)]))
