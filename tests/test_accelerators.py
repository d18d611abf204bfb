"""What is chosen for which machine; no test needs an accelerator."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from helpers.training import hardware


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
        get_memory_growth=lambda gpu: (gpu.name, True) in grown,
        set_memory_growth=lambda gpu, grow: grown.append((gpu.name, grow)),
        get_device_details=describe,
    )
    config = types.SimpleNamespace(
        list_physical_devices=list_devices,
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
    def choose(machine, **arguments):
        monkeypatch.setitem(sys.modules, "tensorflow", machine)
        hardware._mirror.cache_clear()
        return hardware.choose_accelerator(**arguments)

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
    assert machine.grown == [("/device:GPU:0", True)]
    assert chosen.note == "1 x Some GPU, mixed_bfloat16, XLA"


def test_when_gpus_differ_then_the_precision_is_one_that_all_have(choose):
    chosen = choose(_machine((9, 0), (7, 5)))
    assert (chosen.devices, chosen.policy) == (2, "mixed_float16")
    assert chosen.strategy == ("mirrored", ["/device:GPU:0", "/device:GPU:1"])


def test_when_a_gpu_is_not_nvidia_then_neither_xla_nor_16_bits_are_used(choose):
    chosen = choose(_machine(None))
    assert (chosen.policy, chosen.xla) == ("float32", False)


def test_when_a_named_device_is_missing_then_the_known_ones_are_listed(choose):
    with pytest.raises(ValueError, match=r"CPU:0.*Received: \['GPU:7'\]"):
        choose(_machine(), devices=["GPU:7"])


def test_when_precision_or_devices_differ_then_the_numerics_do(choose):
    machines = [(), ((7, 5),), ((9, 0),), ((9, 0), (9, 0))]
    assert len({choose(_machine(*m)).numerics for m in machines}) == 4


def test_when_fewer_threads_share_the_sums_then_numerics_and_note_say_so(choose, monkeypatch):
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: 4)
    all_of_them, one = choose(_machine()), choose(_machine(threads=1))
    assert (all_of_them.threads, one.threads) == (4, 1)
    assert all_of_them.numerics != one.numerics
    assert "CPU of 4 cores" in all_of_them.note
    assert "CPU, 1 of 4 cores" in one.note
    gpu = (8, 0)
    assert choose(_machine(gpu)).numerics == choose(_machine(gpu, threads=1)).numerics


def test_when_convolutions_are_in_bfloat16_then_probabilities_are_still_told_apart():
    """Rounded to bfloat16 they would be at most every 1/256, and most images would tie."""
    keras = pytest.importorskip("keras")
    hardware.choose_accelerator()
    layers = keras.layers
    stack = [layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2, activation="softmax")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
    images = np.random.default_rng(0).normal(size=(50, 8, 8, 3)).astype("float32") / 50
    assert len(np.unique(model.predict(images, verbose=0)[:, 0])) >= 49
