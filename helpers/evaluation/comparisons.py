"""Whether one model, or one idea, is better than another, or only luckier on these patients.

`compare_models` compares trained models that judged the same cells. `compare_draws` compares ideas,
each trained on many draws of subjects. The test part of the series is for the very end, so ideas
are decided without it: its subjects are left out, and the others are split anew for each seed. So
the spread over seeds holds both the luck of the first weights and of who happens to be judged.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from helpers.data.cnmc import CLASSES
from helpers.data.splits import split_by_subject
from helpers.evaluation import metrics
from helpers.evaluation.performance import check, only_part, right, sample, verdict

EXACT_BELOW = 25  # disagreements; above, the chi-squared approximation is usual
JUDGED, VALIDATION = 0.25, 0.15  # shares of the images that remain without the test part


def compare_models(
    models: Mapping[str, pd.DataFrame],
    metric: str = "weighted_f1",
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
    tables = _same_cells({name: check(only_part(table, part)) for name, table in models.items()})
    place = metrics.NAMES.index(metric)
    values, drawn = {}, {}
    for name, table in tables.items():
        cells = sample(table)
        values[name] = metrics.score(cells)[place]
        drawn[name] = metrics.over_subjects(cells, 0.5, draws, seed)[:, place]
    rows = [
        {"first": one, "second": other}
        | _mcnemar(right(tables[one]), right(tables[other]))
        | {"difference": values[one] - values[other]}
        | _paired(drawn[one] - drawn[other], cells.subjects)
        for one, other in combinations(tables, 2)
    ]
    pairs = pd.DataFrame(rows).assign(cells=len(cells.is_all), subjects=cells.subjects)
    return pairs.assign(**{f"{p}_holm": holm(pairs[p]) for p in ("p_mcnemar", "p_subjects")})


def _same_cells(models: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Brings the cells of all models into the order of the first."""
    if len(models) < 2:
        raise ValueError(f"A comparison needs two models. Received: {', '.join(models) or 'none'}")
    without = [name for name, table in models.items() if "path" not in table]
    if without:
        raise ValueError(
            "Cells of two models are matched by their `path`. Received: no such column for "
            f"{', '.join(without)}"
        )
    first, lead = next(iter(models.items()))
    aligned = {}
    for name, table in models.items():
        aligned[name] = table.set_index("path").reindex(lead["path"]).reset_index()
        truth = ["label", "linked_subject"]
        same = (aligned[name][truth].to_numpy() == lead[truth].to_numpy()).all(axis=1)
        if len(table) != len(lead) or not same.all():
            raise ValueError(
                "Models are compared on the same cells with the same labels and subjects. "
                f"Received: {len(lead):,} cells of {first!r} and {len(table):,} of {name!r}, "
                f"{same.sum():,} of them the same"
            )
    return aligned


def _mcnemar(one: pd.Series, other: pd.Series) -> dict[str, float]:
    """Tests whether two models err equally often where they disagree."""
    from statsmodels.stats.contingency_tables import mcnemar

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    differ = first + second
    p = mcnemar([[0, first], [second, 0]], exact=differ < EXACT_BELOW).pvalue if differ else 1.0
    return {"only_first": first, "only_second": second, "p_mcnemar": float(p)}


def _paired(differences: np.ndarray, subjects: int) -> dict[str, float]:
    """Returns the interval of a difference, and how often it changes its sign, both sides."""
    known = differences[~np.isnan(differences)]
    if not len(known):
        return {"low": np.nan, "high": np.nan, "p_subjects": np.nan}
    low, high = np.quantile(known, [0.025, 0.975])
    tail = (min((known <= 0).sum(), (known >= 0).sum()) + 1) / (len(known) + 1)
    return {"low": low, "high": high, "p_subjects": min(1.0, 2 * max(tail, 0.5**subjects))}


def holm(p: pd.Series) -> pd.Series:
    """Corrects p-values for their number by Holm's method; missing ones stay missing."""
    from statsmodels.stats.multitest import multipletests

    corrected, known = p.astype(float), p.notna()
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected


def draw_splits(split: pd.DataFrame, seeds: Iterable[int]) -> dict[int, pd.DataFrame]:
    """Splits the subjects outside the test part anew for each seed.

    Args:
        split: The split of the series, as from `split_files.prepare`.
        seeds: One draw per seed.

    Returns:
        A table per seed, whose part "test" is the part that judges. None has a test subject of
        `split`, unless a class has fewer than three subjects outside the test part, as in a small
        sample: then every table is `split` itself, and only the networks differ.

    Raises:
        ValueError: If there is no seed.
    """
    seeds = list(seeds)
    if not seeds:
        raise ValueError("A study needs at least one seed. Received: none")
    pool = split[split["split"] != "test"].reset_index(drop=True)
    subjects = pool.groupby("label")["linked_subject"].nunique()
    if subjects.reindex(CLASSES, fill_value=0).min() < 3:
        return dict.fromkeys(seeds, split)
    return {
        seed: split_by_subject(pool, 1 - JUDGED, VALIDATION, seed, tolerance=0.04) for seed in seeds
    }


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
    rng, kept = np.random.default_rng(seed), []
    train = draw[draw["split"] == "train"]
    for label in CLASSES:
        who = rng.permutation(sorted(train.loc[train["label"] == label, "linked_subject"].unique()))
        kept += list(who[: max(1, round(share * len(who)))])
    stays = (draw["split"] != "train") | draw["linked_subject"].isin(kept)
    return draw[stays].reset_index(drop=True)


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
            rows[name] |= _corrected_t(wide[name] - wide[baseline], level)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def _corrected_t(differences: pd.Series, level: float) -> dict[str, float | str]:
    """Returns the mean difference with its interval, its p-value, and what may be said of it."""
    from scipy.stats import t

    mean, n = differences.mean(), len(differences)
    ratio = JUDGED / (1 - JUDGED - VALIDATION)
    error = max(differences.std() * np.sqrt(1 / n + ratio), 1e-12)  # NaN for one draw
    reach = t.ppf((1 + level) / 2, n - 1) * error
    low, high = mean - reach, mean + reach
    said = verdict(low, high) if n > 1 else "not shown"
    p = 2 * t.sf(abs(mean) / error, n - 1)
    return {"difference": mean, "low": low, "high": high, "p": p, "verdict": said}
