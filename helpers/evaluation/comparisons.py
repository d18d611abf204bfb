"""Whether one model is better than another, or only luckier on these patients.

Does a change help? The same comparison on many draws of subjects, paired, with an interval.

The test part of the series is for the very end, so questions are decided without it: its subjects
are left out, and the others are split anew for each seed. So the spread over seeds holds both
the luck of the first weights and the luck of who happens to be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from helpers.data import cnmc
from helpers.data.splits import split_by_subject
from helpers.evaluation import metrics
from helpers.evaluation.performance import check, only_part, sample

EXACT_BELOW = 25  # disagreements; above, the chi-squared approximation is usual


def compare_models(
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
        Where a class has fewer than `metrics.LEAST` subjects, what needs more is missing.

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
        name: metrics.over_subjects(array, chosen[name], draws, seed)[:, place]
        for name, array in arrays.items()
    }
    value = {name: metrics.score(array, chosen[name])[place] for name, array in arrays.items()}
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


JUDGED, VALIDATION = 0.25, 0.15  # shares of the images that remain without the test part
HELPS, HARMS, OPEN = "helps", "harms", "not shown"


def draw_splits(split: pd.DataFrame, seeds: Iterable[int]) -> dict[int, pd.DataFrame]:
    """Splits the subjects outside the test part anew for each seed.

    Args:
        split: The split of the series, as from `splits.prepare`.
        seeds: One draw per seed.

    Returns:
        A table per seed, whose part "test" is the part that judges. None has a test subject of
        `split`, unless a class has fewer than three subjects outside the test part, as in a small
        sample: then every table is `split` itself, and only the networks differ. `is_own_draw`
        tells.

    Raises:
        ValueError: If there is no seed.
    """
    seeds = list(seeds)
    if not seeds:
        raise ValueError("A study needs at least one seed. Received: none")
    pool = split[split["split"] != "test"].reset_index(drop=True)
    subjects = pool.groupby("label")["linked_subject"].nunique()
    if subjects.reindex(cnmc.CLASSES, fill_value=0).min() < 3:
        return dict.fromkeys(seeds, split)
    return {
        seed: split_by_subject(pool, 1 - JUDGED, VALIDATION, seed, tolerance=0.04) for seed in seeds
    }


def is_own_draw(draw: pd.DataFrame, split: pd.DataFrame) -> bool:
    """Tells whether a draw leaves the test subjects of the series alone."""
    tested = split.loc[split["split"] == "test", "linked_subject"]
    return not draw["linked_subject"].isin(tested).any()


def keep_subjects(draw: pd.DataFrame, share: float, seed: int = 0) -> pd.DataFrame:
    """Keeps a share of the training subjects of each class, at least one; other parts stay.

    Args:
        draw: A table with `split`, `label` and `linked_subject`.
        share: Above 0, up to 1. A smaller share of the same seed is part of a larger one.
        seed: Decides the order of the subjects.

    Returns:
        The table without the other subjects' training rows.
    """
    if not 0 < share <= 1:
        raise ValueError(f"The share of subjects is above 0, up to 1. Received: share={share!r}")
    rng = np.random.default_rng(seed)
    train = draw[draw["split"] == "train"]
    kept: list[str] = []
    for label in cnmc.CLASSES:
        subjects = rng.permutation(
            sorted(train.loc[train["label"] == label, "linked_subject"].unique())
        )
        kept += list(subjects[: max(1, round(share * len(subjects)))])
    stays = (draw["split"] != "train") | draw["linked_subject"].isin(kept)
    return draw[stays].reset_index(drop=True)


def score(predictions: pd.DataFrame) -> dict[str, float]:
    """Scores the part that judges, "test".

    Args:
        predictions: Rows with `label`, `linked_subject`, `split` and `probability` of ALL.

    Returns:
        Every score of `metrics.NAMES`, without intervals: those come from the seeds.
    """
    cells = sample(check(only_part(predictions, "test")))
    return dict(zip(metrics.NAMES, metrics.score(cells).tolist(), strict=True))


def score_all(judged: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Scores many predictions.

    Args:
        judged: Predictions by variant and seed.

    Returns:
        One row per variant and seed with `variant`, `seed` and the scores of `score`.
    """
    rows = [{"variant": v, "seed": seed} | score(rows) for (v, seed), rows in judged.items()]
    return pd.DataFrame(rows)


def compare_draws(
    scores: pd.DataFrame, baseline: str, metric: str = "roc_auc", level: float = 0.95
) -> pd.DataFrame:
    """Compares every variant with the baseline, seed by seed.

    Repeated splits share subjects, so their scores are less independent than they look. The
    interval is that of the corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning
    52, 239-281), which widens the usual one by the ratio of judged to training images.

    Args:
        scores: One row per `variant` and `seed`, with the metric.
        baseline: The variant to compare with.
        metric: The column to compare, one of `metrics.NAMES`.
        level: Of the interval, between 0 and 1.

    Returns:
        One row per variant, in their order: `mean`, `sd` and number of `seeds`; for all but the
        baseline the mean paired `difference`, its interval `low` to `high`, its two-sided `p`, and
        a `verdict`: "helps" or "harms" where the interval excludes 0, else "not shown".

    Raises:
        ValueError: If the baseline is missing, or a variant lacks its seeds.
    """
    wide = scores.pivot(index="seed", columns="variant", values=metric)  # noqa: PD010
    wide = wide[scores["variant"].unique()]
    if baseline not in wide or wide.isna().to_numpy().any():
        raise ValueError(
            f"Every variant is compared with {baseline!r} on the same seeds. Received: "
            f"{scores.groupby('variant', sort=False)['seed'].apply(list).to_dict()}"
        )
    rows = {}
    for name in wide:
        rows[name] = {"mean": wide[name].mean(), "sd": wide[name].std(), "seeds": len(wide)}
        if name != baseline:
            rows[name] |= _judge(wide[name] - wide[baseline], level)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def _judge(differences: pd.Series, level: float) -> dict[str, float | str]:
    """Returns the mean difference with its interval, and what may be said of it."""
    from scipy.stats import t

    mean, n = differences.mean(), len(differences)
    if n < 2:
        return {"difference": mean, "low": np.nan, "high": np.nan, "p": np.nan, "verdict": OPEN}
    ratio = JUDGED / (1 - JUDGED - VALIDATION)
    error = max(differences.std() * np.sqrt(1 / n + ratio), 1e-12)
    reach = t.ppf((1 + level) / 2, n - 1) * error
    verdict = HELPS if mean > reach else HARMS if mean < -reach else OPEN
    p = 2 * t.sf(abs(mean) / error, n - 1)
    return {
        "difference": mean,
        "low": mean - reach,
        "high": mean + reach,
        "p": p,
        "verdict": verdict,
    }


def say(comparison: pd.DataFrame, metric: str = "roc_auc") -> list[str]:
    """Puts the verdicts into words, one line per variant.

    Args:
        comparison: As from `compare_draws`.
        metric: What was compared, one of `metrics.NAMES`.

    Returns:
        The lines, without the baseline's.
    """
    rows = comparison.dropna(subset=["difference"])
    return [
        f"{row.Index}: {metrics.LABELS[metric]} {row.difference:+.3f} ({_reach(row)}): "
        f"{row.verdict}"
        for row in rows.itertuples()
    ]


def _reach(row: Any) -> str:
    if np.isnan(row.low):
        return "one draw, so no interval"
    return f"95 % interval {row.low:+.3f} to {row.high:+.3f}, {row.seeds} draws"


def adjust(comparisons: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Collects the comparisons of several questions and corrects for asking so many.

    Args:
        comparisons: One table per question, as from `compare_draws`.

    Returns:
        One row per question and variant, without the baselines, with `p` corrected by Holm's method
        and the verdict that it leaves.
    """
    asked = [table.assign(question=name).reset_index() for name, table in comparisons.items()]
    rows = pd.concat(asked).dropna(subset=["difference"]).set_index(["question", "variant"])
    rows["p_holm"] = holm(rows["p"])
    left = rows["verdict"].where(rows["p_holm"] < 0.05, OPEN)
    return rows.assign(after_correction=left)
