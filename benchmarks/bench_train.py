"""Training of the proposed network: ours, plain Keras, and PyTorch, side by side.

Each way has a process of its own. They take turns, some steps at a time, so that all of them meet
the same machine; the best turn of each counts, as the one least disturbed. PyTorch is measured
where `.nox/peers` has it; see benchmarks/README.md.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import machine
import numpy as np

from helpers.training import hardware

SIDES = (128, 64)  # px: of the benchmark as it always was, and of the workshop profile
BATCH, STEPS, TURNS = 30, 2, 8
THREADS = os.cpu_count() or 1
PEER = Path(__file__).resolve().parent.parent / ".nox/peers/bin/python"
WAYS = {
    "plain Keras, float32": ("keras",),
    "plain Keras, mixed_bfloat16": ("keras", "mixed_bfloat16"),
    "ours, float32": ("keras", "fused"),
    "ours, bfloat16 convolutions": ("keras", "fused", "onednn"),
    "PyTorch, float32": ("torch",),
    "PyTorch, bfloat16 autocast": ("torch", "bfloat16"),
    "PyTorch, bfloat16 autocast, torch.compile": ("torch", "bfloat16", "compile"),
}


def main() -> None:
    print(machine.describe("tensorflow", "keras"), flush=True)
    for side in SIDES:
        compare(side)


def compare(side: int) -> None:
    """Lets all ways take turns at one size, and prints their table and the ceiling."""
    workers = {way: start(side, *options) for way, options in WAYS.items()}
    told: dict[str, list[str]] = {}
    for way, worker in workers.items():
        progress(side, way)
        told[way] = hear(worker, 240)
    torch = next((words[1] for way, words in told.items() if "PyTorch" in way and words), "none")
    print(f"\n{side} px, batch {BATCH}, {THREADS} threads, PyTorch {torch}", end="; ")
    print(f"best of {TURNS} turns of {STEPS} steps", flush=True)
    times: dict[str, list[float]] = {way: [] for way, words in told.items() if words}
    for turn in range(TURNS):
        for way in times:
            progress(side, f"turn {turn + 1} of {TURNS}, {way}")
            workers[way].stdin.write("\n")
            workers[way].stdin.flush()
            times[way].append(float(hear(workers[way], 240)[0]))
    for worker in filter(None, workers.values()):
        worker.kill()
    report({way: STEPS * BATCH / np.array(seconds) for way, seconds in times.items()}, told)
    limits = [sys.executable, __file__, "limit", str(side)]
    worker = subprocess.run(limits, capture_output=True, text=True)
    print(f"\n{worker.stdout.strip()}", flush=True)


def progress(side: int, what: str) -> None:
    """Says on the error stream what is measured now: a benchmark takes some minutes."""
    print(f"{side} px: {what}", file=sys.stderr, flush=True)


def report(rates: dict[str, np.ndarray], told: dict[str, list[str]]) -> None:
    counts = {words[2] for words in told.values() if words}
    print(f"trained parameters, the same for all: {', '.join(sorted(counts))}\n")
    print("| way | images/s, best | median | times plain Keras |\n|---|---|---|---|")
    plain = rates["plain Keras, float32"].max()
    for way in WAYS:
        if way not in rates:
            print(f"| {way} | not measured | | |")
            continue
        best, median = rates[way].max(), np.median(rates[way])
        print(f"| {way} | {best:.1f} | {median:.1f} | {best / plain:.2f} |")
    for ours, peers in (("ours, float32", "float32"), ("ours, bfloat16 convolutions", "PyTorch")):
        them = [way for way in rates if "PyTorch" in way and peers in way]
        if them and ours in rates:
            best = max(them, key=lambda way: rates[way].max())
            print(f"\n{ours}: {rates[ours].max() / rates[best].max():.2f} times {best}")


def start(side: int, kind: str, *options: str) -> subprocess.Popen[str] | None:
    emulated = not hardware.cpu_has_bfloat16() and {"bfloat16", "mixed_bfloat16"} & set(options)
    if emulated or (kind == "torch" and not PEER.exists()):
        return None
    script, python = (__file__, sys.executable)
    if kind == "torch":
        script, python = str(Path(__file__).with_name("peer_torch.py")), str(PEER)
    sizes = map(str, (side, BATCH, STEPS, THREADS))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(THREADS)}
    return subprocess.Popen(
        [python, script, *sizes, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **quiet},
    )


def hear(worker: subprocess.Popen[str] | None, seconds: float) -> list[str]:
    """Returns the next line of a worker, in words; nothing if there is none in time."""
    if worker is None or not select.select([worker.stdout], [], [], seconds)[0]:
        return []
    return worker.stdout.readline().split()


def train(side: int, batch: int, steps: int, threads: int, *options: str) -> None:
    """One way of training with Keras, by `fit` on batches held in memory, when told to."""
    import keras
    import tensorflow as tf

    from helpers.models import registry

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    if "onednn" in options and not hardware.choose_accelerator().onednn_bfloat16:
        raise SystemExit("This processor has no bfloat16.")
    if "mixed_bfloat16" in options:
        keras.config.set_dtype_policy("mixed_bfloat16")
    model = registry.build("proposed_cnn", side, weights=None)
    if "fused" in options:
        hardware.use_fast_kernels(model)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9, nesterov=True)
    if "fused" in options:
        hardware.use_fast_steps(optimizer)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    rng = np.random.default_rng(1)
    images = rng.uniform(0, 255, (steps * batch, side, side, 3)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(steps * batch) % 2)).batch(batch)
    model.fit(data, verbose=0)
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    print("ready", tf.__version__, trained, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        model.fit(data, verbose=0)
        print(time.perf_counter() - began, flush=True)


def limit(side: int) -> None:
    """Says how fast training could be if nothing but its convolutions took time.

    A large product of matrices is the best case of the arithmetic that a convolution consists of.
    """
    import tensorflow as tf

    from helpers.models import registry

    model = registry.build("proposed_cnn", side, weights=None)
    convs = [layer for layer in model.layers if "conv" in layer.name]
    forward = sum(
        2 * layer.output.shape[1] ** 2 * int(np.prod(layer.kernel.shape)) for layer in convs
    )
    first = 2 * convs[0].output.shape[1] ** 2 * int(np.prod(convs[0].kernel.shape))
    work = 3 * forward - first  # forward, to the kernels, and to the input of all but the first
    for kind in (tf.float32, tf.bfloat16)[: 1 + hardware.cpu_has_bfloat16()]:
        matrix = tf.cast(tf.random.normal((3072, 3072)), kind)
        seconds = []
        for _ in range(12):
            began = time.perf_counter()
            tf.matmul(matrix, matrix).numpy()
            seconds.append(time.perf_counter() - began)
        speed = 2 * 3072**3 / min(seconds)
        print(
            f"{kind.name}: at the {speed / 1e9:.0f} GFLOP/s of a 3072 x 3072 matrix product, the "
            f"{work / 1e9:.1f} GFLOP of an image's convolutions allow {speed / work:.1f} images/s"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["limit"]:
        limit(int(sys.argv[2]))
    else:
        train(*map(int, sys.argv[1:5]), *sys.argv[5:]) if len(sys.argv) > 4 else main()
