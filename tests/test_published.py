from __future__ import annotations

import pytest

from helpers.evaluation import baselines


def test_when_table_2_is_read_then_it_is_as_printed():
    table = baselines.paper_table().set_index("model")["printed"]
    assert table["vgg16"] == "84.8"
    assert table["proposed_cnn"] == "93.02"
    assert len(table) == table.index.notna().sum() == 5


def test_when_results_are_read_then_each_has_a_protocol_and_a_score():
    table = baselines.published_results()
    assert table["value"].between(0.5, 1).all()
    assert (table[["protocol", "work", "score"]] != "").all(axis=None)
    leaky = table[table["protocol"] == "random images"]
    assert leaky["value"].min() > 0.93


@pytest.mark.parametrize(
    ("printed", "possible"),
    [("81.62", False), ("84.8", True), ("84.77", False), ("83.67", False), ("93.02", True)],
)
def test_when_a_percentage_is_checked_then_every_whole_number_was_tried(printed, possible):
    decimals = len(printed) - 3
    tried = {f"{100 * k / 2120:.{decimals}f}" for k in range(2121)}
    found = baselines.whole_number(printed)
    assert found["rounded"] == possible == (printed in tried)


def test_when_a_percentage_was_cut_off_then_it_is_told():
    # 1,774 of 2,120 are 83.679 %.
    found = baselines.whole_number("83.67")
    assert (found["images"], found["cut"], found["rounded"]) == (1774, True, False)


@pytest.mark.parametrize("printed", ["0", "100", "0.05"])
def test_when_it_is_at_the_edge_then_it_is_possible(printed):
    assert baselines.whole_number(printed)["rounded"]
