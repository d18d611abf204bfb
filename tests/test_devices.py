"""`doctor --devices`: every verdict, on a machine without a GPU.

What a GPU would do is simulated: XLA and 16 bits on the CPU, two devices out of one processor, and
planted faults. The network is a tiny one, but for one test.
"""

import contextlib
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))

import test_hardware
import tiny_training

from helpers import feed
from helpers.__main__ import main
from helpers.commands import doctor
from helpers.models import registry
from helpers.training import hardware, loop

LOSSES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
PLAIN = {"losses": LOSSES, "before": [], "rate": 10.0, "kind": "CPU", "devices": 1}
GPU = PLAIN | {"kind": "GPU", "before": LOSSES, "rate": 400.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Whoever has a GPU may run these, too; and the other checks take no time."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "ASK", "print('1 x CPU')")
    (tmp_path / "few.toml").write_text('dependencies = [\n    "numpy>=2",\n]\n')
    monkeypatch.setattr(doctor, "PROJECT", tmp_path / "few.toml")
    monkeypatch.delenv("CNMC_DATA", raising=False)
    monkeypatch.delenv("CNMC_PLAIN", raising=False)


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    """Runs `doctor --devices`; gives the exit status, the output and what was told."""
    work = tmp_path / "work"
    monkeypatch.setenv("CNMC_WORK", str(work))

    def call():
        monkeypatch.setattr(sys, "argv", ["helpers", "doctor", "--devices"])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert list(work.iterdir()) == []  # nothing is left behind
        return stopped.value.code, *capfd.readouterr()

    return call


def _altered(step, loss):
    losses = [*LOSSES[: step - 1], loss, *LOSSES[step:]]
    return {"losses": losses, "before": losses}


class TestVerdict:
    def test_when_losses_agree_then_the_gpu_holds(self):
        assert doctor.judge(GPU, PLAIN) == "holds on the GPU"
        near = [loss + 0.1 * (-1) ** n for n, loss in enumerate(LOSSES)]
        assert doctor.judge(GPU | {"losses": near, "before": near}, PLAIN) == "holds on the GPU"

    def test_when_there_is_no_gpu_then_the_verdict_says_so(self):
        assert "no GPU here" in doctor.judge(GPU | {"kind": "CPU"}, PLAIN)

    @pytest.mark.parametrize(
        ("change", "found"),
        [(_altered(4, 0.95), "of step 4 is 0.95, the CPU's 0.7: .* by 0.2 at most"),
         (_altered(10, -0.3), "of step 10 is -0.3, the CPU's 0.1: "),
         (_altered(1, float("nan")), "of step 1 is nan, the CPU's 1: "),
         (_altered(7, float("inf")), "of step 7 is inf, the CPU's 0.4: "),
         ({"before": [*LOSSES[:-1], 0.1000001]}, "other losses when they are repeated")],
    )  # fmt: skip
    def test_when_steps_go_wrong_then_it_says_which_and_how(self, change, found):
        with pytest.raises(ValueError, match=f"does not hold: .*{found}"):
            doctor.judge(GPU | change, PLAIN)

    def test_when_the_cpu_itself_is_no_number_then_nothing_holds(self):
        with pytest.raises(ValueError, match=r"of step 3 is 0\.8, the CPU's nan: "):
            doctor.judge(GPU, PLAIN | _altered(3, float("nan")))

    def test_when_the_gpu_is_slower_then_it_warns(self):
        with pytest.raises(UserWarning, match="holds, but the GPU is slower"):
            doctor.judge(GPU | {"rate": 9.9}, PLAIN)

    def test_when_tensorflow_does_not_see_the_gpu_then_the_check_fails(self, monkeypatch):
        monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
        with pytest.raises(ValueError, match="does not see the NVIDIA GPU"):
            doctor.judge(GPU | {"kind": "CPU"}, PLAIN)
        assert doctor.judge(GPU, PLAIN) == "holds on the GPU"


@pytest.fixture
def here(monkeypatch):
    """Takes the steps in this process, with a tiny network; each test may plant a fault in ours."""
    monkeypatch.setitem(
        registry.MODELS, "proposed_cnn", registry.ModelSpec(tiny_training.build_tiny)
    )
    monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(doctor, "SIDES", {"CPU": 32, "GPU": 32})
    monkeypatch.setattr(doctor, "RATE", 0.02)
    steps, plant = doctor.take_steps, []

    def take(side, _):
        steps(side, 0)  # how many devices there are is known to TensorFlow by now

    def execute(code, what="", **switches):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in switches.items():
                patch.setenv(name, value)
            for change in plant if "CNMC_PLAIN" not in switches else []:
                change(patch)
            patch.setattr(doctor, "take_steps", take)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                try:
                    exec(code)
                except Exception as error:  # as a process ends that raises it
                    raise ValueError(f"{what}: {type(error).__name__}: {error}") from error
        return said.getvalue().strip()

    monkeypatch.setattr(doctor, "_try", execute)
    return plant.append


def _as_gpu(**changes):
    """Lets the CPU pass for a GPU, computing as one would."""
    real = hardware.choose_accelerator

    def choose():
        return replace(real(), kind="GPU", note="1 x planted", **changes)

    return lambda patch: patch.setattr(hardware, "choose_accelerator", choose)


def _optimize(make):
    return lambda patch: patch.setitem(loop.OPTIMIZERS, "sgd", make)


class TestSteps:
    def test_when_the_cpu_is_all_there_is_then_its_fast_ways_are_checked(self, run, here):
        code, out, _ = run()
        assert code == 0, out
        rows = re.findall(r"^ +(\d+) +(\d\.\d{4}) +(\d\.\d{4})$", out, re.MULTILINE)
        ours, plain = np.array(rows, float).T[1:]
        assert [int(row[0]) for row in rows] == list(range(1, 11))
        assert ours[-1] < 0.7 * ours[0]  # it learns, or nothing would be compared
        np.testing.assert_allclose(ours, plain, atol=0.1)
        assert len(re.findall(r"\d\.\d images/s of 32 px after \d+ s to start", out)) == 2
        assert re.search(r"^ok +training +no GPU here; the CPU was checked, and holds$", out, re.M)

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_when_xla_and_16_bits_hold_then_so_does_the_gpu(self, run, here, policy):
        here(_as_gpu(policy=policy, xla=True))
        code, out, _ = run()
        assert code == 0, out
        assert re.search("^(ok|warn) +training +holds", out, re.MULTILINE)

    @pytest.mark.parametrize(
        ("make", "found"),
        [(lambda rate: keras.optimizers.SGD(0.0), r"of step [2-9] is [\d.]+, the CPU's"),
         (lambda rate: keras.optimizers.SGD(1e30), "the loss of step [2-9] is nan, the CPU's")],
    )  # fmt: skip
    def test_when_a_device_learns_otherwise_then_it_does_not_hold(self, run, here, make, found):
        here(_optimize(make))
        code, out, _ = run()
        assert code == 1
        assert re.search(f"^fail +training +does not hold: .*{found}.*\n .*CNMC_PLAIN=1", out, re.M)

    def test_when_steps_do_not_repeat_themselves_then_it_does_not_hold(
        self, run, here, monkeypatch
    ):
        monkeypatch.setattr(doctor, "APART", 100.0)  # whatever the noise does beside
        serve, rng = feed.Batches.__getitem__, np.random.default_rng()

        def stir(batches, number):
            images, labels = serve(batches, number)
            return images + rng.uniform(-1e-3, 1e-3), labels

        here(lambda patch: patch.setattr(feed.Batches, "__getitem__", stir))
        code, out, _ = run()
        assert code == 1
        assert "other losses when they are repeated" in out

    def test_when_the_gpu_has_too_little_memory_then_it_says_for_what(self, run, here):
        def run_out(*_, **__):
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

        here(lambda patch: patch.setattr(registry, "build", run_out))
        code, out, _ = run()
        assert code == 1
        assert re.search("^fail +training +training fails: MemoryError: .*image_size=32", out, re.M)

    def test_when_a_library_of_the_check_is_missing_then_it_fails(self, run, here, monkeypatch):
        doctor.PROJECT.write_text('dependencies = [\n    "no-such-library",\n]\n')
        monkeypatch.setitem(sys.modules, "helpers.standin.cohort", None)
        code, out, _ = run()
        assert code == 1
        assert re.search("^fail +libraries +not installed: no-such-library", out, re.M)


# What TensorFlow says when XLA lacks a file; the class is ours, which spares its start.
LIBRARY = """
class InternalError(Exception):
    __module__ = "tensorflow.python.framework.errors_impl"
said = ["Graph execution error:", "", "Detected at node Call defined at (most recent call last):",
    "<stack traces unavailable>", "libdevice not found at ./libdevice.10.bc",
    "\\t [[{{node StatefulPartitionedCall}}]] [Op:__inference_step_7]"]
raise InternalError("\\n".join(said))
"""


class TestProcesses:
    @pytest.mark.parametrize(
        ("code", "found"),
        [(LIBRARY, r"status 1: .*InternalError: Graph execution error: libdevice not found at \./"),
         ("import os; os.write(2, b'F0000 no ptxas\\n'); os._exit(134)", "status 134: F0000 no pt"),
         ("raise MemoryError('Received: batch_size=30')", "status 1: MemoryError: Received: batch"),
         ("import os; os._exit(9)", "status 9: no word")],
    )  # fmt: skip
    def test_when_a_process_ends_with_an_error_then_its_cause_is_told(self, code, found):
        with pytest.raises(ValueError, match=f"^training fails, exit {found}"):
            doctor._try(code, "training fails")

    def test_when_two_devices_share_a_batch_then_two_cpus_check_them(self, run, monkeypatch):
        prelude = PRELUDE.format(tests=str(Path(__file__).parent))
        monkeypatch.setattr(doctor, "TRY", f"{prelude}\n{doctor.TRY}")
        code, out, told = run()
        assert (code, told) == (0, ""), out
        notes = re.findall("^(2 x CPU.*?): .* images/s of 32 px", out, re.MULTILINE)
        assert [note.endswith("CNMC_PLAIN=1") for note in notes] == [False, True]


PRELUDE = """
import os, sys
sys.path.insert(0, {tests!r})
import tensorflow as tf
import tiny_training
from helpers.commands import doctor
from helpers.models import registry
from helpers.training import hardware
registry.MODELS["proposed_cnn"] = registry.ModelSpec(tiny_training.build_tiny)
hardware.cpu_has_bfloat16 = lambda: False
doctor.SIDES["CPU"] = 32
if "CNMC_PLAIN" not in os.environ:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


class TestSwitch:
    @pytest.mark.parametrize("found", [(), ((9, 0),), ((7, 5), (7, 5))])
    def test_when_plain_is_asked_for_then_all_compute_as_keras_does(self, monkeypatch, found):
        monkeypatch.setattr(hardware, "tf", test_hardware._machine(*found))
        monkeypatch.setattr(hardware, "cpu_has_bfloat16", lambda: True)
        hardware._mirror.cache_clear()
        monkeypatch.setenv("CNMC_PLAIN", "0")
        fast = hardware.choose_accelerator()
        assert (fast.xla, fast.onednn_bfloat16, fast.is_one_cpu) == (bool(found), *(not found,) * 2)
        monkeypatch.setenv("CNMC_PLAIN", "1")
        plain = hardware.choose_accelerator()
        assert (plain.policy, plain.xla, plain.onednn_bfloat16) == ("float32", False, False)
        assert not plain.is_one_cpu
        assert (plain.kind, plain.devices) == (fast.kind, fast.devices)
        assert plain.note.endswith("no XLA, CNMC_PLAIN=1")
        assert plain.numerics != fast.numerics

    def test_when_the_gpu_is_hidden_then_the_cpu_is_chosen(self, monkeypatch):
        machine = test_hardware._machine((9, 0))
        machine.config.get_visible_devices = lambda kind: []
        monkeypatch.setattr(hardware, "tf", machine)
        assert (hardware.choose_accelerator().kind, len(machine.grown)) == ("CPU", 0)

    def test_when_the_doctor_sees_a_gpu_then_it_names_the_check(self, monkeypatch):
        said = []
        monkeypatch.setattr(doctor, "ASK", "print('1 x Tesla T4, mixed_float16, XLA')")
        monkeypatch.setattr(doctor, "CHECKS", {"TensorFlow": doctor.CHECKS["TensorFlow"]})
        assert doctor.tell(said.append) == 0
        assert re.search("^ok .*Tesla T4.*doctor --devices$", said[0])
