"""Holds what the notebooks claim from numbers to `data/lessons.toml`, and the notebooks to it."""

import importlib.util
import math
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from helpers.data.cnmc import Source
from helpers.evaluation import lessons

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = lessons.CLAIMS
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDED = {
    "01-stain", "01-area", "02-zoom", "02-scale", "03-pretrained", "03-preprocessing",
    "03-finetuned", "04-majority", "04-area", "04-gift", "04-rate", "05-zeros", "05-randomised",
    "05-stamp", "06-recognition", "06-width", "06-apart", "06-official", "07-ensemble", "07-views",
    "07-autoencoder", "07-subjects", "07-laboratory", "07-repair",
}  # fmt: skip
TEXTS, BOUNDS = {"notebook", "claim", "measure", "otherwise"}, {"workshop"}
PUBLISHED = {"real", "source"}
CALL, NAME = "lessons.expect(", re.compile(r"""["'](\d\d-\w+)["']""")
DRAWN, REAL = Source(Path("cells"), is_synthetic=True), Source(Path("cells"), is_synthetic=False)

spec = importlib.util.spec_from_file_location("repeat", ROOT / "benchmarks" / "lessons.py")
repeat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(repeat)


def faults(name: str, claim: dict) -> list[str]:
    """Everything about an entry that would leave its line empty, false or without a source."""
    wrong = [key for key in TEXTS | BOUNDS if not claim.get(key)]
    wrong += sorted(set(claim) - TEXTS - BOUNDS - PUBLISHED)
    wrong += [key for key in PUBLISHED & set(claim) if not set(claim) >= PUBLISHED]
    for key in ("workshop", "real"):
        ends = claim.get(key, [0, 0] if key == "real" else [])
        ordered = len(ends) == 2 and all(map(math.isfinite, ends)) and ends[0] <= ends[1]
        wrong += [] if ordered else [f"{key}, order"]
    if not (ROOT / "notebooks" / f"{claim.get('notebook')}.ipynb").is_file():
        wrong.append("notebook, file")
    if not name.startswith(str(claim.get("notebook"))[:2] + "-"):
        wrong.append("name")
    return wrong


def called(path: Path) -> list[str]:
    """The claims that the code of a notebook names, if it prints any."""
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return NAME.findall(code) if CALL in code else []


class TestEntries:
    @pytest.mark.parametrize("name", CLAIMS)
    def test_when_a_claim_is_written_then_it_is_whole(self, name):
        assert faults(name, CLAIMS[name]) == []

    def test_when_the_claims_are_counted_then_none_of_the_series_is_missing(self):
        assert sorted(NEEDED - set(CLAIMS)) == []

    def test_when_the_gap_is_published_then_the_range_is_that_of_its_table(self):
        table = pd.read_csv(ROOT / "data" / "published_gap.csv")
        points = 100 * (table["random"] - table["disjoint"])
        low, high = CLAIMS["01-stain"]["real"]
        assert (round(points.min()), round(points.max(), 1)) == (low, high)

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            ({"workshop": [2, 1]}, ["workshop, order"]),
            ({"workshop": [1, math.nan]}, ["workshop, order"]),
            ({"claim": ""}, ["claim"]),
            ({"notebook": "01_other"}, ["notebook, file"]),
            ({"notebook": "02_augmentation"}, ["name"]),
            ({"source": "a paper"}, ["source"]),
            ({"real": [1, 2]}, ["real"]),
            ({"remark": "odd"}, ["remark"]),
        ],
    )
    def test_when_a_fault_is_planted_then_it_is_found(self, change, found):
        good = {"notebook": "01_dataset_split", "claim": "c", "measure": "m", "otherwise": "o"}
        good["workshop"] = [1, 2]
        assert faults("01-x", good) == []
        assert faults("01-x", good | change) == found


class TestNotebooks:
    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_when_a_notebook_claims_then_it_prints_each_of_its_lessons_once(self, path):
        own = [name for name, claim in CLAIMS.items() if claim["notebook"] == path.stem]
        assert sorted(called(path)) == sorted(own)

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_when_a_notebook_is_committed_then_what_it_found_is_as_expected(self, path):
        text = repeat.printed(path)
        lines = re.findall(r"^ *(lesson .*)$", text, re.MULTILINE)
        assert [line for line in lines if not line.endswith(": as expected")] == []
        named = [re.match(r"lesson (\S+): found ([+-][\d.]+)", line).groups() for line in lines]
        assert sorted(name for name, _ in named) == sorted(called(path))
        # Against the range as it stands today: it may have been changed since the notebook ran.
        ranges = {name: CLAIMS[name]["workshop"] for name, _ in named}
        assert [n for n, v in named if not ranges[n][0] <= float(v) <= ranges[n][1]] == []


@pytest.fixture
def one(monkeypatch):
    """A claim of its own, in the workshop profile."""
    claim = {"workshop": [0.05, 0.13], "real": [0.1, 0.2], "source": "a paper", "otherwise": "luck"}
    claim |= {"notebook": "01_dataset_split", "claim": "It helps.", "measure": "ROC-AUC"}
    wide = claim | {"workshop": [15, 50]}
    del wide["real"], wide["source"]
    monkeypatch.setattr(lessons, "CLAIMS", {"01-one": claim, "01-wide": wide})
    monkeypatch.setenv("CNMC_PROFILE", "workshop")


@pytest.mark.usefixtures("one")
class TestExpect:
    HEAD = "; expected 0.05 to 0.13 on drawn cells (real images: 0.1 to 0.2, a paper): "

    @pytest.mark.parametrize(
        ("source", "value", "verdict"),
        [
            (DRAWN, 0.09, "as expected"),
            (DRAWN, 0.05, "as expected"),
            (DRAWN, 0.131, "OUTSIDE, perhaps: luck"),
            (DRAWN, -0.09, "OUTSIDE, perhaps: luck"),
            (DRAWN, math.nan, "OUTSIDE, perhaps: luck"),
            (REAL, 0.15, "as expected"),
            (REAL, 0.09, "OUTSIDE, perhaps: luck"),
        ],
    )
    def test_when_a_value_is_found_then_the_range_of_its_cells_judges_it(
        self, source, value, verdict
    ):
        told = lessons.expect("01-one", value, source)
        assert told == f"lesson 01-one: found {value:+.3f}{self.HEAD}{verdict}"

    def test_when_there_is_an_interval_then_it_is_shown(self):
        told = lessons.expect("01-one", 0.09123, DRAWN, 0.05, 0.13)
        assert told.startswith("lesson 01-one: found +0.091 (+0.050 to +0.130); expected")
        assert "(nan" not in lessons.expect("01-one", 0.09, DRAWN, math.nan, math.nan)

    def test_when_a_value_is_shown_rounded_then_what_is_shown_is_judged(self):
        told = lessons.expect("01-wide", 14.96, DRAWN)
        assert told == "lesson 01-wide: found +15.0; expected 15 to 50 on drawn cells: as expected"
        assert "found +0.0;" in lessons.expect("01-wide", -0.01, DRAWN)

    @pytest.mark.parametrize("source", [DRAWN, REAL])
    def test_when_the_profile_is_smoke_then_nothing_is_claimed(self, source, monkeypatch):
        monkeypatch.setenv("CNMC_PROFILE", "smoke")
        assert lessons.expect("01-one", 0.9, source).endswith(": no claim in this profile")

    def test_when_nothing_is_published_then_nothing_is_claimed_of_real_images(self):
        assert lessons.expect("01-wide", 20, REAL).endswith(
            "no claim on these images, as none is published"
        )

    def test_when_drawn_cells_are_at_full_size_then_nothing_is_claimed(self, monkeypatch):
        monkeypatch.setenv("CNMC_PROFILE", "paper")
        assert lessons.expect("01-one", 0.09, DRAWN).endswith(": no claim in this profile")
        assert lessons.expect("01-one", 0.15, REAL).endswith(": as expected")

    def test_when_the_name_is_unknown_then_the_known_ones_are_listed(self):
        with pytest.raises(ValueError, match=r"01-one, 01-wide\. Received: '01-won'"):
            lessons.expect("01-won", 1, DRAWN)


@pytest.mark.usefixtures("one")
class TestRepeat:
    def write(self, folder, *lines):
        folder.mkdir()
        text = "before\n" + "\n".join(lines) + "\nafter\n"
        cell = new_code_cell("1", outputs=[new_output("stream", text=text)])
        nbformat.write(new_notebook(cells=[cell]), folder / "01_dataset_split.ipynb")
        return repeat.collect(folder)

    def test_when_three_seeds_ran_then_each_claim_has_a_row(self, tmp_path):
        found = {
            seed: self.write(
                tmp_path / str(seed),
                lessons.expect("01-one", value, DRAWN, value - 0.01, value + 0.01),
                lessons.expect("01-wide", 20 + seed, DRAWN),
            )
            for seed, value in {7: 0.09, 8: 0.2}.items()
        }
        *_, one, wide = repeat.tabulate(found | {9: {}}).splitlines()
        assert one == (
            "| 01-one | It helps. | ROC-AUC | 0.05 to 0.13 | +0.090 (+0.080 to +0.100) | "
            "+0.200 (+0.190 to +0.210) | not found | OUTSIDE on 8, missing on 9 |"
        )
        assert wide.endswith("| 15 to 50 | +27.0 | +28.0 | not found | missing on 9 |")
        del found[8]
        assert repeat.tabulate(found).count("| as expected |") == 2

    def test_when_nothing_is_claimed_then_the_table_says_so(self, tmp_path, monkeypatch):
        wide = self.write(tmp_path / "real", lessons.expect("01-wide", 20, REAL))
        assert wide == {"01-wide": ("+20.0", "no claim")}
        monkeypatch.setenv("CNMC_PROFILE", "smoke")
        both = [lessons.expect(name, 20, DRAWN) for name in ("01-one", "01-wide")]
        found = {7: self.write(tmp_path / "7", *both)}
        assert repeat.tabulate(found, ["01"]).count("| no claim |") == 2
        assert repeat.tabulate(found, ["02"]).count("\n") == 2

    def test_when_it_is_called_then_worlds_are_drawn_and_the_table_is_kept(
        self, tmp_path, monkeypatch, capsys
    ):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        called = []

        def pretend(command, env=None, check=False):
            called.append((command[3:], env))
            if "series" in command:
                folder = Path(env["CNMC_WORK"]) / "series" / "workshop"
                folder.parent.mkdir(parents=True)
                self.write(folder, *(lessons.expect(n, v, DRAWN) for n, v in values.items()))

        monkeypatch.setattr(repeat.subprocess, "run", pretend)
        values = {"01-one": 0.09, "01-wide": 20}
        assert repeat.main(["7", "9"]) == 0
        assert [command[0] for command, _ in called] == ["draw", "series"] * 2
        assert [command[-1] for command, _ in called] == ["7", "workshop", "9", "workshop"]
        assert all(env["CNMC_DATA"] == draw[1] for (draw, _), (_, env) in [called[:2], called[2:]])
        kept = (tmp_path / "lessons" / "workshop.md").read_text(encoding="utf-8")
        assert kept in capsys.readouterr().out
        values["01-wide"] = 80
        assert repeat.main(["8"]) == 1
        del values["01-wide"]
        assert repeat.main(["10"]) == 1
