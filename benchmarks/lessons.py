"""Whether what the notebooks claim holds on other worlds than the one they show.

For each seed a world is drawn, the series runs on it in a work folder of its own, and the lines
that `helpers.evaluation.lessons.expect` printed are set side by side, a row for each claim in
`data/lessons.toml`. Three seeds of the workshop take an hour and more, and some gigabytes under
`lessons/` in the work folder, where the table is written, too. What was drawn and trained there is
found again, so an interrupted run goes on. `python benchmarks/lessons.py 7 --profile smoke --only
01` tries it out, without a claim.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat

from helpers import runs, settings
from helpers.evaluation import lessons
from helpers.standin import cohort

SEEDS = (7, 8, 9)  # never 2019, which the notebooks show
VERDICTS = "as expected|OUTSIDE|no claim"
LINE = re.compile(rf"^ *lesson (\S+): found (.+?); expected .*: ({VERDICTS}).*$", re.M)
MISSING = ("not found", "missing")
Found = dict[str, tuple[str, str]]  # by the claim's name: value with interval, and verdict


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0 if every claim asked for was found on every seed, and none is outside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=SEEDS, help="of worlds to be drawn")
    parser.add_argument("--profile", default="workshop", choices=settings.PROFILES)
    parser.add_argument("--only", nargs="+", default=[], metavar="01", help="notebooks; else all")
    told = parser.parse_args(words)
    found = {seed: carry_out(told.profile, seed, told.only) for seed in dict.fromkeys(told.seeds)}
    text = tabulate(found, told.only)
    path = settings.work_dir() / "lessons" / f"{'-'.join([told.profile, *told.only])}.md"
    runs.write_atomic(path, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"\n{text}\nThis table: {path}")
    return int("OUTSIDE" in text or MISSING[1] in text)


def carry_out(profile: str, seed: int, only: Sequence[str]) -> Found:
    """Draws the world of a seed, runs the series on it, and reads what the notebooks printed."""
    folder = settings.work_dir() / "lessons"
    cells = folder / "worlds" / f"{profile}-{seed}-v{cohort.VERSION}"
    work = folder / f"{profile}-{seed}"
    env = os.environ | {"CNMC_DATA": str(cells), "CNMC_WORK": str(work)}
    print(f"\nSeed {seed}, {profile}:", flush=True)
    draw = ["draw", str(cells), "--profile", profile, "--seed", str(seed)]
    subprocess.run([sys.executable, "-m", "helpers", *draw], check=True)
    # A notebook that fails is told by the series; those behind it have their say all the same.
    ran = ["series", profile, *only]
    subprocess.run([sys.executable, "-m", "helpers", *ran], env=env, check=False)
    return collect(work / "series" / profile, only)


def collect(folder: Path, only: Sequence[str] = ()) -> Found:
    """Reads the claims in the executed notebooks of a folder."""
    found: Found = {}
    for path in sorted(folder.glob("*.ipynb")):
        if not only or path.name.startswith(tuple(only)):
            for name, value, verdict in LINE.findall(printed(path)):
                found[name] = value, verdict
    return found


def printed(path: Path) -> str:
    """Returns all that the cells of a notebook have printed."""
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") for output in outputs)


def tabulate(found: dict[int, Found], only: Sequence[str] = ()) -> str:
    """Writes a row for each claim: what was expected, what each seed gave, and the verdict."""
    seeds = " | ".join(f"seed {seed}" for seed in found)
    rows = [f"| lesson | claim | measure | expected | {seeds} | verdict |"]
    rows.append("|---" * (len(found) + 5) + "|")
    for name, claim in lessons.CLAIMS.items():
        if only and not claim["notebook"].startswith(tuple(only)):
            continue
        each = {seed: here.get(name, MISSING) for seed, here in found.items()}
        values = " | ".join(value for value, _ in each.values())
        expected = "{:g} to {:g}".format(*claim["workshop"])
        told = f"| {name} | {claim['claim']} | {claim['measure']} | {expected}"
        rows.append(f"{told} | {values} | {_judge(each)} |")
    return "\n".join(rows) + "\n"


def _judge(each: dict[int, tuple[str, str]]) -> str:
    """Names the verdict of all seeds, or of each where they differ."""
    verdicts = {verdict for _, verdict in each.values()}
    if len(verdicts) == 1 and verdicts <= {"as expected", "no claim"}:
        return verdicts.pop()
    odd = ((seed, verdict) for seed, (_, verdict) in each.items() if verdict != "as expected")
    return ", ".join(f"{verdict} on {seed}" for seed, verdict in odd)


if __name__ == "__main__":
    sys.exit(main())
