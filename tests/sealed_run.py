"""Runs as a training leaves them, without the training; and cells for them to judge."""

import json

import numpy as np
from PIL import Image

from helpers import runs
from helpers.data import cnmc, duplicates, image_files


def network(outputs="softmax"):
    """A network that calls bright cells ALL."""
    import keras

    inputs = keras.Input((8, 8, 3))
    bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation=outputs)(bright))
    model.layers[-1].set_weights([np.array([[-9.0, 9.0]] * 3), np.array([12.0, -12.0])])
    return model


def write_cells(folder, people, seed=0, kind="bmp", level=255):
    """Two cells of each subject in plain folders, of random pixels."""
    rng = np.random.default_rng(seed)
    for n, who in enumerate(np.repeat(people, 2)):
        label = "hem" if who.startswith("H") else "all"
        path = folder / label / f"UID_{who}_{n}_1_{label}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, level, (450, 450, 3), dtype=np.uint8)).save(path)
    return folder


def known_table(cells, parts, **columns):
    """The images of a folder as a run keeps them, with the part of each subject."""
    table = duplicates.link_subjects(image_files.add_digests(cnmc.index(cells)))
    found = table["subject"].map(parts) if isinstance(parts, dict) else parts
    area = image_files.nucleus_area(table)
    return table.assign(split=found, drawn=False, area=area).assign(**columns)


def make_run(root, images, model=None, task="Classification", **settings):
    """A sealed run that knows these images."""
    settings = {"model": "bright", "select_on": "validation", **settings}

    def make(folder):
        (model or network()).save(folder / "model.keras")
        images.drop(columns="path").to_csv(folder / "images.csv", index=False)
        metrics = {"note": "tiny", "parameters": 8, "settings": settings}
        (folder / "metrics.json").write_text(json.dumps(metrics))

    return runs.make_once(root, {"task": task, **settings, "rows": len(images)}, make)
