"""The commands: `python -m helpers --help`. Whatever is heavy is imported by the command itself."""

import sys
import warnings
from functools import cache
from os import devnull
from pathlib import Path
from traceback import extract_tb
from typing import Annotated, Any, Literal

try:
    import typer
except Exception:  # the libraries are not installed yet, or broken: say which, and what to do
    from helpers.commands import doctor as looked

    sys.exit(looked.tell())

PLAIN: Any = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(help="Commands around the notebook series.", no_args_is_help=True, **PLAIN)
# What a user can mend: shown as one line. Anything else is a fault of ours and keeps its traceback.
EXPECTED = (ValueError, OSError, ImportError, MemoryError, FloatingPointError)
THEIRS = ("tensorflow", "keras", "zipfile", "kagglehub")  # libraries with errors of their own
# What to do about an error whose message does not say it, by its kind.
_ADVICE = Path(__file__).with_name("commands") / "advice.txt"
ADVICE = dict(line.split(": ", 1) for line in _ADVICE.read_text(encoding="utf-8").splitlines())

In = Annotated[Path, typer.Argument(metavar="IN", help="Folder of the images.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run of this series.")]
To = Annotated[Path | None, typer.Option(help="New folder; default: a new data/evaluations/….")]
By = Annotated[Literal["image", "subject"], typer.Option(help="By image, the paper's way, leaks.")]
Part = Annotated[Literal["training", "preliminary"] | None, typer.Option(help="Of C-NMC 2019.")]
Cut = Annotated[float, typer.Option(help="A cell is called ALL above it.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same result.")]
Many = Annotated[int, typer.Option(help="Images in the end.")]
Profile = Annotated[str | None, typer.Option(help="smoke, workshop or paper: CNMC_PROFILE.")]
Share = Annotated[float, typer.Option(help="Share of images for training.")]
Leaks = Annotated[bool, typer.Option("--allow-leaks", help="Accept a split by image, that leaks.")]
Named = Annotated[str, typer.Argument(help="smoke, workshop or paper.")]
Devices = Annotated[bool, typer.Option("--devices", help="Trains ten steps, on a GPU if any.")]
Some = Annotated[list[str] | None, typer.Argument(help="Such as 01 02; else all.")]


def main() -> None:
    """Runs the command line."""
    # A closed one is None, and the next file that is opened would stand in its place.
    sys.stdout, sys.stderr = (s or open(devnull, "w") for s in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter loses no result
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    tell_once = cache(_tell)  # a folder is listed more than once
    warnings.showwarning = lambda message, *_, **__: tell_once(f"Warning: {_in_one_line(message)}")
    try:
        app()
    except Exception as error:
        if "<module>" in [step.name for step in extract_tb(error.__traceback__)]:
            error = ImportError(str(error))  # libraries that do not fit each other fail in any way
        if not isinstance(error, EXPECTED) and not type(error).__module__.startswith(THEIRS):
            raise
        # The nearest kind that has some.
        advice = next((ADVICE[k.__name__] for k in type(error).__mro__ if k.__name__ in ADVICE), "")
        told = f"Error: {_in_one_line(error)}"
        _tell(f"{told}: {advice}" if advice and "Received" not in told else told)
        sys.exit(1)


def _in_one_line(said: Warning | Exception) -> str:
    """Leaves out the traceback that TensorFlow puts into the message of an import that failed."""
    causes = [line for line in str(said).splitlines() if line.startswith("ImportError: ")]
    return " ".join((causes[-1] if causes else str(said)).split()) or type(said).__name__


def _tell(text: str) -> None:
    """Writes what is not the result itself, such as progress, to standard error."""
    typer.echo(text, err=True)


@app.command()
def doctor(devices: Devices = False) -> None:
    """Says whether this machine is ready, by trying, and what to do where it is not."""
    from helpers.commands import doctor

    raise typer.Exit(doctor.tell(typer.echo, devices))


@app.command()
def fetch(target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it goes.")]) -> None:
    """Downloads C-NMC 2019 from Kaggle (10.4 GB), without a login."""
    from helpers.data import official

    found = official.fetch(target)
    typer.echo(f"{official.PROVENANCE}\nThe images are in {found}: set CNMC_DATA to that folder.")


@app.command()
def verify(source: In) -> None:
    """Compares a copy with the published set; exit status 0 means it is the same."""
    from helpers.data import official

    report = official.verify(source)
    typer.echo(report)
    raise typer.Exit(int(not report.is_published))


@app.command()
def draw(target: Out, profile: Profile = None, seed: Seed = 2019) -> None:
    """Draws the stand-in cells of a profile in the layout of C-NMC 2019."""
    from helpers import settings
    from helpers.data import cnmc
    from helpers.standin import cohort

    source = cohort.draw(target, settings.active(profile), seed)
    typer.echo(f"{len(cnmc.list_images(source.root)):,} drawn cells in {source.root}")


@app.command()
def split(source: In, target: Out, ratio: Share = 0.8, seed: Seed = 0, by: By = "image") -> None:
    """Splits the images of every class into the folders `train` and `test`."""
    from helpers.data import split_files

    table = split_files.split_folders(source, target, ratio, seed, by=by)
    for (part, label), rows in table.groupby(["split", "label"]):
        typer.echo(f"{part:<10} {label:<4} {len(rows):>7,} images")
    shared = (table.groupby("linked_subject")["split"].nunique() > 1).sum()
    if shared:
        _tell(f"{shared:,} subjects are on both sides: scores will be too good. See --by subject.")
    sides, labels = (table.groupby("pixels")[["split", "label"]].nunique() > 1).sum()
    if sides or labels:
        _tell(f"Identical images: {sides:,} on both sides, {labels:,} in both classes.")


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="Such as proposed_cnn or vgg16.")],
    data: Annotated[Path, typer.Argument(help="Folder of C-NMC images, or of a split.")],
    profile: Profile = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the profile's.")] = None,
    leaks: Leaks = False,
    seed: Seed = 1,
) -> None:
    """Trains a network as the series does, or loads the run, and says where it lies."""
    from helpers import settings
    from helpers.commands import card, report
    from helpers.data import cnmc, duplicates
    from helpers.evaluation import performance

    chosen, data = settings.active(profile), cnmc.existing_folder(data)
    _tell(report.STARTS)
    with settings.start_up():
        from helpers.training import loop, recipes
    told: Any = {"epochs": epochs, "seed": seed}
    loop.Settings.choose(network, chosen, **told)  # now, not after images were split and drawn
    table = recipes.gather_table(data, chosen, seed, _tell)
    run = recipes.train_recipe(network, table, chosen, report=_tell, allow_leaks=leaks, **told)
    known, judged = report.open_run(run.folder), run.predictions.query("split == 'test'")
    # Each image once and none that is blank, as `evaluate` does.
    scores = performance.evaluate(duplicates.drop_duplicates(judged.dropna(subset="pixels")))
    typer.echo(run.note)
    typer.echo(f"On its test part, {report.test_note(known)}: {performance.in_words(scores)}")
    limits = card.limits_of(report.name_drawn(known.images.query("split == 'test'")))
    typer.echo(f"Network, history, predictions and scores: {run.folder}")
    _tell("\n".join((*card.doubts(scores), *limits, "Not for diagnosis.")))


@app.command()
def evaluate(run: Run, data: In, out: To = None, part: Part = None, threshold: Cut = 0.5) -> None:
    """Scores a run of this series on labelled images, and writes a report."""
    from helpers.commands import card, report
    from helpers.evaluation import performance

    scores, what, folder = report.evaluate_run(run, data, out, part, threshold)
    typer.echo(what)
    network, *rules = scores.index.unique("model")
    own = scores.loc[network]
    for metric in ("accuracy", "weighted_f1", "sensitivity", "specificity", "roc_auc"):
        typer.echo(performance.in_words(own, metric))
    for rule in rules:
        typer.echo(f"To beat, {rule}: {performance.in_words(scores.loc[rule], 'roc_auc')}")
    typer.echo(f"Report, scores, predictions and model card: {folder / 'report.html'}")
    _tell("\n".join((*card.doubts(own), "Not for diagnosis.")))


@app.command()
def predict(run: Run, data: In, out: To = None, threshold: Cut = 0.5) -> None:
    """Lets a run judge images without labels, such as the final test set."""
    from helpers.commands import card, report

    judged, folder = report.predict_images(run, data, out, threshold)
    called = judged["called"].value_counts()
    for label, count in called.items():
        typer.echo(f"called {label}: {count:>7,} of {len(judged):,} images")
    typer.echo(f"One row per image: {folder / 'predictions.csv'}")
    unread = [f"Not judged: {x.file}: {x.problem}" for x in judged.itertuples() if x.problem]
    doubts = card.one_sided(called.get("ALL", 0), called.get("HEM", 0))
    _tell("\n".join((*unread, *doubts, "Not for diagnosis.")))
    raise typer.Exit(int(len(unread) > 0))


@app.command()
def augment(source: In, target: Out, total: Many, seed: Seed = 1) -> None:
    """Copies a split and adds turned, mirrored cells to its `train` folder."""
    from helpers.augment import augmentation

    table = augmentation.augment_folders(source, target, total, seed)
    drawn = table["source"].notna().groupby(table["label"]).sum()
    for label, count in table["label"].value_counts().items():
        typer.echo(f"train      {label:<4} {count:>7,} images, {drawn[label]:,} of them augmented")


@app.command()
def series(profile: Named = "smoke", only: Some = None) -> None:
    """Runs the notebooks in order, and writes a page of each."""
    from helpers.commands import series

    page, results = series.run(profile, only or [], lambda text: typer.echo(text, nl=False))
    failed = [result.name for result in results if result.problem]
    typer.echo(f"{len(results) - len(failed)} of {len(results)} notebooks ran to their end.")
    typer.echo(f"At most {max(result.memory for result in results):.1f} GB of memory were used.")
    typer.echo(f"Figures, tables and executed notebooks: {page}")
    if failed:
        _tell(f"Error: these failed: {', '.join(failed)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
