"""Holds what README and notebooks say of minutes and memory to `data/minutes.csv`, and that to a
budget: two cores without AVX-512 or bfloat16, a new work folder, the notebooks in order.
"""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = pd.read_csv(ROOT / "data" / "minutes.csv")
SMOKE, WORKSHOP, ONE_NOTEBOOK, MEMORY = 240, 1_500, 300, 4.0  # s, s, s, GB
NUMBERS = {"half a": 0.5, "a": 1, "two": 2, "three": 3, "four": 4, "five": 5}
PROMISE = rf"`(smoke|workshop)` (under|about|up\s+to)\s+({'|'.join(NUMBERS)})\s+minutes?"


def over_budget(table: pd.DataFrame) -> list[str]:
    """Everything that takes longer, or more memory, than a workshop on laptops can bear."""
    seconds = table.groupby("profile")["seconds"].sum()
    workshop = table[table["profile"] == "workshop"]
    return [
        *(["smoke"] if seconds["smoke"] > SMOKE else []),
        *(["workshop"] if seconds["workshop"] > WORKSHOP else []),
        *(f"{name}, seconds" for name in workshop.query("seconds > @ONE_NOTEBOOK")["notebook"]),
        *(f"{name}, memory" for name in table.query("memory_gb > @MEMORY")["notebook"]),
    ]


def rows(table: pd.DataFrame) -> dict[str, str]:
    """The last three columns of README's table, by notebook, as they should be."""
    seconds = table.pivot_table("seconds", "notebook", "profile")
    memory = table.groupby("notebook")["memory_gb"].max()
    shown = {name: _row(*seconds.loc[name, ["smoke", "workshop"]], memory[name])
             for name in seconds.index}  # fmt: skip
    return shown | {"all": _row(seconds["smoke"].sum(), seconds["workshop"].sum(), memory.max())}


def _row(smoke: float, workshop: float, memory: float) -> str:
    return f"{smoke:.0f} s | {workshop / 60:.1f} min | {memory:.1f} GB"


def broken(text: str, minutes: dict[str, float]) -> list[str]:
    """The promises of a notebook's first cell that are not kept, loosely, or not given."""
    found = {profile: (how, NUMBERS[" ".join(number.split())])
             for profile, how, number in re.findall(PROMISE, text)}  # fmt: skip
    wrong = [profile for profile in minutes if profile not in found]
    for profile, (how, promised) in found.items():
        least, most = (promised / 1.6, promised * 1.6) if how == "about" else (0, promised * 1.1)
        wrong += [profile] if not least <= minutes[profile] <= most else []
    return wrong


def test_when_the_series_was_measured_then_every_notebook_was_in_both_profiles():
    both = [(profile, name) for profile in ("smoke", "workshop") for name in NOTEBOOKS]
    assert list(TABLE[["profile", "notebook"]].itertuples(index=False, name=None)) == both
    assert set(TABLE["machine"]) == {"2 cores AVX2"}
    assert (TABLE[["seconds", "memory_gb"]] > 0).all(axis=None)


def test_when_the_series_was_measured_then_it_keeps_within_the_budget():
    assert over_budget(TABLE) == []


def test_when_readme_shows_minutes_and_memory_then_they_are_those_measured():
    line = r"^\| (?:\[.*?\]\(notebooks/(\w+)\.ipynb\)|(all)) \|[^|]*\| (.*) \|$"
    shown = {name or every: told for name, every, told in re.findall(line, README, re.MULTILINE)}
    assert shown == rows(TABLE)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_when_a_notebook_promises_minutes_then_it_keeps_them(name):
    first = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source
    measured = TABLE[TABLE["notebook"] == name].set_index("profile")["seconds"] / 60
    assert broken(first.partition("**Time:**")[2], measured.to_dict()) == []


SMALL = pd.DataFrame({"profile": ["smoke", *["workshop"] * 6], "notebook": list("0123456"),
                      "seconds": 240, "memory_gb": 4.0})  # fmt: skip


@pytest.mark.parametrize(
    ("row", "column", "value", "found"),
    [
        (0, "seconds", 241, ["smoke"]),
        (0, "memory_gb", 4.1, ["0, memory"]),
        (1, "seconds", 301, ["workshop", "1, seconds"]),
        (1, "seconds", 300, []),
        (6, "memory_gb", 4.1, ["6, memory"]),
    ],
)
def test_when_a_notebook_takes_more_than_it_may_then_the_budget_tells(row, column, value, found):
    table = SMALL.copy()
    table.loc[row, column] = value
    if "workshop" not in found:
        table.loc[5, "seconds"] = 100
    assert over_budget(table) == found


def test_when_the_whole_workshop_is_too_long_then_the_budget_tells():
    assert over_budget(SMALL.assign(seconds=240)) == []
    assert over_budget(SMALL.assign(seconds=[9, *[251] * 6])) == ["workshop"]


def test_when_a_table_is_to_be_shown_then_its_rows_are_these():
    table = pd.DataFrame([("smoke", "00_a", 12, 0.5), ("workshop", "00_a", 90, 1.25),
                          ("smoke", "01_b", 3, 2.0), ("workshop", "01_b", 30, 1.0)],
                         columns=["profile", "notebook", "seconds", "memory_gb"])  # fmt: skip
    assert rows(table) == {
        "00_a": "12 s | 1.5 min | 1.2 GB",
        "01_b": "3 s | 0.5 min | 2.0 GB",
        "all": "15 s | 2.0 min | 2.0 GB",
    }


def test_when_a_promise_is_not_kept_then_it_is_found():
    text = "`smoke` under half a\nminute, `workshop` about two minutes"
    assert broken(text, {"smoke": 0.4, "workshop": 1.5}) == []
    assert broken(text, {"smoke": 0.7, "workshop": 2}) == ["smoke"]
    assert broken(text, {"smoke": 0.4, "workshop": 3.5}) == ["workshop"]
    assert broken(text, {"smoke": 0.4, "workshop": 1}) == ["workshop"]
    assert broken("`smoke` up to two minutes", {"smoke": 2, "workshop": 1}) == ["workshop"]
