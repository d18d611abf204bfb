"""What is written about a network: whole, true, and clear about what is not known."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from judged import judged
from PIL import Image

from helpers.commands import card, report
from helpers.evaluation import performance


def save_network(path, outputs=2, side=8):
    inputs = keras.Input((side, side, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(outputs, activation="softmax")(pooled)).save(path)
    return path


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Twelve cells of six subjects in plain folders."""
    folder, rng = tmp_path_factory.mktemp("cells"), np.random.default_rng(0)
    for n in range(12):
        label, subject = (("all", f"{n // 4 + 1}"), ("hem", f"H{n // 4 + 1}"))[n % 2]
        path = folder / label / f"UID_{subject}_{n}_1_{label}.bmp"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (450, 450, 3), dtype=np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def written(cells, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    model = save_network(folder / "model.keras")
    scores = report.evaluate_model(model, cells, folder / "out", threshold=0.4, draws=50)
    return folder / "out", scores


def run_folder(folder, cells):
    """A network in a run folder, whose test subjects are 3 and h3."""
    save_network(folder / "model.keras")
    table = report.find_cells(cells)[0]
    side = table["subject"].map({"3": "test", "h3": "test", "2": "validation"})
    table.assign(split=side, probability=0.5).dropna(subset="split").to_csv(
        folder / "predictions.csv"
    )
    (folder / "metrics.json").write_text(json.dumps({"note": "tiny", "parameters": 8}))
    (folder / "run.json").write_text("{}")
    return folder / "model.keras"


class TestFiles:
    def test_when_predictions_are_read_again_then_they_give_the_same_scores(self, written):
        folder, scores = written
        again = performance.evaluate(pd.read_csv(folder / "predictions.csv"), 0.4, draws=50)
        np.testing.assert_allclose(again["value"], scores["value"])

    def test_when_metrics_are_read_then_they_say_what_was_scored(self, written):
        found = json.loads((written[0] / "metrics.json").read_text())
        assert (found["cells"], found["subjects"], found["threshold"]) == (12, 6, 0.4)
        assert found["scored on"] == report.UNKNOWN
        assert found["scores"]["accuracy"]["value"] == written[1].loc["accuracy", "value"]

    def test_when_the_page_is_opened_then_it_stands_alone_and_warns(self, written):
        page = (written[0] / "report.html").read_text(encoding="utf-8")
        assert "not for diagnosis" in page
        assert "trained on these images" in page
        sources = re.findall(r'<img src="([^"]{30})', page)
        assert len(sources) == 4
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert not re.search(r'(?:src|href)="(?!data:)', page)
        assert "nan" not in re.sub(r'src="[^"]*"', "", page).lower()

    def test_when_the_page_is_parsed_then_every_tag_is_closed(self, written):
        open_tags = []

        class Reader(HTMLParser):
            def handle_starttag(self, tag, attrs):
                if tag not in ("meta", "img"):
                    open_tags.append(tag)

            def handle_endtag(self, tag):
                assert open_tags.pop() == tag

        Reader().feed((written[0] / "report.html").read_text(encoding="utf-8"))
        assert open_tags == []

    def test_when_a_name_holds_markup_then_it_is_text(self, cells, tmp_path):
        model = save_network(tmp_path / "<b>.keras")
        report.evaluate_model(model, cells, tmp_path / "out", draws=5)
        assert "<b>.keras" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")

    def test_when_one_class_is_there_then_the_page_does_without_curves(self, cells, tmp_path):
        model = save_network(tmp_path / "model.keras")
        report.evaluate_model(model, cells / "all", tmp_path / "out", draws=5)
        assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("<img") == 3

    def test_when_the_threshold_is_no_probability_then_it_is_refused(self, cells, tmp_path):
        with pytest.raises(ValueError, match="threshold=50"):
            report.evaluate_model("any.keras", cells, tmp_path, threshold=50)


class TestUnseen:
    def test_when_the_network_knows_the_images_then_only_its_test_part_is_scored(
        self, cells, tmp_path
    ):
        model = run_folder(tmp_path, cells)
        scores = report.evaluate_model(model, cells, tmp_path / "out", draws=5)
        assert scores["cells"].unique() == [4]
        found = pd.read_csv(tmp_path / "out" / "predictions.csv")
        assert set(found["subject"]) == {"3", "h3"}
        assert (
            "subjects the network had not seen" in (tmp_path / "out" / "model_card.md").read_text()
        )

    def test_when_the_images_are_others_then_all_are_scored(self, cells, tmp_path):
        model, table = run_folder(tmp_path, cells), report.find_cells(cells)[0]
        others = table.assign(path=table["path"].str.replace("UID_", "UID_9"))
        rows, what = report.keep_unseen(others, model, "preliminary")
        assert (len(rows), what) == (12, report.PRELIMINARY)


class TestModels:
    @pytest.mark.parametrize("wrong", [{"outputs": 3}, {"side": None}])
    def test_when_the_network_is_another_kind_then_it_is_refused(self, wrong, tmp_path):
        path = save_network(tmp_path / "model.keras", **wrong)
        with pytest.raises(ValueError, match="square colour images"):
            report.open_model(path)

    def test_when_it_is_no_model_then_it_is_refused(self, tmp_path):
        (tmp_path / "model.h5").write_bytes(b"")
        with pytest.raises(ValueError, match=r"ends in \.keras"):
            report.open_model(tmp_path / "model.h5")

    def test_when_it_answers_no_numbers_then_it_is_told(self, cells, tmp_path):
        path = save_network(tmp_path / "model.keras")
        model = keras.saving.load_model(path)
        model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
        model.save(path)
        with pytest.raises(FloatingPointError, match="12 of 12 cells"):
            report.judge(path, report.find_cells(cells)[0])


class TestCard:
    def test_when_a_run_is_described_then_all_sections_are_there(self):
        table = judged(300)
        split = table.assign(split=["train", "validation", "test"] * 100)
        training = {"note": "vgg16, 64 px", "weights_note": "random", "parameters": 1_000}
        text = card.write_card(
            "vgg16", performance.evaluate(table, draws=20), "synthetic cells", training=training,
            split=split,
        )  # fmt: skip
        heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
        assert heads == [
            "Model card: vgg16", "Intended use", "Data", "Training", "Results", "Limits"
        ]  # fmt: skip
        assert "Not for diagnosis" in text
        assert "first weights: random" in text
        assert "drawn: nothing here says anything about real ones" in text

    def test_when_the_split_leaks_then_the_card_says_so(self):
        table = judged(300)
        split = table.assign(split=["train", "validation", "test"] * 100)
        text = card.write_card("a", performance.evaluate(table, draws=5), "x", split=split)
        assert "9 subjects or images are in two parts" in text

    def test_when_the_epoch_was_chosen_on_the_test_part_then_the_card_says_so(self):
        training = {"settings": {"select_on": "test"}}
        scores = performance.evaluate(judged(50), draws=5)
        assert "chosen on the test part" in card.write_card("a", scores, "x", training=training)


class TestRealFiles:
    DATA = Path(__file__).resolve().parents[2] / "shared" / "cnmc" / "C-NMC_Leukemia"

    @pytest.mark.skipif(not DATA.is_dir(), reason="the real C-NMC 2019 files are not here")
    def test_when_the_preliminary_set_is_there_then_it_is_what_is_scored(self, tmp_path):
        model = save_network(tmp_path / "model.keras", side=16)
        report.evaluate_model(model, self.DATA, tmp_path / "out", draws=5)
        found = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("file")
        truth = {"1002.bmp": ("HEM", "H49"), "1005.bmp": ("ALL", "57"), "1105.bmp": ("ALL", "53")}
        assert dict(zip(found.index, zip(found["label"], found["subject"], strict=True),
                        strict=True)) == truth  # fmt: skip
        facts = json.loads((tmp_path / "out" / "metrics.json").read_text())
        assert (facts["images"], facts["scored on"]) == ("C-NMC 2019", report.PRELIMINARY)
