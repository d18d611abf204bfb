"""The commands: `python -m helpers --help`. Whatever is heavy is imported by the command itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Commands around the notebook series.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
# What a user can mend: shown as one line. Anything else is a fault of ours and keeps its traceback.
EXPECTED = (ValueError, OSError, ModuleNotFoundError, MemoryError, FloatingPointError)

In = Annotated[Path, typer.Argument(metavar="IN", help="Folder of the images.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")]
By = Annotated[Literal["image", "subject"], typer.Option(help="By image, the paper's way, leaks.")]
How = Annotated[Literal["copy", "hardlink", "symlink"], typer.Option(help="How images get there.")]
Model = Annotated[Path, typer.Argument(metavar="MODEL", help="A saved network, .keras.")]
Data = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the images.")]
To = Annotated[Path | None, typer.Option(help="Where to write; default: data/evaluations/….")]
Threshold = Annotated[float, typer.Option(help="A cell is called ALL above it.")]
Seed = Annotated[int, typer.Option(help="Same seed, same result.")]


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except EXPECTED as error:
        _tell(f"Error: {error or type(error).__name__}")
        sys.exit(1)


def _tell(text: str) -> None:
    """Writes what is not the result itself, such as progress, to standard error."""
    typer.echo(text, err=True)


@app.command()
def doctor(
    devices: Annotated[
        bool, typer.Option("--devices", help="Ask TensorFlow what it sees: takes seconds.")
    ] = False,
) -> None:
    """Says whether this machine is ready, and what to do where it is not."""
    from helpers.commands import doctor

    failed = False
    for finding in doctor.examine(devices):
        advice = f"\n{'':18}{finding.advice}" if finding.state != "ok" else ""
        typer.echo(f"{finding.state:<5} {finding.topic:<11} {finding.found}{advice}")
        failed |= finding.state == "fail"
    raise typer.Exit(int(failed))


@app.command()
def fetch(target: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it goes.")]) -> None:
    """Downloads C-NMC 2019 from Kaggle (10.4 GB), without a login."""
    from helpers.data import official

    found = official.fetch(target)
    typer.echo(official.PROVENANCE)
    typer.echo(f"The images are in {found}: set CNMC_DATA to that folder.")


@app.command()
def verify(source: In) -> None:
    """Compares a copy with the published set; exit status 0 means it is the same."""
    from helpers.data import official

    report = official.verify(source)
    typer.echo(str(report))
    raise typer.Exit(int(not report.is_published))


@app.command()
def draw(
    target: Out,
    subjects: Annotated[tuple[int, int], typer.Option(help="ALL and HEM subjects.")] = (28, 18),
    images: Annotated[int, typer.Option(help="Images in total.")] = 1000,
    seed: Seed = 2019,
) -> None:
    """Draws stand-in cells in the layout of C-NMC 2019."""
    from helpers.standin import cohort

    source = cohort.draw(target, subjects, images, seed)
    typer.echo(f"{images:,} drawn cells in {source.root}")


@app.command()
def split(
    source: In,
    target: Out,
    ratio: Annotated[float, typer.Option(help="Share of images for training.")] = 0.8,
    seed: Seed = 0,
    by: By = "image",
    how: How = "copy",
) -> None:
    """Splits the images of every class into the folders `train` and `test`."""
    from helpers.data import split_files

    table = split_files.split_folders(source, target, ratio, seed, by=by, how=how)
    for (part, label), rows in table.groupby(["split", "label"]):
        typer.echo(f"{part:<10} {label:<4} {len(rows):>7,} images")
    if by == "image":
        _tell("Cells of one subject are on both sides: scores will be too good. See --by subject.")


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="Such as proposed_cnn or vgg16.")],
    data: Annotated[Path, typer.Argument(help="Folder of C-NMC images, or of a split.")],
    profile: Annotated[str | None, typer.Option(help="smoke, workshop or paper.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: the profile's.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side in px; default: the same.")] = None,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Accept a split by image: scores are too good.")
    ] = False,
    seed: Seed = 1,
) -> None:
    """Trains a network as the series does, or loads the run, and says where it lies."""
    from helpers import settings
    from helpers.evaluation import performance
    from helpers.training import recipes

    chosen = settings.active(profile)
    table = recipes.gather_table(data, chosen, seed)
    options = {"epochs": epochs, "image_size": image_size, "allow_leaks": allow_leaks}
    run = recipes.train_recipe(network, table, chosen, _tell, seed, **options)
    typer.echo(run.note)
    typer.echo(f"Test part: {performance.in_words(performance.evaluate(run.predictions))}")
    typer.echo(f"Network, history, predictions and scores: {run.folder}")
    _tell("Not for diagnosis.")


@app.command()
def evaluate(
    model: Model,
    data: Data,
    out: To = None,
    part: Annotated[
        Literal["training", "preliminary"] | None,
        typer.Option(help="Default: the preliminary set where there is one."),
    ] = None,
    threshold: Threshold = 0.5,
    draws: Annotated[int, typer.Option(help="Bootstrap draws of the intervals.")] = 2_000,
    seed: Seed = 0,
) -> None:
    """Scores a saved network on labelled images, and writes a report."""
    from helpers.commands import report
    from helpers.evaluation import performance

    target = out or _new_evaluation(model, data)
    scores = report.evaluate_model(
        model, data, target, part=part, threshold=threshold, draws=draws, seed=seed
    )
    for metric in ("accuracy", "weighted_f1", "sensitivity", "specificity", "roc_auc"):
        typer.echo(performance.in_words(scores, metric))
    typer.echo(f"Report, scores, predictions and model card: {target / 'report.html'}")
    _tell("Not for diagnosis.")


@app.command()
def predict(model: Model, data: Data, out: To = None, threshold: Threshold = 0.5) -> None:
    """Judges images without labels, such as the final test set."""
    from helpers.commands import report

    target = out or _new_evaluation(model, data)
    judged = report.predict_images(model, data, target, threshold)
    for label, rows in judged.groupby("called"):
        typer.echo(f"called {label}: {len(rows):>7,} of {len(judged):,} images")
    typer.echo(f"One row per image: {target / 'predictions.csv'}")
    _tell("Not for diagnosis.")


def _new_evaluation(model: Path, data: Path) -> Path:
    """Names a folder after the network (its run, if it is in one) and the images."""
    from helpers import settings

    name = model.resolve().parent.name if model.stem == "model" else model.stem
    return settings.work_dir() / "evaluations" / f"{name}-{data.resolve().name}"


@app.command()
def augment(
    source: In,
    target: Out,
    total: Annotated[int, typer.Option(help="Training images in the end, originals included.")],
    seed: Seed = 1,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="As many of each class: balances them.")
    ] = False,
    how: How = "copy",
) -> None:
    """Copies the `train` folder of a split and adds turned, mirrored cells."""
    from helpers.augment import augmentation

    table = augmentation.augment_folders(source, target, total, seed, per_class=per_class, how=how)
    drawn = table["source"].notna().groupby(table["label"]).sum()
    for label, count in table["label"].value_counts().items():
        typer.echo(f"train      {label:<4} {count:>7,} images, {drawn[label]:,} of them augmented")


@app.command()
def series(
    profile: Annotated[str, typer.Argument(help="smoke, workshop or paper.")] = "smoke",
    only: Annotated[list[str] | None, typer.Argument(help="Such as 01 02; else all.")] = None,
) -> None:
    """Runs the notebooks in order and gathers their figures and tables on one page."""
    from helpers.commands import series

    page, results = series.run(profile, only or [], lambda text: typer.echo(text, nl=False))
    failed = [result.name for result in results if result.status == "failed"]
    typer.echo(f"{len(results) - len(failed)} of {len(results)} notebooks ran to their end.")
    typer.echo(f"Figures, tables and executed notebooks: {page}")
    if failed:
        _tell(f"Error: these failed: {', '.join(failed)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
