"""Stand-in cells: like the real ones, in the real layout, leaky by image and whole after a kill."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joblib import Parallel, delayed
from PIL import Image
from scipy import ndimage
from skimage.measure import label as components
from skimage.measure import regionprops
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit

from helpers import settings
from helpers.data import cnmc, image_files
from helpers.standin import cohort
from helpers.standin.cohort import plan_cells
from helpers.standin.nucleus import draw_nucleus

# Quartiles of measured real nuclei (C-NMC 2019, both classes; area per class, with the mean of the
# whole published set inside). Rim figures are grey levels relative to the interior.
QUARTILES = {
    "eccentricity": (0.43, 0.60),
    "solidity": (0.955, 0.986),
    "circularity": (0.76, 0.87),
    "red": (65.0, 78.0),
    "green": (26.0, 34.0),
    "blue": (76.0, 84.0),
    "sd_red": (10.0, 12.2),
    "sd_green": (7.6, 10.0),
    "sd_blue": (9.0, 11.0),
    "sd_inside": (4.2, 5.4),
    "red_green": (0.79, 0.88),
    "red_blue": (0.78, 0.90),
    "green_blue": (0.72, 0.87),
    "outermost": (0.55, 0.72),
    "rim_1_3": (1.28, 1.55),
    "rim_5_8": (1.10, 1.27),
    "beyond_20": (0.97, 1.03),
}
AREA = {"ALL": (34_500, 44_525), "HEM": (24_053, 39_815)}
# Median of each class, inside the real quartiles of the class or within a fifth of their distance.
BY_CLASS = {
    "solidity": {"ALL": (0.944, 0.983), "HEM": (0.976, 0.987)},
    "circularity": {"ALL": (0.646, 0.868), "HEM": (0.809, 0.869)},
    "eccentricity": {"ALL": (0.401, 0.613), "HEM": (0.482, 0.562)},
    "alike_6": {"ALL": (0.798, 0.874), "HEM": (0.718, 0.831)},
    "alike_12": {"ALL": (0.562, 0.725), "HEM": (0.404, 0.636)},
    "alike_25": {"ALL": (0.211, 0.449), "HEM": (0.092, 0.311)},
}
REAL_HEADER = bytes.fromhex(  # of UID_1_1_1_all.bmp
    "424dc648090000000000360000002800" "0000c2010000c2010000010018000000"
    "000090480900c30e0000c30e00000000" "000000000000"
)  # fmt: skip


def world(subjects, images, preliminary=(0, 0, 0)) -> settings.Profile:
    sizes = {"subjects": subjects, "images": images, "preliminary": preliminary}
    return replace(settings.active("smoke"), **sizes)


REAL_LONG_HEADER = bytes.fromhex(  # of 1002.bmp of the preliminary part
    "424d1a490900000000008a0000007c00" "0000c2010000c2010000010018000000"
    "000090480900c30e0000c30e00000000" "000000000000"
)  # fmt: skip


def shape_of(mask: np.ndarray) -> dict[str, float]:
    region = regionprops(mask.astype(np.uint8))[0]
    return {
        "area": region.area,
        "eccentricity": region.eccentricity,
        "solidity": region.solidity,
        "circularity": 4 * np.pi * region.area / region.perimeter**2,
        "components": components(mask).max(),
        "holes": int((ndimage.binary_fill_holes(mask) & ~mask).sum()),
        "off_centre": float(np.hypot(*(np.array(region.centroid) - 224.5))),
    }


def look_of(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    pixels, grey = image[mask].astype(float), image.mean(axis=2)
    depth = ndimage.distance_transform_edt(mask)
    deep = np.median(grey[depth > 20])
    rings = {"outermost": (0, 1), "rim_1_3": (1, 3), "rim_5_8": (5, 8), "beyond_20": (20, 30)}
    red_green, red_blue, green_blue = np.corrcoef(pixels.T)[[0, 0, 1], [1, 2, 2]]
    return (
        dict(zip(("red", "green", "blue"), pixels.mean(axis=0), strict=True))
        | dict(zip(("sd_red", "sd_green", "sd_blue"), pixels.std(axis=0), strict=True))
        | {"red_green": red_green, "red_blue": red_blue, "green_blue": green_blue}
        | {f"alike_{step}": correlation(grey, depth > 20, step) for step in (6, 12, 25)}
        | {"sd_inside": grey[depth > 20].std()}
        | {k: grey[(depth > a) & (depth <= b)].mean() / deep for k, (a, b) in rings.items()}
    )


def correlation(grey: np.ndarray, inside: np.ndarray, step: int) -> float:
    """Returns the mean autocorrelation at a distance in px, across and down."""
    level = np.where(inside, grey - grey[inside].mean(), 0.0)
    pairs = [(level[:, :-step], level[:, step:], inside[:, :-step] & inside[:, step:]),
             (level[:-step], level[step:], inside[:-step] & inside[step:])]  # fmt: skip
    products = np.concatenate([(a * b)[both] for a, b, both in pairs])
    return float(products.mean() / level[inside].var())


def examine(cell) -> dict[str, float]:
    image = draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)
    mask = image.any(axis=2)
    who = {"label": cell.label, "subject": subject_of(cell.path)}
    return who | shape_of(mask) | look_of(image, mask)


def subject_of(path: str) -> str:
    return re.search(r"UID_(\w+?)_\d+_\d+_(all|hem)\.bmp$", path).group(1)


@pytest.fixture(scope="module")
def sample() -> pd.DataFrame:
    cells = plan_cells(world((20, 12), 320), seed=2019)
    table = pd.DataFrame(Parallel(n_jobs=2)(delayed(examine)(cell) for cell in cells))
    return table.assign(patient=table["subject"].replace({"20": "19", "H12": "H11"}))


def test_when_many_are_drawn_then_their_medians_lie_within_the_real_quartiles(sample):
    medians = sample.median(numeric_only=True)
    outside = {k: medians[k] for k, (low, high) in QUARTILES.items() if not low < medians[k] < high}
    assert not outside


@pytest.mark.parametrize("label", ["ALL", "HEM"])
def test_when_a_class_is_drawn_then_its_median_area_lies_within_the_real_quartiles(sample, label):
    area = sample.query("label == @label")["area"]
    assert AREA[label][0] < area.median() < AREA[label][1]
    assert area.between(8_500, 60_000).all()


@pytest.mark.parametrize("label", ["ALL", "HEM"])
@pytest.mark.parametrize("trait", BY_CLASS)
def test_when_a_class_is_drawn_then_its_form_and_texture_are_next_to_the_real_ones(
    sample, trait, label
):
    low, high = BY_CLASS[trait][label]
    median, next_to = sample.query("label == @label")[trait].median(), (high - low) / 5
    assert low - next_to < median < high + next_to


def test_when_drawn_then_every_nucleus_is_one_whole_piece_near_the_middle(sample):
    table = sample
    assert (table["components"] == 1).all()
    assert (table["holes"] == 0).all()
    assert table["off_centre"].quantile(0.98) < 13


def test_when_area_alone_is_ranked_then_it_tells_the_classes_apart_as_in_the_real_set(sample):
    table = sample
    assert 0.75 < roc_auc_score(table["label"] == "ALL", table["area"]) < 0.85


def test_when_subjects_are_unseen_then_mean_colour_does_not_tell_the_classes_apart(sample):
    table = sample
    colour, sick = table[["red", "green", "blue"]].to_numpy(), table["label"] == "ALL"
    scores = [
        roc_auc_score(sick.iloc[test], model.predict_proba(colour[test])[:, 1])
        for train, test in by_patient(table)
        for model in [LogisticRegression().fit(colour[train], sick.iloc[train])]
    ]
    assert np.mean(scores) < 0.65


def test_when_split_by_image_then_a_flexible_model_scores_too_well(sample):
    stain = sample[["red", "green", "blue"]].to_numpy()
    ways = StratifiedShuffleSplit(8, test_size=0.2, random_state=0)
    by_image = ways.split(sample, sample["label"])
    honest = weighted_f1(sample, stain, by_patient(sample))
    assert weighted_f1(sample, stain, by_image) - honest > 0.13


def by_patient(table: pd.DataFrame) -> list:
    return [
        fold
        for seed in range(2)
        for fold in StratifiedGroupKFold(4, shuffle=True, random_state=seed).split(
            table, table["label"], table["patient"]
        )
    ]


def weighted_f1(table: pd.DataFrame, features: np.ndarray, folds) -> float:
    truth, scores = table["label"].to_numpy(), []
    for train, test in folds:
        model = RandomForestClassifier(100, random_state=0).fit(features[train], truth[train])
        scores.append(f1_score(truth[test], model.predict(features[test]), average="weighted"))
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return cohort.draw(tmp_path_factory.mktemp("drawn") / "a", world((3, 3), 40)).root


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_when_drawn_then_the_layout_names_and_file_format_are_those_of_the_real_set(tree):
    files = sorted(tree.rglob("*.bmp"))
    pattern = r"training_data/fold_[012]/(all/UID_\d+_\d+_\d_all|hem/UID_H\d+_\d+_\d_hem)\.bmp"
    assert len(files) == 40
    assert all(re.fullmatch(pattern, f.relative_to(tree).as_posix()) for f in files)
    assert {f.stat().st_size for f in files} == {608_454}
    assert {f.read_bytes()[:54] for f in files} == {REAL_HEADER}


def test_when_drawn_then_each_fold_has_both_classes_and_the_marker_the_seed(tree):
    folds = Counter(f.parent.relative_to(tree).as_posix() for f in tree.rglob("*.bmp"))
    marker = json.loads((tree / "synthetic.json").read_text())
    assert len(folds) == 6
    assert sum(n for folder, n in folds.items() if folder.endswith("all")) == 27
    assert marker["seed"] == 2019


def test_when_read_by_another_library_then_the_pixels_are_the_drawn_ones(tree):
    cell = plan_cells(world((3, 3), 40), 2019)[0]
    drawn = draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)
    assert np.array_equal(np.asarray(Image.open(tree / cell.path)), drawn)


def test_when_drawn_then_two_subjects_of_each_class_share_images_across_folds(tree):
    names = defaultdict(list)
    for path, digest in digests(tree).items():
        names[digest].append(path)
    pairs = [paths for paths in names.values() if len(paths) > 1]
    assert {tuple(sorted(map(subject_of, pair))) for pair in pairs} == {("2", "3"), ("H2", "H3")}
    assert all(len({path.split("/")[1] for path in pair}) == 2 for pair in pairs)
    assert json.loads((tree / "synthetic.json").read_text())["duplicates"] == len(pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return cohort.draw(tmp_path_factory.mktemp("whole") / "w", world((3, 3), 40, (4, 3, 35))).root


def test_when_the_preliminary_part_is_drawn_then_only_its_label_file_tells_whose_it_is(whole):
    training, preliminary = cnmc.index(whole), cnmc.index(whole, "preliminary")
    lines = (whole / f"{cohort.PRELIMINARY}_labels.csv").read_text().splitlines()
    assert lines[0] == "Patient_ID,new_names,labels"
    assert sorted(line.split(",")[1] for line in lines[1:]) == sorted(
        f.name for f in (whole / cohort.PRELIMINARY).iterdir()
    )
    assert len(preliminary) == 35
    assert preliminary.groupby("label")["subject"].nunique().to_dict() == {"ALL": 4, "HEM": 3}
    assert set(preliminary["subject"]).isdisjoint(training["subject"])


def test_when_the_preliminary_part_is_drawn_then_its_files_are_as_the_published_ones(whole):
    files = sorted((whole / cohort.PRELIMINARY).iterdir())
    assert {f.stat().st_size for f in files} == {608_538}
    assert {f.read_bytes()[:54] for f in files} == {REAL_LONG_HEADER}
    table = image_files.add_digests(cnmc.index(whole, "all"))
    assert table["pixels"].nunique() == len(table) - duplicates_in(whole)
    assert (table["sha256"] != table["pixels"]).sum() == len(files)


def duplicates_in(tree: Path) -> int:
    return json.loads((tree / "synthetic.json").read_text())["duplicates"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_when_a_workshop_is_planned_then_no_subject_counts_for_much_in_a_part(seed):
    cells = plan_cells(settings.PROFILES["workshop"], seed)
    for part, most in ((False, 0.01), (True, 0.05)):
        sizes = Counter(subject_of(c.name or c.path) for c in cells if bool(c.name) is part)
        assert max(sizes.values()) <= most * sum(sizes.values())
        assert max(sizes.values()) > 2 * min(sizes.values())


def test_when_subjects_have_many_images_then_they_are_very_unequal_and_paths_unique():
    cells = plan_cells(world((28, 18), 1000), 2019)
    sizes = Counter(subject_of(cell.path) for cell in cells)
    assert len({cell.path for cell in cells}) == 1000
    assert len(sizes) == 46
    assert max(sizes.values()) > 10 * min(sizes.values())


@pytest.mark.parametrize(
    ("subjects", "images"),
    [((3, 20), 92), ((3, 40), 172), ((40, 3), 172), ((3, 3), 24), ((60, 60), 480), ((5, 50), 223)],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_when_there_are_many_subjects_for_the_images_then_each_has_some(subjects, images, seed):
    cells = plan_cells(world(subjects, images), seed)
    sizes = Counter(subject_of(cell.path) for cell in cells)
    assert len({cell.path for cell in cells}) == len(cells) == images
    assert sum(name.startswith("H") for name in sizes) == subjects[1]
    assert len(sizes) == sum(subjects)
    assert min(sizes.values()) >= cohort.FEWEST
    assert np.isfinite([cell.style.colour for cell in cells]).all()


def test_when_a_profile_is_drawn_then_the_classes_are_of_the_real_sets_sizes():
    for profile in settings.PROFILES.values():
        cells = [cell for cell in plan_cells(profile, 2019) if not cell.name]
        labels = Counter(cell.label for cell in cells)
        assert (labels["ALL"], len(cells)) == (round(0.68 * profile.images), profile.images)


def test_when_subjects_are_compared_then_stain_differs_more_between_than_within_them():
    cells = plan_cells(world((28, 18), 1000), 2019)
    red = pd.Series([cell.style.colour[0] for cell in cells])
    groups = red.groupby([subject_of(cell.path) for cell in cells])
    assert groups.mean().std() > 5 * groups.std().mean()


def test_when_the_number_of_processors_changes_then_not_a_byte_does(tmp_path, monkeypatch):
    trees = []
    for processors in (1, 2):
        monkeypatch.setattr(cohort.settings, "processors", lambda count=processors: count)
        trees.append(digests(cohort.draw(tmp_path / f"{processors}", world((3, 3), 200)).root))
    assert trees[0] == trees[1]


def test_when_the_seed_changes_then_the_cells_do():
    first, second = (plan_cells(world((3, 3), 40), seed)[0] for seed in (1, 2))
    assert first.key != second.key
    assert first.style != second.style


def test_when_killed_half_way_then_a_second_draw_ends_on_the_same_bytes(tree, tmp_path):
    root = tmp_path / "killed"
    code = (
        "from dataclasses import replace; from helpers import settings\n"
        "from helpers.standin import cohort\n"
        "small = {'subjects': (3, 3), 'images': 40, 'preliminary': (0, 0, 0)}\n"
        f"cohort.draw({str(root)!r}, replace(settings.active('smoke'), **small))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while len(list(tmp_path.rglob("*.bmp"))) < 5 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    assert not root.exists()
    assert digests(cohort.draw(root, world((3, 3), 40)).root) == digests(tree)
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["killed"]


def test_when_two_draw_at_once_then_one_waits_and_finds_the_tree(tree, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(cohort.draw, tmp_path / "c", world((3, 3), 40)) for _ in range(2)]
        sources = [job.result() for job in jobs]
    assert sources[0] == sources[1]
    assert digests(tmp_path / "c") == digests(tree)


def test_when_the_tree_is_there_then_it_is_not_drawn_again(tree):
    before = (tree / "synthetic.json").stat().st_mtime_ns
    source = cohort.draw(tree, world((3, 3), 40))
    assert source.is_synthetic
    assert (tree / "synthetic.json").stat().st_mtime_ns == before


def test_when_the_tree_lies_where_nothing_can_be_written_then_it_is_found(tree, monkeypatch):
    monkeypatch.setattr(cohort.runs, "lock", None)
    assert cohort.draw(tree, world((3, 3), 40)).root == tree


def test_when_another_tree_is_there_then_it_is_refused(tree):
    with pytest.raises(FileExistsError, match=r"new or empty.*Received: "):
        cohort.draw(tree, world((3, 3), 41))


def test_when_the_folder_holds_something_else_then_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="Received: "):
        cohort.draw(tmp_path, world((3, 3), 40))


@pytest.mark.parametrize(("subjects", "images"), [((2, 3), 40), ((3, 3), 23)])
def test_when_there_is_too_little_for_three_folds_then_it_says_so(tmp_path, subjects, images):
    with pytest.raises(ValueError, match="Received: subjects="):
        cohort.draw(tmp_path / "small", world(subjects, images))


def test_when_the_disk_is_too_small_then_nothing_is_drawn(tmp_path):
    with pytest.raises(OSError, match=r"Drawing 1,000,000,000,000 images needs .* [GM]B free"):
        cohort.draw(tmp_path / "huge", world((3, 3), 10**12))
    assert not list(tmp_path.rglob("*.bmp"))


def test_when_no_real_data_is_named_then_cells_are_drawn_into_the_work_folder(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("CNMC_DATA", raising=False)
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    tiny = world((3, 3), 24)
    source = cohort.find_or_draw(tiny)
    assert source.is_synthetic
    assert tmp_path in source.root.parents


def test_when_cells_are_drawn_then_what_all_of_them_show_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    cells = replace(world((3, 3), 24), preliminary=(3, 3, 24))
    table = cnmc.index(cohort.draw(tmp_path / "elsewhere", cells).root, "all")
    assert len(table) == 48
    assert set(image_files.add_digests(table)["pixels"]) == cnmc.drawn_here()


def test_when_real_data_is_named_then_nothing_is_drawn(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_DATA", str(tree))
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    assert cohort.find_or_draw(settings.active("smoke")).root == tree
    assert not list(tmp_path.iterdir())


def test_when_images_of_a_drawn_tree_are_gone_then_it_is_not_taken_for_whole(tmp_path):
    root = cohort.draw(tmp_path / "t", world((3, 3), 24)).root
    next(root.rglob("*.bmp")).unlink()
    with pytest.raises(FileNotFoundError, match=r"drawn anew.*with 23 of 24 images"):
        cohort.draw(root, world((3, 3), 24))


def test_when_other_images_lie_in_a_drawn_tree_then_they_are_not_taken_for_drawn(tmp_path):
    root = cohort.draw(tmp_path / "t", world((3, 3), 24)).root
    path = next(root.rglob("*.bmp"))
    shutil.copy(path, path.with_name("UID_1_99_9_all.bmp"))
    with pytest.raises(FileNotFoundError, match=r"drawn anew.*with 25 of 24 images"):
        cohort.draw(root, world((3, 3), 24))


def test_when_a_marker_holds_something_else_then_the_folder_is_refused(tmp_path):
    (tmp_path / "synthetic.json").write_text("[]")
    with pytest.raises(FileExistsError, match="new or empty"):
        cohort.draw(tmp_path, world((3, 3), 24))


@pytest.mark.parametrize("linked", ["a file", "a folder"])
def test_when_drawn_cells_are_reached_through_links_then_they_are_known_as_drawn(
    tree, tmp_path, linked
):
    cell = next(tree.rglob("*.bmp"))
    source = cell if linked == "a file" else cell.parent
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / source.name).symlink_to(source, target_is_directory=source.is_dir())
    assert cnmc.locate(tmp_path).is_synthetic
    assert cnmc.is_drawn(next(p for p in tmp_path.rglob("*") if p.is_symlink()))
