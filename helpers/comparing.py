"""Whether one model is better than another, or only luckier on these patients."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from helpers import bootstrap, metrics
from helpers.predictions import check, only_part, sample

EXACT_BELOW = 25  # disagreements; above, the chi-squared approximation is usual


def compare(
    models: Mapping[str, pd.DataFrame],
    metric: str = "weighted_f1",
    thresholds: Mapping[str, float] | None = None,
    draws: int = 2_000,
    seed: int = 0,
    part: str = "test",
) -> pd.DataFrame:
    """Compares every pair of models on the same cells, by two tests.

    McNemar's test asks whether the two err on different cells equally often; it takes cells for
    independent, which cells of one patient are not. The paired bootstrap draws whole subjects, the
    same for both models, and asks whether the difference keeps its sign; with few subjects it is
    too sure, so its p-value is no less than 2 / 2^subjects, as low as a two-sided test can get
    when each subject favours one model or the other. The p-values of all pairs are corrected by
    Holm's method, each test for itself.

    Args:
        models: The predictions of each model by its name, all on the same cells (`path`).
        metric: What the bootstrap compares: one of `metrics.NAMES`.
        thresholds: Of each model; 0.5 where not given.
        draws: Bootstrap draws.
        seed: Decides the draws.
        part: If the tables have a column `split`, only this part is compared.

    Returns:
        One row per pair: `first`, `second`, `only_first` and `only_second` (cells that only this
        one calls right), `p_mcnemar`, `difference` (first minus second), `low`, `high` (95 % over
        subjects, not corrected), `p_subjects`, both also with `_holm`, `cells`, `subjects`.
        Where a class has fewer than `bootstrap.LEAST` subjects, what needs more is missing.

    Raises:
        ValueError: If there are fewer than two models, or they did not judge the same cells.
    """
    if metric not in metrics.NAMES:
        raise ValueError(f"Choose one of {', '.join(metrics.NAMES)}. Received: metric={metric!r}")
    chosen = {name: (thresholds or {}).get(name, 0.5) for name in models}
    cells = _align({name: check(only_part(table, part)) for name, table in models.items()})
    place = metrics.NAMES.index(metric)
    arrays = {name: sample(table) for name, table in cells.items()}
    drawn = {
        name: bootstrap.over_subjects(array, chosen[name], draws, seed)[:, place]
        for name, array in arrays.items()
    }
    value = {name: bootstrap.score(array, chosen[name])[place] for name, array in arrays.items()}
    right = {name: (a.probability > chosen[name]) == a.is_all for name, a in arrays.items()}
    some = next(iter(arrays.values()))
    rows = [
        {"first": one, "second": other}
        | _mcnemar(right[one], right[other])
        | {"difference": value[one] - value[other]}
        | _paired(drawn[one] - drawn[other], some.subjects)
        for one, other in combinations(models, 2)
    ]
    table = pd.DataFrame(rows).assign(cells=len(some.is_all), subjects=some.subjects)
    return table.assign(**{f"{p}_holm": holm(table[p]) for p in ("p_mcnemar", "p_subjects")})


def _align(models: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Brings the cells of all models into one order."""
    if len(models) < 2:
        raise ValueError(f"A comparison needs two models. Received: {', '.join(models) or 'none'}")
    (first, lead), *others = models.items()
    without = [name for name, table in models.items() if "path" not in table]
    if without:
        raise ValueError(
            "Cells of two models are matched by their `path`. Received: no such column for "
            f"{', '.join(without)}"
        )
    aligned = {first: lead}
    truth = lead.set_index("path")[["label", "linked_subject"]]
    for name, table in others:
        same = table.set_index("path").reindex(truth.index).reset_index()
        differs = (same[["label", "linked_subject"]].to_numpy() != truth.to_numpy()).any(axis=1)
        if len(table) != len(lead) or differs.any():
            raise ValueError(
                "Models are compared on the same cells with the same labels and subjects. "
                f"Received: {len(lead):,} cells of {first!r} and {len(table):,} of {name!r}, "
                f"{int((~differs).sum()):,} of them the same"
            )
        aligned[name] = same
    return aligned


def _mcnemar(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Tests whether two models err equally often where they disagree."""
    from statsmodels.stats.contingency_tables import mcnemar

    table = np.array(
        [[(one & other).sum(), (one & ~other).sum()], [(~one & other).sum(), (~one & ~other).sum()]]
    )
    differ = table[0, 1] + table[1, 0]
    p = mcnemar(table, exact=differ < EXACT_BELOW).pvalue if differ else 1.0
    counts = {"only_first": int(table[0, 1]), "only_second": int(table[1, 0])}
    return counts | {"p_mcnemar": float(p)}


def _paired(differences: np.ndarray, subjects: int) -> dict[str, float]:
    """Returns the interval of a difference, and how often it changes its sign, both sides."""
    known = differences[~np.isnan(differences)]
    if not len(known):
        return {"low": np.nan, "high": np.nan, "p_subjects": np.nan}
    low, high = np.quantile(known, [0.025, 0.975])
    tail = (min((known <= 0).sum(), (known >= 0).sum()) + 1) / (len(known) + 1)
    p = min(1.0, 2 * max(tail, 0.5**subjects))
    return {"low": low, "high": high, "p_subjects": p}


def holm(p: pd.Series) -> np.ndarray:
    """Corrects p-values for their number by Holm's method; missing ones stay missing."""
    from statsmodels.stats.multitest import multipletests

    corrected = np.full(len(p), np.nan)
    known = p.notna().to_numpy()
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected
