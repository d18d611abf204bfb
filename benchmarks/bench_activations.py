"""Memory and time of `activations.silence` against keeping all activations, on growing samples."""

import subprocess
import sys
import time

import machine

SIDE, BATCH = 64, 16


def main() -> None:
    print(f"{'VGG16, ' + str(SIDE) + ' px':24s}{'images':>8s}{'seconds':>9s}{'peak MB':>9s}")
    for way in ("silence", "keep all"):
        for images in (32, 320):
            found = subprocess.run(
                [sys.executable, __file__, way, str(images)], capture_output=True, text=True
            )
            seconds, peak = found.stdout.split()[-2:]
            print(f"{way:24s}{images:8d}{float(seconds):9.1f}{float(peak):9.0f}", flush=True)


def measure(way: str, count: int) -> None:
    import keras
    import numpy as np

    from helpers.looking import activations

    model = keras.applications.VGG16(weights=None, input_shape=(SIDE, SIDE, 3))
    rng = np.random.default_rng(0)
    batches = (rng.uniform(0, 255, (BATCH, SIDE, SIDE, 3)) for _ in range(count // BATCH))
    began = time.perf_counter()
    if way == "silence":
        activations.silence(model, batches)
    else:
        outputs = [layer.output for layer in model.layers[1:]]
        probe = keras.Model(model.input, outputs)
        kept = [[np.asarray(answer) for answer in probe(batch)] for batch in batches]
        assert len(kept) == count // BATCH
    peak = machine.peak_memory()
    print(time.perf_counter() - began, peak)


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else main()
