"""Does a change help? The same comparison on many draws of subjects, paired, with an interval.

The test part of the series is for the very end, so questions are decided without it: its subjects
are left out, and the others are split anew for each seed. So the spread over seeds holds both
the luck of the first weights and the luck of who happens to be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers import bootstrap, cnmc, metrics
from helpers.comparing import holm
from helpers.partition import split_by_subject
from helpers.predictions import check, only_part, sample

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
    return dict(zip(metrics.NAMES, bootstrap.score(cells).tolist(), strict=True))


def score_all(judged: Mapping[tuple[str, int], pd.DataFrame]) -> pd.DataFrame:
    """Scores many predictions.

    Args:
        judged: Predictions by variant and seed.

    Returns:
        One row per variant and seed with `variant`, `seed` and the scores of `score`.
    """
    rows = [{"variant": v, "seed": seed} | score(rows) for (v, seed), rows in judged.items()]
    return pd.DataFrame(rows)


def compare(
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
        comparison: As from `compare`.
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
        comparisons: One table per question, as from `compare`.

    Returns:
        One row per question and variant, without the baselines, with `p` corrected by Holm's method
        and the verdict that it leaves.
    """
    asked = [table.assign(question=name).reset_index() for name, table in comparisons.items()]
    rows = pd.concat(asked).dropna(subset=["difference"]).set_index(["question", "variant"])
    rows["p_holm"] = holm(rows["p"])
    left = rows["verdict"].where(rows["p_holm"] < 0.05, OPEN)
    return rows.assign(after_correction=left)
