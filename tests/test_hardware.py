"""What is chosen for which machine, and the fused operations: as Keras computes them.

No test needs an accelerator.
"""

import gc
import types
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.training import hardware

LAYERS = keras.layers


@pytest.mark.parametrize(
    ("capability", "policy"),
    [
        ((0, 0), "float32"),
        ((6, 1), "float32"),
        ((7, 0), "mixed_float16"),
        ((7, 5), "mixed_float16"),
        ((8, 0), "mixed_bfloat16"),
        ((12, 0), "mixed_bfloat16"),
    ],
)
def test_when_a_gpu_has_a_capability_then_its_fast_precision_is_used(capability, policy):
    assert hardware.precision_for(capability) == policy


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx2 fma", False), ("fpu avx512_bf16", True), ("amx_bf16 amx_tile", True)],
)
def test_when_the_chip_lists_bfloat16_then_it_is_found(tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert hardware.cpu_has_bfloat16(cpuinfo) is expected


def test_when_onednn_is_held_to_an_older_chip_then_there_is_no_bfloat16(tmp_path, monkeypatch):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx512_bf16\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not hardware.cpu_has_bfloat16(cpuinfo)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    assert hardware.cpu_has_bfloat16(cpuinfo)


@pytest.mark.parametrize(("name", "isa"), [("ONEDNN_MAX_CPU_ISA", "avx2"),
                                           ("DNNL_MAX_CPU_ISA", "AVX2")])  # fmt: skip
def test_when_the_chip_is_held_in_other_words_then_they_count_as_onednn_counts_them(
    choose, tmp_path, monkeypatch, name, isa
):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags\t\t: fpu avx512_bf16\n")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv(name, isa)
    assert not hardware.cpu_has_bfloat16(cpuinfo)
    assert choose(_machine()).numerics.endswith(f", {name}={isa}")


def test_when_the_system_describes_no_processor_then_there_is_no_bfloat16(tmp_path):
    assert not hardware.cpu_has_bfloat16(tmp_path / "missing")


def _machine(*capabilities, threads=0):
    """A TensorFlow with GPUs of these capabilities, which this machine need not have."""
    gpus = [types.SimpleNamespace(name=f"/device:GPU:{n}") for n in range(len(capabilities))]
    cpus = [types.SimpleNamespace(name="/device:CPU:0")]
    details = dict(zip([g.name for g in gpus], capabilities, strict=True))
    grown, options = [], []

    def list_devices(kind=None):
        return {"GPU": gpus, "CPU": cpus, None: cpus + gpus}[kind]

    def describe(gpu):
        found = {"device_name": "Some GPU"}
        capability = details[gpu.name]
        return found | ({"compute_capability": capability} if capability else {})

    experimental = types.SimpleNamespace(
        set_memory_growth=lambda gpu, grow: grown.append((gpu.name, grow)),
        get_device_details=describe,
    )
    config = types.SimpleNamespace(
        get_visible_devices=list_devices,
        list_logical_devices=list_devices,
        experimental=experimental,
        threading=types.SimpleNamespace(get_intra_op_parallelism_threads=lambda: threads),
        optimizer=types.SimpleNamespace(set_experimental_options=options.append),
    )
    distribute = types.SimpleNamespace(
        MirroredStrategy=lambda names: ("mirrored", names), get_strategy=lambda: "default"
    )
    return types.SimpleNamespace(config=config, distribute=distribute, grown=grown, options=options)


@pytest.fixture
def choose(monkeypatch):
    def choose(machine):
        monkeypatch.setattr(hardware, "tf", machine)
        hardware._mirror.cache_clear()
        return hardware.choose_accelerator()

    return choose


def test_when_there_is_no_gpu_then_the_cpu_works_without_xla(choose):
    chosen = choose(_machine())
    assert (chosen.kind, chosen.devices, chosen.policy) == ("CPU", 1, "float32")
    assert not chosen.xla
    assert chosen.strategy == "default"


def test_when_the_cpu_has_bfloat16_then_onednn_is_told_to_use_it(choose, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: True)
    machine = _machine()
    assert choose(machine).onednn_bfloat16
    assert machine.options == [{"auto_mixed_precision_onednn_bfloat16": True}]


def test_when_there_is_one_gpu_then_it_is_used_with_xla_and_growing_memory(choose):
    machine = _machine((9, 0))
    choose(machine)
    chosen = choose(machine)
    assert (chosen.kind, chosen.policy, chosen.xla) == ("GPU", "mixed_bfloat16", True)
    assert set(machine.grown) == {("/device:GPU:0", True)}
    assert chosen.note == "1 x Some GPU, mixed_bfloat16, XLA"


def test_when_a_gpu_is_in_use_already_then_it_is_chosen_all_the_same(choose, monkeypatch):
    def too_late(gpu, grow):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    machine = _machine((8, 0))
    monkeypatch.setattr(machine.config.experimental, "set_memory_growth", too_late)
    assert choose(machine).kind == "GPU"


def test_when_gpus_differ_then_the_precision_is_one_that_all_have(choose):
    chosen = choose(_machine((9, 0), (7, 5)))
    assert (chosen.devices, chosen.policy) == (2, "mixed_float16")
    assert chosen.strategy == ("mirrored", ["/device:GPU:0", "/device:GPU:1"])


def test_when_a_gpu_is_not_nvidia_then_neither_xla_nor_16_bits_are_used(choose):
    chosen = choose(_machine(None))
    assert (chosen.policy, chosen.xla) == ("float32", False)


def test_when_precision_or_devices_differ_then_the_numerics_do(choose):
    machines = [(), ((7, 5),), ((9, 0),), ((9, 0), (9, 0))]
    assert len({choose(_machine(*m)).numerics for m in machines}) == 4


@pytest.mark.parametrize("name", ["TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS"])
def test_when_a_variable_changes_what_is_computed_then_numerics_and_note_say_so(
    choose, monkeypatch, name
):
    monkeypatch.delenv(name, raising=False)
    before = choose(_machine()).numerics
    monkeypatch.setenv(name, "0")
    after = choose(_machine())
    assert after.numerics == f"{before}, {name}=0"
    assert after.note.endswith(f", {name}=0")


def test_when_fewer_threads_share_the_sums_then_numerics_and_note_say_so(choose, monkeypatch):
    monkeypatch.setattr(hardware, "processors", lambda: 4)
    all_of_them, one = choose(_machine()), choose(_machine(threads=1))
    assert (all_of_them.threads, one.threads) == (4, 1)
    assert all_of_them.numerics != one.numerics
    assert "CPU of 4 cores" in all_of_them.note
    assert "CPU, 1 of 4 cores" in one.note
    gpu = (8, 0)
    assert choose(_machine(gpu)).numerics == choose(_machine(gpu, threads=1)).numerics


@pytest.mark.parametrize(("told", "threads"), [("1", 1), ("0", 4), ("many", 4), ("", 4)])
def test_when_tensorflows_own_variable_says_the_threads_then_numerics_do(
    choose, monkeypatch, told, threads
):
    monkeypatch.setattr(hardware, "processors", lambda: 4)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", told)
    assert f", {threads} threads" in choose(_machine()).numerics
    assert f", {2} threads" in choose(_machine(threads=2)).numerics


@pytest.mark.parametrize("value", ["", "0"])
def test_when_plain_computing_is_not_asked_for_then_the_numerics_stay(choose, monkeypatch, value):
    monkeypatch.delenv("CNMC_PLAIN", raising=False)
    before = choose(_machine((9, 0))).numerics
    monkeypatch.setenv("CNMC_PLAIN", value)
    assert choose(_machine((9, 0))).numerics == before
    monkeypatch.setenv("CNMC_PLAIN", "1")
    assert choose(_machine((9, 0))).numerics == "GPU x 1, float32, CNMC_PLAIN=1"


def test_when_convolutions_are_in_bfloat16_then_probabilities_are_still_told_apart():
    """Rounded to bfloat16 they would be at most every 1/256, and most images would tie."""
    hardware.choose_accelerator()
    stack = [LAYERS.Conv2D(4, 3), LAYERS.Flatten(), LAYERS.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
    images = np.random.default_rng(0).normal(size=(50, 8, 8, 3)).astype("float32") / 50
    assert len(np.unique(model.predict(images, verbose=0)[:, 0])) >= 49


def _network(**options) -> keras.Model:
    """Batch normalisation with all that has a part in it away from its start."""
    layer = LAYERS.BatchNormalization(epsilon=1e-3, momentum=0.8, **options)
    model = keras.Sequential([keras.Input((5, 4, 3)), layer])
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.5, 2, w.shape) for w in model.get_weights()])
    return model


def _images(seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).normal(3, 2, (6, 5, 4, 3)), tf.float32)


def _step(model: keras.Model, training: bool) -> list[np.ndarray]:
    """Output, gradients to weights and input, and the weights after it."""
    images = _images()
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = model(images, training=training)
        loss = tf.reduce_sum(output * tf.reshape(tf.range(360.0) / 100, (6, 5, 4, 3)))
    gradients = tape.gradient(loss, [images, *model.trainable_variables])
    return [output.numpy(), *(g.numpy() for g in gradients), *model.get_weights()]


def _make_fast(model: keras.Model) -> int:
    """Returns how many layers were changed."""
    hardware.use_fast_kernels(model)
    return sum("call" in vars(layer) for layer in model._flatten_layers())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"trainable": False}])
def test_when_normalised_in_one_pass_then_all_is_as_keras_computes_it(training, options):
    stock, fast = _network(**options), _network(**options)
    assert _make_fast(fast) == 1
    for theirs, ours in zip(_step(stock, training), _step(fast, training), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)


def test_when_called_then_it_is_the_fused_operation_that_computes():
    model = _network()
    hardware.use_fast_kernels(model)
    for training in (True, False):
        call = tf.function(lambda x, training=training: model(x, training=training))
        graph = call.get_concrete_function(tf.TensorSpec((6, 5, 4, 3))).graph
        assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}


def test_when_fitted_then_history_and_weights_are_as_with_keras():
    histories, ends = [], []
    for fast in (False, True):
        model = keras.Sequential([_network(), LAYERS.Flatten(), LAYERS.Dense(1)])
        model.set_weights([np.full(w.shape, 0.5) for w in model.get_weights()])
        assert _make_fast(model) == 1 if fast else True
        model.compile("sgd", "mse")
        kept = model.fit(_images() / 10, np.arange(6.0), 3, epochs=2, shuffle=False, verbose=0)
        histories.append(kept.history["loss"])
        ends.append(model.get_weights())
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-4)
    for theirs, ours in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_when_made_fast_then_layer_and_file_are_those_of_keras(tmp_path):
    stock, fast = _network(name="bn"), _network(name="bn")
    before = [v.path for v in fast.variables]
    hardware.use_fast_kernels(fast)
    assert fast.layers[0].get_config() == stock.layers[0].get_config()
    assert [v.path for v in fast.variables] == before
    fast.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[0]) is LAYERS.BatchNormalization
    assert "call" not in vars(loaded.layers[0])
    np.testing.assert_allclose(loaded(_images()), stock(_images()), rtol=1e-5)


def test_when_copied_then_the_copy_has_its_own_statistics():
    model = _network()
    hardware.use_fast_kernels(model)
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    before = model.get_weights()
    copy(_images(), training=True)
    for ours, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, kept)
    assert not np.array_equal(copy.get_weights()[2], before[2])


@pytest.mark.parametrize(
    "options", [{"axis": 1}, {"renorm": True}, {"synchronized": True}, {"dtype": "mixed_bfloat16"}]
)
def test_when_the_operation_cannot_do_it_then_the_layer_stays_as_it_is(options):
    assert _make_fast(_network(**options)) == 0


def test_when_there_is_one_value_per_channel_then_no_statistic_becomes_nan():
    model = keras.Sequential([keras.Input((1, 1, 3)), LAYERS.BatchNormalization()])
    hardware.use_fast_kernels(model)
    model(tf.ones((1, 1, 1, 3)), training=True)
    assert np.isfinite(np.concatenate(model.get_weights())).all()


def test_when_networks_are_nested_then_the_inner_ones_are_made_fast_too():
    first = keras.Input((5, 4, 3))
    nested = keras.Model(first, LAYERS.BatchNormalization()(_network()(first)))
    assert _make_fast(nested) == 2
    again = keras.Model(nested.input, nested.layers[2](nested.layers[1](nested.input)))
    np.testing.assert_allclose(again(_images()), nested(_images()))


def _after_three_steps(fast: bool, **options) -> list[np.ndarray]:
    optimizer = keras.optimizers.SGD(0.01, **options)
    if fast:
        hardware.use_fast_steps(optimizer)
        assert "update_step" in vars(optimizer)
    variable = keras.Variable(np.linspace(-1, 1, 7, dtype="float32"))
    optimizer.build([variable])
    for step in (1.0, -2.0, 0.5):
        optimizer.apply([keras.ops.sin(step * variable)])
    return [np.asarray(v) for v in (variable, *optimizer.variables)]


@pytest.mark.parametrize("nesterov", [True, False])
def test_when_sgd_steps_in_one_pass_then_weights_and_momentum_are_as_with_keras(nesterov):
    options = {"momentum": 0.9, "nesterov": nesterov}
    for theirs, ours in zip(
        _after_three_steps(False, **options), _after_three_steps(True, **options), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("make", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_when_an_optimizer_has_no_fused_step_then_it_stays_as_it_is(make):
    optimizer = make(0.01)
    hardware.use_fast_steps(optimizer)
    assert "update_step" not in vars(optimizer)


def _graph_of_a_training(make) -> weakref.ref:
    optimizer, variable = make(0.01), keras.Variable([1.0, 2.0])
    hardware.keep_on_one_device(optimizer)
    optimizer.build([variable])
    step = tf.function(lambda: optimizer.apply([tf.constant([1.0, 1.0])], [variable]))
    step()
    assert np.all(np.asarray(variable) < [1.0, 2.0])
    return weakref.ref(step.get_concrete_function().graph)


@pytest.mark.parametrize("make", [keras.optimizers.SGD, keras.optimizers.Adam])
def test_when_kept_on_one_device_then_a_finished_training_leaves_no_graph_behind(make):
    graph = _graph_of_a_training(make)
    gc.collect()
    assert graph() is None
