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
from helpers.evaluation.performance import NEEDED, check, only_part, right, sample, verdict

RATIO, VALIDATION = 0.7, 0.1  # shares of the images that remain without the test part


def compare_models(
    models: Mapping[str, pd.DataFrame], metric: str = "weighted_f1", draws: int = 2_000
) -> pd.DataFrame:
    """Compares every pair of models on the same cells, by two tests.

    McNemar's test asks whether the two err on different cells equally often; it takes cells for
    independent, which cells of one patient are not. The paired bootstrap draws whole subjects, the
    same for both models, and asks whether the difference keeps its sign; with few subjects it is
    too sure, so its p-value is no less than 2 / 2^subjects, as low as a two-sided test can get
    when each subject favours one model or the other. The p-values of all pairs are corrected by
    Holm's method, each test for itself.

    Args:
        models: The predictions of each model by its name, all on the same cells (`path`). Where
            there is a column `split`, only its part "test" is compared.
        metric: What the bootstrap compares: one of `metrics.NAMES`.
        draws: Bootstrap draws.

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
    needed = (*NEEDED, "path")  # by which cells are matched
    tables = _same_cells({name: check(only_part(of), needed) for name, of in models.items()})
    place = metrics.NAMES.index(metric)
    values, drawn = {}, {}
    for name, table in tables.items():
        cells = sample(table)
        values[name] = metrics.score(cells)[place]
        drawn[name] = metrics.over_subjects(cells, 0.5, draws)[:, place]
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
    first, lead = next(iter(models.items()))
    aligned, truth = {}, ["label", "linked_subject"]
    for name, table in models.items():
        aligned[name] = table.set_index("path").reindex(lead["path"]).reset_index()
        same = (aligned[name][truth].to_numpy() == lead[truth].to_numpy()).all(axis=1)
        if len(table) != len(lead) or not same.all():
            two = f"{len(lead):,} cells of {first!r} and {len(table):,} of {name!r}, {same.sum():,}"
            raise ValueError(f"Compare the same cells. Received: {two} of them the same")
    return aligned


def _mcnemar(one: pd.Series, other: pd.Series) -> dict[str, float]:
    """Tests whether two models err equally often where they disagree."""
    from statsmodels.stats.contingency_tables import mcnemar

    first, second = int((one & ~other).sum()), int((other & ~one).sum())
    # With more disagreements the chi-squared approximation is usual.
    p = mcnemar([[0, first], [second, 0]], exact=first + second < 25).pvalue
    return {"only_first": first, "only_second": second, "p_mcnemar": float(p)}


def _paired(differences: np.ndarray, subjects: int) -> dict[str, float]:
    """Returns the interval of a difference, and how often it changes its sign, both sides."""
    low, high = metrics.interval(differences[:, None])[:, 0]
    sides = [(differences <= 0).sum(), (differences >= 0).sum()]
    known = np.count_nonzero(~np.isnan(differences))
    tail = max((min(sides) + 1) / (known + 1), 0.5**subjects)
    return {"low": low, "high": high, "p_subjects": min(1.0, 2 * tail) if known else np.nan}


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
    """
    pool = split[split["split"] != "test"].reset_index(drop=True)
    subjects = pool.groupby("label")["linked_subject"].nunique()
    if subjects.reindex(CLASSES, fill_value=0).min() < 3:
        return dict.fromkeys(seeds, split)
    return {seed: split_by_subject(pool, RATIO, VALIDATION, seed, tolerance=0.04) for seed in seeds}


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


def compare_draws(scores: pd.DataFrame, baseline: str, metric: str = "roc_auc") -> pd.DataFrame:
    """Compares every variant with the baseline, seed by seed.

    Repeated splits share subjects, so their scores are less independent than they look. The
    interval is that of the corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning
    52, 239-281), which widens the usual one by the ratio of judged to training images.

    Args:
        scores: One row per `variant` and `seed`, with the metric.
        baseline: The variant to compare with.
        metric: The column to compare, one of `metrics.NAMES`.

    Returns:
        One row per variant, in their order: `mean`, `sd` and number of `seeds`; for all but the
        baseline the mean paired `difference`, its 95 % interval `low` to `high`, its two-sided `p`,
        and a `verdict`: "helps" or "harms" where the interval excludes 0, else "not shown".

    Raises:
        ValueError: If the baseline is missing, or a variant lacks its seeds.
    """
    wide = scores.pivot(index="seed", columns="variant", values=metric)  # noqa: PD010
    wide = wide[scores["variant"].unique()]
    if baseline not in wide or wide.isna().to_numpy().any():
        found = scores.groupby("variant", sort=False)["seed"].apply(list).to_dict()
        raise ValueError(f"Compare with {baseline!r} on the same seeds. Received: {found}")
    table = pd.DataFrame({"mean": wide.mean(), "sd": wide.std(), "seeds": len(wide)})
    gains = wide.drop(columns=baseline).sub(wide[baseline], axis=0)
    return table.join(_corrected_t(gains)).rename_axis("variant")


def _corrected_t(gains: pd.DataFrame) -> pd.DataFrame:
    """Returns each mean gain with its interval, its p-value, and what may be said of it."""
    from scipy.stats import t

    mean, n = gains.mean(), len(gains)
    ratio = (1 - RATIO) / (RATIO - VALIDATION)  # of images that judge and that train
    error = (gains.std() * np.sqrt(1 / n + ratio)).clip(lower=1e-12)  # NaN for one draw
    reach = t.ppf(0.975, n - 1) * error
    found = pd.DataFrame({"difference": mean, "low": mean - reach, "high": mean + reach})
    ends = zip(found["low"], found["high"], strict=True)
    said = [verdict(low, high) if n > 1 else "not shown" for low, high in ends]
    return found.assign(p=2 * t.sf(mean.abs() / error, n - 1), verdict=said)
