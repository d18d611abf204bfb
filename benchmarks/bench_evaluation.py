"""Time and memory of 2,000 bootstrap draws of all scores, against scikit-learn draw by draw."""

from __future__ import annotations

import subprocess
import sys
import time

import machine
import numpy as np
import pandas as pd

SUBJECTS, DRAWS, PEER_DRAWS = 66, 2_000, 4
SIZES = (2_000, 100_000, 1_000_000)


def main() -> None:
    print(machine.describe("numpy", "scipy", "scikit-learn"), "float64, one thread, a process each")
    print(f"{'way':34s}{'cells':>11s}{'draws':>7s}{'seconds':>10s}{'peak MB':>9s}")
    for cells in SIZES:
        for way, draws in (("evaluate", DRAWS), ("peer", PEER_DRAWS), ("compare", DRAWS)):
            found = subprocess.run(
                [sys.executable, __file__, way, str(cells)], capture_output=True, text=True
            )
            seconds, peak = map(float, found.stdout.split())
            print(f"{NAMES[way]:34s}{cells:11,}{draws:7,}{seconds:10.1f}{peak:9.0f}", flush=True)


def judged(cells: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    subject = rng.integers(0, SUBJECTS, cells)
    sick = subject % 3 > 0
    logit = rng.normal(0, 1, cells) + rng.normal(0, 0.8, SUBJECTS)[subject] + np.where(sick, 1, -1)
    return pd.DataFrame(
        {
            "path": np.arange(cells).astype(str),
            "label": np.where(sick, "ALL", "HEM"),
            "linked_subject": subject.astype(str),
            "probability": (1 / (1 + np.exp(-logit))).astype("float32"),
        }
    )


def ours(table: pd.DataFrame) -> None:
    """All 16 scores, 2,000 draws over subjects and 2,000 over cells."""
    from helpers.evaluation import performance

    performance.evaluate(table, draws=DRAWS)


def pair(table: pd.DataFrame) -> None:
    """Two models on the same cells: McNemar and 2,000 paired draws."""
    from helpers.evaluation import comparisons

    other = table.assign(probability=1 - (1 - table["probability"]) ** 1.1)
    comparisons.compare_models({"one": table, "other": other}, draws=DRAWS)


def peer(table: pd.DataFrame) -> None:
    """As usually written: rows of the drawn subjects copied, five scores of scikit-learn."""
    from sklearn import metrics

    rng, rows = np.random.default_rng(0), table.groupby("linked_subject").indices
    names, sick = list(rows), (table["label"] == "ALL").to_numpy()
    for _ in range(PEER_DRAWS):
        some = np.concatenate([rows[who] for who in rng.choice(names, len(names))])
        y, p = sick[some], table["probability"].to_numpy()[some]
        metrics.f1_score(y, p > 0.5, average="weighted")
        metrics.matthews_corrcoef(y, p > 0.5)
        metrics.roc_auc_score(y, p)
        metrics.average_precision_score(y, p)
        metrics.brier_score_loss(y, p)


WAYS = {"evaluate": ours, "compare": pair, "peer": peer}
NAMES = {
    "evaluate": "evaluate: 16 scores, both ways",
    "compare": "compare: 2 models, paired",
    "peer": "peer: scikit-learn, 5 scores, rows",
}


def measure(way: str, cells: int) -> None:
    table = judged(cells)
    began = time.perf_counter()
    WAYS[way](table)
    print(time.perf_counter() - began, machine.peak_memory())


if __name__ == "__main__":
    measure(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 2 else main()
