"""Ensembles against hand-worked opinions, and eight views of networks whose answer is known."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.optimize import minimize

from helpers import feed
from helpers.evaluation import ensembles
from helpers.training import trainer

# Four images, three models; who is right is worked out by hand in the tests.
LABELS = ["ALL", "ALL", "HEM", "HEM"]
OPINIONS = {
    "a": [0.9, 0.4, 0.6, 0.1],
    "b": [0.8, 0.6, 0.2, 0.3],
    "c": [0.1, 0.7, 0.7, 0.2],
}


def predictions(probability, split="test", labels=LABELS):
    paths = [f"{split}{n}" for n in range(len(labels))]
    return pd.DataFrame(
        {"path": paths, "label": labels, "split": split, "probability": probability}
    )


@pytest.fixture
def stacked():
    return ensembles.stack({name: predictions(p) for name, p in OPINIONS.items()})


def test_when_the_mean_is_taken_then_it_is_that_of_the_hand(stacked):
    combined = ensembles.combine(stacked)
    assert combined["probability"].tolist() == pytest.approx([0.6, 1.7 / 3, 0.5, 0.2])
    assert combined["path"].tolist() == ["test0", "test1", "test2", "test3"]
    assert "model" not in combined


def test_when_the_majority_decides_then_votes_are_counted(stacked):
    votes = ensembles.combine(stacked, "majority")["probability"]
    assert votes.tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0])


def test_when_votes_are_even_then_the_mean_decides(stacked):
    votes = ensembles.combine(stacked[stacked["model"] != "b"], "majority")["probability"]
    assert votes.tolist() == pytest.approx([0.5, 0.55, 1.0, 0.0])


def test_when_models_are_compared_then_pairs_are_those_of_the_hand(stacked):
    first = ensembles.disagreement(stacked).set_index(["first", "second"]).loc[("a", "b")]
    assert first.to_dict() == {"disagree": 0.5, "both_wrong": 0.0, "by_chance": 0.0}
    other = ensembles.disagreement(stacked).set_index(["first", "second"]).loc[("a", "c")]
    assert other.to_dict() == {"disagree": 0.5, "both_wrong": 0.25, "by_chance": 0.25}


def test_when_the_error_is_split_then_the_ensemble_is_members_less_spread():
    rng = np.random.default_rng(0)
    stacked = ensembles.stack({n: predictions(rng.uniform(0, 1, 4)) for n in "abcde"})
    parts = ensembles.ambiguity(stacked)
    assert parts["ensemble"] == pytest.approx(parts["members"] - parts["spread"])
    truth = (np.array(LABELS) == "ALL").astype(float)
    combined = ensembles.combine(stacked)["probability"]
    assert parts["ensemble"] == pytest.approx(np.mean((combined - truth) ** 2))


class TestWeights:
    @pytest.fixture
    def validated(self):
        rng = np.random.default_rng(1)
        labels = rng.choice(["ALL", "HEM"], 300)
        sick = labels == "ALL"
        sharp = np.where(sick, rng.beta(4, 2, 300), rng.beta(2, 4, 300))
        other = np.where(sick, rng.beta(3, 2, 300), rng.beta(2, 3, 300))
        both = {"sharp": sharp, "other": other, "guess": rng.uniform(0.3, 0.7, 300)}
        held = {name: predictions(p, "validation", labels) for name, p in both.items()}
        tested = {name: predictions(p) for name, p in zip(both, OPINIONS.values(), strict=True)}
        return ensembles.stack({name: pd.concat([held[name], tested[name]]) for name in both})

    def test_when_weights_are_fitted_then_scipy_finds_none_better(self, validated):
        weights = ensembles.weigh(validated)
        rows = validated[validated["split"] == "validation"]
        wide = rows.pivot_table("probability", "path", "model")[weights.index]
        truth = rows.drop_duplicates("path").set_index("path")["label"].loc[wide.index] == "ALL"

        def loss(free):
            mixed = wide.to_numpy() @ (np.exp(free) / np.exp(free).sum())
            return -np.log(np.where(truth, mixed, 1 - mixed)).mean()

        best = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"maxiter": 5_000})
        assert weights.sum() == pytest.approx(1)
        assert loss(np.log(weights + 1e-12)) <= best.fun + 1e-5

    def test_when_weighted_then_the_test_labels_do_not_matter(self, validated):
        turned = validated.copy()
        tested = turned["split"] == "test"
        turned.loc[tested, "label"] = turned.loc[tested, "label"].map({"ALL": "HEM", "HEM": "ALL"})
        pairs = (
            ensembles.combine(table, "weighted")["probability"] for table in (validated, turned)
        )
        assert next(pairs).tolist() == next(pairs).tolist()

    def test_when_there_is_no_validation_part_then_it_says_so(self, stacked):
        with pytest.raises(ValueError, match="Received: rows of test only"):
            ensembles.combine(stacked, "weighted")


def test_when_models_judged_other_images_then_they_are_named():
    tables = {"a": predictions([0.5] * 4), "b": predictions([0.5] * 4, "validation")}
    with pytest.raises(ValueError, match="other images from b"):
        ensembles.stack(tables)


def test_when_a_way_is_unknown_then_the_error_lists_the_known(stacked):
    with pytest.raises(ValueError, match="Received: how='max'"):
        ensembles.combine(stacked, "max")


class TestViews:
    @pytest.fixture
    def table(self, tmp_path):
        """Two images of four quarters, each of another brightness."""
        rng = np.random.default_rng(0)
        paths = [str(tmp_path / f"{n}.png") for n in range(2)]
        for path in paths:
            quarters = rng.permutation([20, 80, 140, 200]).reshape(2, 2, 1).repeat(3, axis=2)
            Image.fromarray(np.kron(quarters, np.ones((225, 225, 1))).astype("uint8")).save(path)
        return pd.DataFrame({"path": paths})

    def network(self, weights):
        """A logistic model of the pixels of a 4 x 4 px image."""
        dense = keras.layers.Dense(2, activation="softmax", use_bias=False)
        model = keras.Sequential(
            [keras.Input((4, 4, 3)), keras.layers.Rescaling(1 / 99), keras.layers.Flatten(), dense]
        )
        dense.set_weights([np.stack([np.zeros(48), weights.ravel()], axis=1)])
        return model

    def test_when_an_image_has_no_symmetry_then_all_views_differ(self):
        image = np.arange(16.0).reshape(1, 4, 4, 1)
        shown = np.stack([feed.turn(image, view) for view in range(feed.POSITIONS)])
        assert len({view.tobytes() for view in shown}) == 8
        assert (np.sort(shown.reshape(8, -1), axis=1) == np.arange(16)).all()

    def test_when_a_network_cannot_tell_views_apart_then_nothing_changes(self, table):
        weights = np.random.default_rng(0).normal(size=(1, 4, 4, 3))
        symmetric = np.mean([feed.turn(weights, view) for view in range(8)], axis=0)
        model = self.network(symmetric)
        combined = ensembles.combine(trainer.predict(model, table, views=8), by="view")
        plain = trainer.predict(model, table)["probability"]
        assert combined["probability"].to_numpy() == pytest.approx(plain.to_numpy(), abs=1e-6)

    def test_when_a_network_looks_at_one_corner_then_views_disagree(self, table):
        corner = np.zeros((4, 4, 3))
        corner[0, 0] = 1.0
        seen = trainer.predict(self.network(corner), table, views=8)
        assert len(seen) == 8 * len(table)
        plain = trainer.predict(self.network(corner), table)["probability"]
        assert seen.query("view == 0")["probability"].to_numpy() == pytest.approx(plain.to_numpy())
        assert seen.groupby("path")["probability"].nunique().max() == 4  # one per corner
