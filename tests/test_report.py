"""What is said of a run and its scores: whole, and no more than content proves."""

import hashlib
import json
import os
import re
import shutil
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from judged import judged
from PIL import Image
from sealed_run import known_table, make_run, network, write_cells

from helpers.commands import card, report
from helpers.data import cnmc, duplicates, image_files, official
from helpers.evaluation import performance
from helpers.models import weights

(UNKNOWN,) = card.limits_of("images of unknown origin")
(DRAWN,) = card.limits_of("synthetic stand-in cells, drawn")
OTHERS_LABELS = "Nothing is known here of who gave the cells these labels."
SOME_DRAWN, _ = card.limits_of("synthetic stand-in cells among others")
PEOPLE = ("1", "2", "3", "H1", "H2", "H4")
ALL_OF_TEST = f"4 of the 4 images of the run's test part, {report.UNSEEN}"
PARTS = {"1": "train", "H1": "train", "2": "validation", "H2": "validation", "3": "test",
         "H4": "test"}  # fmt: skip


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return write_cells(tmp_path_factory.mktemp("cells") / "cells", PEOPLE)


@pytest.fixture(scope="module")
def run(cells, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs"), known_table(cells, PARTS))


@pytest.fixture
def evaluate(tmp_path):
    """Evaluates a run; gives the number of cells, what was scored, and the card."""

    def call(run, data, **options):
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        scores, what, folder = report.evaluate_run(run, data, out, **options)
        text = (folder / "model_card.md").read_text(encoding="utf-8")
        found = json.loads((folder / "metrics.json").read_text())
        assert f"Scored: {found['images']}." in text
        assert f"On {found['scored_on']}: " in text
        assert what == f"{found['scored_on']} ({found['images']})"  # as the command says it
        return int(scores["cells"].iloc[0]), found["scored_on"], text

    return call


@pytest.fixture(scope="module")
def written(run, cells, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "out"
    scores, _, folder = report.evaluate_run(run, cells, out, threshold=0.4)
    return folder, scores


class TestFiles:
    def test_when_predictions_are_read_again_then_they_give_the_same_scores(self, written):
        folder, scores = written
        again = performance.evaluate(pd.read_csv(folder / "predictions.csv"), 0.4)
        np.testing.assert_allclose(again["value"], scores.loc["bright", "value"])

    @pytest.mark.parametrize("call", [report.evaluate_run, report.predict_images])
    def test_when_the_threshold_is_a_probability_that_occurs_then_calls_fit_what_is_written(
        self, run, cells, tmp_path, call
    ):
        folder = call(run, cells, tmp_path / "first")[-1]
        for n, cut in enumerate(pd.read_csv(folder / "predictions.csv")["probability"]):
            found = pd.read_csv(
                call(run, cells, tmp_path / str(n), threshold=cut)[-1] / "predictions.csv"
            )
            assert ((found["probability"] > cut) == (found["called"] == "ALL")).all()

    def test_when_metrics_are_read_then_they_say_what_was_scored(self, written):
        found = json.loads((written[0] / "metrics.json").read_text())
        assert (found["scored_on"], found["threshold"]) == (ALL_OF_TEST, 0.4)
        assert found["images"] == "images of unknown origin"
        for model in ("bright", "majority class", "area only"):
            value = written[1].loc[(model, "accuracy"), "value"]
            assert (found[model]["accuracy"]["value"], found[model]["accuracy"]["cells"]) == (
                value,
                4,
            )
        assert found["training"]["note"] == "tiny"

    def test_when_the_rules_judge_then_they_learnt_from_the_training_cells_of_the_run(
        self, tmp_path
    ):
        cells = write_cells(tmp_path / "cells", PEOPLE)
        table = known_table(cells, PARTS)  # ALL is larger where the run learnt, and nowhere else
        large = (table["label"] == "ALL") & (table["split"] == "train")
        folder = make_run(tmp_path, table.assign(area=np.where(large, 300_000, 100_000)))
        scores, _, out = report.evaluate_run(folder, cells, tmp_path / "out")
        found = json.loads((out / "metrics.json").read_text())
        assert found["majority class"]["roc_auc"]["value"] == 0.5
        assert found["area only"]["sensitivity"]["value"] == 1  # all are of 200,000 px and more
        assert found["area only"]["specificity"]["value"] == 0
        assert list(scores.index.unique("model")) == ["bright", "majority class", "area only"]
        for file in ("model_card.md", "report.html"):
            text = (out / file).read_text(encoding="utf-8")
            assert "What costs nothing" in text or "what costs nothing" in text
            assert "area only" in text

    def test_when_a_run_has_no_areas_then_it_is_to_be_trained_again(self, cells, tmp_path):
        folder = make_run(tmp_path, known_table(cells, PARTS).drop(columns="area"))
        with pytest.raises(ValueError, match=r"or train it\. Received: .*area"):
            report.open_run(folder)

    def test_when_the_page_is_opened_then_it_stands_alone_and_warns(self, written):
        page = (written[0] / "report.html").read_text(encoding="utf-8")
        assert "Not for diagnosis" in page
        sources = re.findall(r'<img src="([^"]{30})', page)
        assert len(sources) == 4
        assert all(source.startswith("data:image/png;base64,") for source in sources)
        assert not re.search(r'(?:src|href)="(?!data:|#)', page)
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

    def test_when_card_and_page_are_compared_then_they_say_the_same(self, written):
        text = (written[0] / "model_card.md").read_text(encoding="utf-8")
        page = (written[0] / "report.html").read_text(encoding="utf-8")
        assert ALL_OF_TEST in re.sub("&#39;", "'", page)
        limits = re.findall(r"^- (.*\.)$", text, flags=re.MULTILINE)
        assert limits[0] == UNKNOWN
        assert all(limit in page for limit in limits)

    def test_when_one_class_is_there_then_the_page_does_without_curves(self, run, cells, tmp_path):
        report.evaluate_run(run, cells / "all", tmp_path / "out")
        assert (tmp_path / "out" / "report.html").read_text(encoding="utf-8").count("<img") == 3

    def test_when_a_run_is_evaluated_again_then_nothing_is_overwritten(
        self, run, cells, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        folders = [report.evaluate_run(run, cells, threshold=t)[2] for t in (0.4, 0.6)]
        found = [json.loads((f / "metrics.json").read_text())["threshold"] for f in folders]
        assert found == [0.4, 0.6]

    def test_when_the_named_folder_holds_results_then_it_is_refused(self, run, cells, written):
        with pytest.raises(FileExistsError, match="new or empty folder"):
            report.evaluate_run(run, cells, written[0])

    @pytest.mark.parametrize("call", [report.evaluate_run, report.predict_images])
    def test_when_two_take_folders_at_the_same_time_then_each_has_its_own(
        self, run, cells, tmp_path, monkeypatch, call
    ):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        make, inner = Path.mkdir, []

        def mkdir(path, *args, **options):
            if path.parent.name == "evaluations" and not inner:
                inner.append(None)
                inner[0] = call(run, cells)[-1]
            make(path, *args, **options)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        outer = call(run, cells)[-1]
        assert outer != inner[0]
        assert list(files(outer)) == list(files(inner[0]))
        assert "predictions.csv" in files(outer)
        with pytest.raises(FileExistsError, match="new or empty folder"):
            call(run, cells, outer)

    @pytest.mark.parametrize("call", [report.evaluate_run, report.predict_images])
    def test_when_two_are_given_one_folder_then_the_second_is_refused_before_its_work(
        self, run, cells, tmp_path, monkeypatch, call
    ):
        judge, asked = report._judge, []

        def while_it_works(*args):
            asked.append(args)
            with pytest.raises(FileExistsError, match=r"new or empty folder.*out'"):
                call(run, cells, tmp_path / "out")
            return judge(*args)

        monkeypatch.setattr(report, "_judge", while_it_works)
        call(run, cells, tmp_path / "out")
        assert len(asked) == 1

    def test_when_images_are_exchanged_while_it_judges_then_there_is_no_score(
        self, run, cells, tmp_path, monkeypatch
    ):
        data = shutil.copytree(cells, tmp_path / "data")
        load = keras.saving.load_model

        def while_it_loads(*args, **options):
            shutil.copy(next(data.rglob("UID_1_*")), next(data.rglob("UID_3_*")))
            return load(*args, **options)

        monkeypatch.setattr(keras.saving, "load_model", while_it_loads)
        with pytest.raises(ValueError, match=r"changed while they were used.*Received: 1, such as"):
            report.evaluate_run(run, data, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_when_the_folder_is_filled_meanwhile_then_nothing_is_overwritten(
        self, run, cells, tmp_path, monkeypatch
    ):
        judge = report._judge

        def while_it_works(*args):
            for name in ("metrics.json", "report.html"):
                (tmp_path / "out" / name).write_text("mine")
            return judge(*args)

        monkeypatch.setattr(report, "_judge", while_it_works)
        with pytest.raises(OSError, match=r"already exists|File exists"):
            report.evaluate_run(run, cells, tmp_path / "out")
        assert files(tmp_path / "out") == {"metrics.json": b"mine", "report.html": b"mine"}

    @pytest.mark.parametrize("there", [True, False])
    def test_when_the_work_fails_then_there_is_no_result(
        self, run, cells, tmp_path, monkeypatch, there
    ):
        def fail(*_, **__):
            raise OSError("No space left on device")

        out = tmp_path / "deep" / "out"
        if there:
            out.mkdir(parents=True)
        monkeypatch.setattr(report.card, "write_page", fail)
        monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
        for call in (report.evaluate_run, report.predict_images):
            with pytest.raises(OSError, match="No space left"):
                call(run, cells, out)
            assert not out.exists()

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_when_the_folder_of_results_leads_nowhere_then_it_is_said(
        self, run, cells, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path))
        monkeypatch.setattr(report, "count", lambda start: range(start, start + 3))
        (tmp_path / "evaluations").symlink_to(tmp_path / "a disk that is not there")
        for call in (report.evaluate_run, report.predict_images):
            with pytest.raises(FileExistsError, match=r"evaluations'$"):
                call(run, cells)

    @pytest.mark.parametrize("place", ["file", "file/deep/er"])
    def test_when_a_file_is_in_the_way_then_no_image_is_read(
        self, run, cells, tmp_path, monkeypatch, place
    ):
        (tmp_path / "file").write_text("mine")
        monkeypatch.setattr(cnmc, "find_files", lambda root: [][0])
        monkeypatch.setattr(cnmc, "list_images", lambda root: [][0])
        for call in (report.evaluate_run, report.predict_images):
            with pytest.raises((FileExistsError, NotADirectoryError)):
                call(run, cells, tmp_path / place)
        assert files(tmp_path) == {"file": b"mine"}


def files(folder):
    """All files under a folder with what they hold."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class TestRuns:
    def test_when_the_model_in_a_run_is_named_then_it_is_that_run(self, run):
        assert report.open_run(run / "model.keras").folder == report.open_run(run).folder

    def test_when_the_network_is_from_elsewhere_then_the_notebook_is_pointed_to(self, tmp_path):
        network().save(tmp_path / "other.keras")
        for path in (tmp_path / "other.keras", tmp_path):
            with pytest.raises(ValueError, match="A network from elsewhere"):
                report.open_run(path)

    @pytest.mark.parametrize("name", ["model.keras", "images.csv", "metrics.json"])
    def test_when_a_foreign_file_lies_in_a_run_then_it_is_refused(self, cells, tmp_path, name):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        other = make_run(tmp_path / "2", known_table(cells, "test"), network(None), seed=2)
        (folder / name).write_bytes((other / name).read_bytes())
        with pytest.raises(ValueError, match=rf"as its training left it.* with another {name}"):
            report.open_run(folder)

    def test_when_a_file_of_the_run_is_gone_then_it_is_refused(self, cells, tmp_path):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        (folder / "images.csv").unlink()
        with pytest.raises(ValueError, match=r"run.json, or not all it records: .*images.csv"):
            report.open_run(folder)

    @pytest.mark.parametrize("text", ["", '{"key": "5d', "[]", '{"files": 3}', '{"files": {}}'])
    def test_when_the_record_is_damaged_then_it_is_said(self, cells, tmp_path, text):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        (folder / "run.json").write_text(text)
        with pytest.raises(ValueError, match=r"copy it whole.*run.json"):
            report.open_run(folder)

    @pytest.mark.parametrize(
        ("name", "change"),
        [("images.csv", lambda text: text.replace(",drawn", ",painted")),
         ("images.csv", lambda text: text.splitlines()[0] + "\n"),
         ("images.csv", lambda text: text.replace("train", "holdout")),
         ("images.csv", lambda text: text.replace("train", "test")),
         ("images.csv", lambda text: text.replace("False", "perhaps")),
         ("images.csv", lambda text: ""),
         ("metrics.json", lambda text: text.replace("select_on", "chosen_on")),
         ("metrics.json", lambda text: '{"settings": null}'),
         ("metrics.json", lambda text: "[]")],
    )  # fmt: skip
    def test_when_all_files_agree_but_say_nonsense_then_it_is_one_line(
        self, cells, tmp_path, name, change
    ):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        (folder / name).write_text(change((folder / name).read_text()))
        record = json.loads((folder / "run.json").read_text())
        record["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "run.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match=r"copy it whole.*run.json, or not all it records: "):
            report.open_run(folder)

    @pytest.mark.parametrize("name", ["model.keras", "images.csv", "metrics.json"])
    def test_when_a_file_of_the_run_is_cut_off_then_it_is_refused(self, cells, tmp_path, name):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        (folder / name).write_bytes((folder / name).read_bytes()[:50])
        with pytest.raises(ValueError, match=rf"with another {name}"):
            report.open_run(folder)

    @pytest.mark.parametrize("kind", ["text", "zip without a configuration", "of another Keras"])
    def test_when_keras_cannot_load_the_network_then_it_is_said(self, cells, tmp_path, kind):
        class Damaged:
            def save(self, path):
                path.write_text("version https://git-lfs.github.com/spec/v1")
                if kind != "text":
                    with zipfile.ZipFile(path, "w") as archive:
                        archive.writestr("metadata.json", "{}")
                        if kind == "of another Keras":
                            archive.writestr("config.json", '{"class_name": "Perceptron"}')
                            archive.writestr("model.weights.h5", "")

        folder = make_run(tmp_path, known_table(cells, PARTS), Damaged())
        with pytest.raises(ValueError, match=r"cannot be loaded: train it again.*Keras 3\."):
            report.predict_images(folder, cells, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_when_the_run_is_an_auto_encoder_then_it_is_refused(self, cells, tmp_path):
        folder = make_run(tmp_path, known_table(cells, PARTS), task="Reconstruction")
        with pytest.raises(ValueError, match="run of a reconstruction"):
            report.open_run(folder)

    def test_when_the_run_was_renamed_and_moved_then_it_is_the_same(self, cells, tmp_path):
        folder = make_run(tmp_path, known_table(cells, PARTS))
        moved = folder.rename(tmp_path / "my run")
        assert report.open_run(moved).metrics["note"] == "tiny"

    def test_when_there_is_nothing_then_no_image_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(image_files, "add_digests", lambda table: [][0])
        with pytest.raises(FileNotFoundError, match=r"folder of a run.*'nowhere"):
            report.evaluate_run("nowhere.keras", tmp_path)
        with pytest.raises(ValueError, match="threshold=50"):
            report.evaluate_run("nowhere.keras", tmp_path, threshold=50)

    def test_when_the_outputs_are_logits_then_they_are_refused(self, cells, tmp_path):
        for number, outputs in enumerate([None, "log_softmax", "relu"]):
            folder = make_run(tmp_path / str(number), known_table(cells, PARTS), network(outputs))
            with pytest.raises(ValueError, match="probabilities"):
                report.evaluate_run(folder, cells, tmp_path / f"out{number}")

    def test_when_it_answers_no_numbers_then_it_is_told(self, cells, tmp_path):
        model = network()
        model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
        folder = make_run(tmp_path, known_table(cells, PARTS), model)
        with pytest.raises((FloatingPointError, ValueError), match="number"):
            report.evaluate_run(folder, cells, tmp_path / "out")


class TestUnseen:
    def test_when_the_run_knows_the_images_then_only_its_test_part_is_scored(
        self, run, cells, evaluate
    ):
        assert evaluate(run, cells)[:2] == (4, ALL_OF_TEST)

    def test_when_images_have_other_names_then_content_tells_them(
        self, run, cells, evaluate, tmp_path
    ):
        self.copy_as(cells, tmp_path / "copies", lambda number: 90 + number // 2)
        assert evaluate(run, tmp_path / "copies")[:2] == (4, ALL_OF_TEST)

    @staticmethod
    def copy_as(cells, folder, name):
        """Copies cells as PNG, under the subject that `name` gives to each number."""
        for number, path in enumerate(sorted(cells.rglob("*.bmp"))):
            label = path.parent.name
            who = f"{'H' * (label == 'hem')}{name(number)}"
            copy = folder / label / f"UID_{who}_{number}_1_{label}.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            Image.open(path).save(copy)

    def test_when_the_folder_gives_all_cells_one_subject_then_its_doubt_is_told(
        self, run, cells, evaluate, tmp_path
    ):
        self.copy_as(cells, tmp_path / "copies", lambda number: 9)
        scored, what, text = evaluate(run, tmp_path / "copies")
        assert scored == 4
        assert what.endswith(f"test part, {report.SHARED.format(4)}")
        assert report.UNSEEN not in text

    def test_when_an_image_of_the_folder_links_test_with_training_then_it_is_told(
        self, run, cells, evaluate, tmp_path
    ):
        data = shutil.copytree(cells, tmp_path / "linked")
        other = write_cells(tmp_path / "other", ("7",), seed=9) / "all"
        for who in ("1", "3"):  # one of training, one of test
            shutil.copy(next(other.iterdir()), data / "all" / f"UID_{who}_90_1_all.bmp")
        scored, what, _ = evaluate(run, data)
        assert scored == 4
        assert what.endswith(f"test part, {report.SHARED.format(2)}")

    def test_when_a_test_image_bears_the_name_of_a_training_subject_then_it_is_told(
        self, run, cells, evaluate, tmp_path
    ):
        (tmp_path / "test" / "all").mkdir(parents=True)
        for n, path in enumerate(cells.rglob("UID_3_*")):
            shutil.copy(path, tmp_path / "test" / "all" / f"UID_001_{n}_7_all.bmp")
        scored, what, _ = evaluate(run, tmp_path / "test")
        assert (scored, what.endswith(report.SHARED.format(2))) == (2, True)

    def test_when_test_images_are_there_as_those_of_a_training_subject_too_then_it_is_told(
        self, run, cells, evaluate, tmp_path
    ):
        data = shutil.copytree(cells, tmp_path / "twice")
        for n, path in enumerate(cells.rglob("UID_3_*")):
            shutil.copy(path, data / "all" / f"UID_1_{50 + n}_1_all.bmp")
        scored, what, _ = evaluate(run, data)
        assert scored == 4
        assert report.UNSEEN not in what
        assert "share a name or an image" in what

    @pytest.mark.parametrize("kind", ["jpg", "mirrored", "darker", "shifted"])
    def test_when_training_images_are_changed_then_it_is_said_that_such_are_not_known(
        self, run, cells, evaluate, tmp_path, kind
    ):
        changes = {"mirrored": np.fliplr, "darker": lambda pixels: pixels // 2 + 1,
                   "shifted": lambda pixels: np.roll(pixels, 1, axis=0)}  # fmt: skip
        paths = [*cells.rglob("UID_1_*"), *cells.rglob("UID_H1_*")]
        for n, path in enumerate(paths):  # of training, under other names
            label = path.parent.name
            who = f"{'H' * (label == 'hem')}{80 + n}"
            copy = tmp_path / "copies" / label / f"UID_{who}_{n}_1_{label}.png"
            copy.parent.mkdir(parents=True, exist_ok=True)
            pixels = changes.get(kind, np.asarray)(np.asarray(Image.open(path)))
            copy = copy.with_suffix(".jpg" if kind == "jpg" else ".png")
            Image.fromarray(pixels).save(copy)
        _, what, _ = evaluate(run, tmp_path / "copies")
        assert "whether the network has seen them in another form, or" in what

    def test_when_names_alone_tell_subjects_apart_then_the_sentence_says_so(
        self, cells, evaluate, tmp_path
    ):
        table = known_table(cells, PARTS)  # h3 is H10 in C-NMC; here no shared image tells it
        same = {"H1": "H10", "H4": "h3"}
        table = table.assign(linked_subject=table["linked_subject"].replace(same))
        _, what, text = evaluate(make_run(tmp_path, table), cells)
        assert what.endswith("as far as names and shared images tell, the network had not seen")
        assert what in text

    def test_when_first_weights_are_of_a_file_then_nothing_is_promised(self, run, tmp_path):
        file = tmp_path / "bright.weights.h5"
        file.touch()
        known = report.open_run(run)
        note = f"bright, 8 px, seed 1, {weights.find('bright', None, file).note}"
        told = report.test_note(known._replace(metrics=known.metrics | {"note": note}))
        assert told == f"but its first weights saw unknown images, {report.LITTLE}"

    def test_when_other_images_have_the_same_names_then_they_are_others(
        self, run, evaluate, tmp_path
    ):
        cells, what, _ = evaluate(run, write_cells(tmp_path / "drawn anew", PEOPLE, seed=1))
        assert cells == 12
        assert what.endswith(report.SHARED.format(8))

    def test_when_images_and_subjects_are_others_then_nothing_is_promised(
        self, run, evaluate, tmp_path
    ):
        others = write_cells(tmp_path / "others", ("8", "9", "H8", "H9"), seed=2)
        what = f"8 images, none known as the run's; {report.OTHERS}"
        assert evaluate(run, others)[:2] == (8, what)

    def test_when_a_subject_shares_an_image_with_training_then_it_is_told(
        self, run, cells, evaluate, tmp_path
    ):
        others = write_cells(tmp_path / "others", ("8", "9", "H8", "H9"), seed=2)
        known = next((cells / "all").glob("UID_1_*.bmp")).read_bytes()
        (others / "all" / "UID_9_77_1_all.bmp").write_bytes(known)
        scored, what, _ = evaluate(run, others)
        assert scored == 8
        assert what.endswith(report.SHARED.format(2))

    def test_when_half_of_the_test_part_is_there_then_it_is_said(self, run, evaluate, tmp_path):
        data = write_cells(tmp_path / "some", PEOPLE)
        for path in (data / "all").glob("UID_3_*"):
            path.unlink()
        foreign = write_cells(tmp_path / "foreign", ("9", "H9", "H8"), seed=7)
        shutil.copytree(foreign, data, dirs_exist_ok=True)
        scored, what, text = evaluate(run, data)
        assert (scored, what) == (2, f"2 of the 4 images of the run's test part, {report.UNSEEN}")
        assert "left out: 14 of 16 files; scored as by `--part training`" in text

    @pytest.mark.parametrize("light", [0, 200])
    def test_when_an_image_is_blank_then_it_is_not_scored(self, cells, evaluate, tmp_path, light):
        known = shutil.copytree(cells, tmp_path / "known")
        others = write_cells(tmp_path / "others", ("8", "H8"), seed=2)
        blank = Image.new("RGB", (450, 450), (light,) * 3)
        for path in ("known/all/UID_1_77_1_all", "known/all/UID_3_77_1_all",
                     "others/all/UID_8_88_1_all", "others/hem/UID_H8_88_1_hem"):  # fmt: skip
            blank.save(tmp_path / f"{path}.png")
        with pytest.warns(UserWarning, match="2 images are blank"):
            folder = make_run(tmp_path, known_table(known, PARTS))
        with pytest.warns(UserWarning, match="2 images are blank"):
            scored, what, text = evaluate(folder, others)
        assert (scored, what) == (4, f"4 images, none known as the run's; {report.OTHERS}")
        assert "left out: 2 of 6 files" in text
        with pytest.warns(UserWarning, match="2 images are blank"):
            assert evaluate(folder, known)[:2] == (4, ALL_OF_TEST)

    def test_when_all_images_are_blank_then_there_is_no_score(self, run, tmp_path):
        (tmp_path / "dark" / "all").mkdir(parents=True)
        Image.new("RGB", (450, 450)).save(tmp_path / "dark" / "all" / "UID_8_1_1_all.bmp")
        with (
            pytest.warns(UserWarning, match="1 images are blank"),
            pytest.raises(ValueError, match=r"score on blank images.*says nothing.*1 image$"),
        ):
            report.evaluate_run(run, tmp_path / "dark", tmp_path / "out")

    def test_when_images_are_there_twice_then_each_is_scored_once(
        self, run, cells, evaluate, tmp_path
    ):
        data = shutil.copytree(cells, tmp_path / "twice")
        for path in cells.rglob("*.bmp"):
            name = re.sub(r"_1_(all|hem)", r"_2_\1", path.stem)
            Image.open(path).save(data / path.parent.name / f"{name}.png")
        assert evaluate(run, data)[:2] == (4, ALL_OF_TEST)
        others = write_cells(tmp_path / "others", ("8", "H8"), seed=2)
        first = next((others / "all").iterdir())
        shutil.copy(first, others / "all" / "UID_8_5_5_all.bmp")
        assert evaluate(run, others)[0] == 4

    def test_when_copies_bear_other_subjects_then_those_of_the_run_count(
        self, run, cells, evaluate, tmp_path
    ):
        data = tmp_path / "renamed"
        for number, path in enumerate(cells.rglob("*.bmp")):  # each of a subject of its own
            label = path.parent.name
            (data / label).mkdir(parents=True, exist_ok=True)
            who = f"{'H' * (label == 'hem')}{70 + number}"
            shutil.copy(path, data / label / f"UID_{who}_1_1_{label}.bmp")
        assert "4 cells of 2 subjects" in evaluate(run, data)[2]

    def test_when_an_image_is_labelled_otherwise_then_it_is_refused(self, run, cells, tmp_path):
        data = tmp_path / "other labels"
        (data / "hem").mkdir(parents=True)
        path = next((cells / "all").glob("UID_3_*"))
        shutil.copy(path, data / "hem" / "UID_H3_1_1_hem.bmp")
        with pytest.raises(ValueError, match=r"one label.*hem/UID_H3_1_1_hem.bmp"):
            report.evaluate_run(run, data, tmp_path / "out")

    def test_when_one_subject_is_there_then_there_is_no_interval(self, run, cells, tmp_path):
        data = tmp_path / "one"
        for path in (cells / "all").glob("UID_3_*"):
            (data / "all").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, data / "all")
        scores, what, _ = report.evaluate_run(run, data, tmp_path / "out")
        assert what.startswith("2 of the 4 images")
        assert (scores["subjects"].iloc[0], scores["low"].notna().any()) == (1, False)
        assert "no interval" in performance.in_words(scores.loc["bright"], "accuracy")

    def test_when_the_threshold_is_no_probability_then_it_is_refused(self, run, cells, tmp_path):
        for threshold in (-0.1, 1.1, np.nan):
            with pytest.raises(ValueError, match=rf"threshold={threshold}"):
                report.evaluate_run(run, cells, tmp_path / "out", threshold=threshold)

    def test_when_a_linked_name_is_known_then_the_other_is_shared(self, cells, evaluate, tmp_path):
        table = known_table(cells, PARTS)
        linked = table["linked_subject"].replace("1", "1+9")
        folder = make_run(tmp_path, table.assign(linked_subject=linked))
        others = write_cells(tmp_path / "others", ("9", "H9"), seed=2)
        assert report.SHARED.format(2) in evaluate(folder, others)[1]

    def test_when_all_images_are_known_from_training_then_there_is_no_score(
        self, run, cells, tmp_path
    ):
        seen = write_cells(tmp_path / "seen", ("1", "2", "3", "H1", "H2", "H4"))
        for path in (*seen.rglob("UID_3_*"), *seen.rglob("UID_H4_*")):
            path.unlink()
        with pytest.raises(ValueError, match="says nothing"):
            report.evaluate_run(run, seen, tmp_path / "out")

    def test_when_an_image_is_in_training_too_then_it_is_not_scored(
        self, cells, evaluate, tmp_path
    ):
        table = known_table(cells, PARTS)
        twin = table[table["subject"] == "3"].head(1).assign(split="train")
        folder = make_run(tmp_path, pd.concat([table, twin], ignore_index=True))
        assert evaluate(folder, cells)[0] == 3

    def test_when_subjects_were_on_both_sides_then_the_score_is_too_good(
        self, cells, evaluate, tmp_path
    ):
        table = known_table(cells, ["train", "test"] * 6)
        scored, what, text = evaluate(make_run(tmp_path, table), cells)
        assert scored == 6
        assert "both sides of its split, so the score says little" in what
        assert "had not seen" not in text

    def test_when_the_epoch_was_chosen_on_test_then_the_score_is_too_good(
        self, cells, evaluate, tmp_path
    ):
        folder = make_run(tmp_path, known_table(cells, PARTS), select_on="test")
        _, what, text = evaluate(folder, cells)
        assert "its epoch was chosen on them, so the score says little" in what
        assert "had not seen" not in text

    def test_when_subjects_are_not_recorded_then_nothing_is_promised(
        self, cells, evaluate, tmp_path
    ):
        table = known_table(cells, PARTS, linked_subject=np.nan)
        assert (
            "some subjects are not recorded, so the score says little"
            in evaluate(make_run(tmp_path, table), cells)[1]
        )


class TestOrigin:
    @staticmethod
    def preliminary(folder, people=("57", "58", "H49", "H50"), seed=5):
        """A folder that is named and laid out like the official preliminary set."""
        plain = write_cells(folder / "plain", people, seed)
        target = folder / "C-NMC_test_prelim_phase_data"
        target.mkdir()
        lines = ["Patient_ID,new_names,labels"]
        for number, path in enumerate(sorted(plain.rglob("*.bmp"))):
            path.rename(target / f"{number}.bmp")
            lines.append(f"{path.name},{number}.bmp,{int(path.parent.name == 'all')}")
        labels = folder / "C-NMC_test_prelim_phase_data_labels.csv"
        labels.write_text("\n".join(lines))
        for part in ("all", "hem"):
            (plain / part).rmdir()
        plain.rmdir()
        return folder

    def test_when_a_folder_is_named_like_the_official_set_then_its_content_decides(
        self, run, evaluate, tmp_path
    ):
        _, what, text = evaluate(run, self.preliminary(tmp_path / "data"))
        assert what.endswith(report.OTHERS)
        assert "official" not in text
        assert "C-NMC 2019" not in text

    def test_when_other_parts_are_there_then_their_files_count_as_left_out(
        self, run, evaluate, tmp_path
    ):
        data = self.preliminary(tmp_path / "data")
        write_cells(data / "training_data" / "fold_0", ("8", "H8"), seed=3)
        write_cells(data / "elsewhere" / "deep", ("9",), seed=4)
        left = {part: f"left out: {n} of 14 files; scored as by `--part {part}`"
                for part, n in (("preliminary", 6), ("training", 8))}  # fmt: skip
        assert left["preliminary"] in evaluate(run, data)[2]
        assert left["training"] in evaluate(run, data, part="training")[2]

    def test_when_the_content_is_published_then_it_is_said(
        self, run, evaluate, tmp_path, monkeypatch
    ):
        data = self.preliminary(tmp_path / "data")
        table = image_files.add_digests(cnmc.index(data, "preliminary"))
        published = {"preliminary": (8, cnmc.listing_digest(table))}
        monkeypatch.setattr(official, "PUBLISHED", published)
        monkeypatch.setattr(official, "LABELS_DIGEST", self.labels_digest(table))
        _, what, text = evaluate(run, data)
        assert what.endswith(report.OTHERS)
        assert "Scored: C-NMC 2019, the official preliminary test set. The parts" in text
        assert "Labels are per patient" in text
        assert OTHERS_LABELS not in text
        assert UNKNOWN not in text

    @staticmethod
    def labels_digest(table):
        names = table["path"].map(lambda path: Path(path).name)
        lines = sorted((names + " " + table["subject"] + " " + table["label"] + "\n").tolist())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @pytest.mark.parametrize("change", ["label", "subject"])
    def test_when_the_label_file_is_another_then_the_set_is_not_called_official(
        self, run, evaluate, tmp_path, monkeypatch, change
    ):
        data = self.preliminary(tmp_path / "data")
        table = image_files.add_digests(cnmc.index(data, "preliminary"))
        monkeypatch.setattr(official, "PUBLISHED", {"preliminary": (8, cnmc.listing_digest(table))})
        monkeypatch.setattr(official, "LABELS_DIGEST", self.labels_digest(table))
        labels = data / "C-NMC_test_prelim_phase_data_labels.csv"
        swaps = {"label": ("UID_57_0_1_all.bmp,0.bmp,1", "UID_H57_0_1_hem.bmp,0.bmp,0"),
                 "subject": ("UID_57_", "UID_77_")}  # fmt: skip
        labels.write_text(labels.read_text().replace(*swaps[change]))
        text = evaluate(run, data)[2]
        told = "C-NMC 2019, the preliminary test set, with labels other than the published"
        assert f"Scored: {told}." in text
        assert "official" not in text
        assert "one laboratory" in text
        assert "Labels are per patient" not in text
        assert OTHERS_LABELS in text

    def test_when_a_part_of_the_official_set_is_scored_then_it_is_said(
        self, evaluate, tmp_path, monkeypatch
    ):
        data = self.preliminary(tmp_path / "data")
        table = duplicates.link_subjects(image_files.add_digests(cnmc.index(data, "preliminary")))
        monkeypatch.setattr(official, "PUBLISHED", {"preliminary": (8, cnmc.listing_digest(table))})
        monkeypatch.setattr(official, "LABELS_DIGEST", self.labels_digest(table))
        folder = make_run(
            tmp_path, table.iloc[[0, 1, -1]].assign(split="train", drawn=False, area=9)
        )
        scored, _, text = evaluate(folder, data)
        assert scored == 5
        assert "Scored: C-NMC 2019, a part of the official preliminary test set." in text

    def test_when_the_network_was_trained_on_the_official_test_then_it_is_refused(
        self, tmp_path, monkeypatch
    ):
        data = self.preliminary(tmp_path / "data")
        table = duplicates.link_subjects(image_files.add_digests(cnmc.index(data, "preliminary")))
        published = {"preliminary": (8, cnmc.listing_digest(table))}
        monkeypatch.setattr(official, "PUBLISHED", published)
        folder = make_run(tmp_path, table.assign(split="train", drawn=False, area=9))
        with pytest.raises(ValueError, match="says nothing"):
            report.evaluate_run(folder, data, tmp_path / "out")

    def test_when_a_folder_holds_noise_then_it_is_of_unknown_origin(self, run, evaluate, tmp_path):
        noise = write_cells(tmp_path / "fold_0", ("8", "9", "H8", "H9"), seed=3)
        text = evaluate(run, noise)[2]
        assert "Scored: images of unknown origin" in text
        assert "C-NMC 2019" not in text
        assert UNKNOWN in text
        assert "one laboratory" not in text
        assert "There is no interval over subjects; the one over cells" in text

    @pytest.mark.parametrize("below", ["", "all/.."])
    def test_when_the_marker_lies_above_then_the_cells_are_drawn(
        self, run, cells, evaluate, tmp_path, below
    ):
        data = write_cells(tmp_path / "tree" / "training_data" / "fold_0", PEOPLE)
        (tmp_path / "tree" / cnmc.MARKER).write_text("{}")
        text = evaluate(run, data / below)[2]
        assert "Scored: synthetic stand-in cells, drawn." in text
        assert DRAWN in text

    def test_when_drawn_cells_are_copied_then_the_run_knows_them(self, cells, evaluate, tmp_path):
        folder = make_run(tmp_path, known_table(cells, PARTS, drawn=True))
        assert DRAWN in evaluate(folder, cells)[2]

    def test_when_cells_were_drawn_here_then_a_copy_in_another_form_is_known_without_a_marker(
        self, run, cells, evaluate, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
        drawn = write_cells(tmp_path / "drawn", PEOPLE, seed=8)
        cnmc.keep_drawn(list(image_files.add_digests(cnmc.index(drawn))["pixels"]))
        copies = write_cells(tmp_path / "copies", PEOPLE, seed=8, kind="png")  # the same pixels
        text = evaluate(run, copies)[2]
        assert "Scored: synthetic stand-in cells, drawn." in text
        assert DRAWN in text

    def test_when_a_run_on_drawn_cells_judges_others_then_neither_is_taken_for_the_other(
        self, cells, evaluate, tmp_path
    ):
        folder = make_run(tmp_path, known_table(cells, PARTS, drawn=True))
        others = write_cells(tmp_path / "others", PEOPLE, seed=4)
        scored, what, text = evaluate(folder, others)
        assert (scored, what[-len(report.OTHERS) :]) == (12, report.OTHERS)
        assert "Scored: images of unknown origin." in text
        assert re.search(r"\| train \| 4 \|.* 4 \| 0 \|\n", text)  # all four of them drawn
        assert DRAWN not in text

    def test_when_drawn_cells_are_left_out_then_what_is_scored_is_not_called_drawn(
        self, cells, evaluate, tmp_path
    ):
        table = known_table(cells, PARTS)
        folder = make_run(tmp_path, table.assign(drawn=table["split"] == "train"))
        text = evaluate(folder, cells)[2]
        assert DRAWN not in text

    def test_when_some_cells_are_drawn_then_it_is_said(self, cells, evaluate, tmp_path):
        table = known_table(cells, PARTS)
        folder = make_run(tmp_path, table.assign(drawn=table["label"] == "ALL"))
        text = evaluate(folder, cells)[2]
        assert "synthetic stand-in cells among others" in text
        assert SOME_DRAWN in text
        assert DRAWN not in text

    def test_when_a_marker_lies_far_above_other_folders_then_the_cells_are_not_drawn(
        self, run, evaluate, tmp_path
    ):
        (tmp_path / cnmc.MARKER).write_text("{}")
        data = write_cells(tmp_path / "C-NMC" / "fold_2", ("8", "H8"), seed=6)
        assert "Scored: images of unknown origin." in evaluate(run, data)[2]

    def test_when_a_marker_lies_above_published_cells_then_they_are_not_drawn(
        self, run, evaluate, tmp_path, monkeypatch
    ):
        data = write_cells(tmp_path / "training_data" / "fold_2", ("8",), seed=6)
        (tmp_path / cnmc.MARKER).write_text("{}")
        table = image_files.add_digests(cnmc.index(data))
        monkeypatch.setattr(official, "PUBLISHED", {"fold_2/all": (2, cnmc.listing_digest(table))})
        text = evaluate(run, data)[2]
        assert "Scored: C-NMC 2019." in text
        assert "one laboratory" in text


class TestPredict:
    @pytest.fixture
    def folder(self, tmp_path):
        for name, light in (("a/1.png", 230), ("b/1.png", 20), ("b/10.png", 20), ("b/9.png", 20)):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = np.full((450, 450, 3), light, np.uint8)
            image[0, 0] = light + 1  # else it would be blank
            Image.fromarray(image).save(path)
        return tmp_path / "images"

    def test_when_files_share_a_name_then_each_has_its_row(self, run, folder, tmp_path):
        table, out = report.predict_images(run, folder, tmp_path / "out")
        expected = {"a/1.png": "ALL", "b/1.png": "HEM", "b/9.png": "HEM", "b/10.png": "HEM"}
        assert dict(zip(table["file"], table["called"], strict=True)) == expected
        assert list(pd.read_csv(out / "predictions.csv")["file"]) == list(expected)

    def test_when_one_image_is_truncated_then_the_others_are_judged(self, run, folder, tmp_path):
        data = (folder / "a/1.png").read_bytes()
        (folder / "a/1.png").write_bytes(data[: len(data) // 2])
        (folder / "b/9.png").write_bytes(b"")
        table, _ = report.predict_images(run, folder, tmp_path / "out")
        assert list(table["problem"]) == ["truncated", "", "zero bytes", ""]
        assert list(table["probability"].notna()) == [False, True, False, True]
        assert list(table["called"].fillna("")) == ["", "HEM", "", "HEM"]

    def test_when_images_are_blank_then_they_are_named_and_not_judged(self, run, folder, tmp_path):
        Image.new("RGB", (450, 450)).save(folder / "a/1.png")
        Image.new("RGBA", (450, 450), (200, 20, 90, 0)).save(folder / "b/9.png")  # all see-through
        table, _ = report.predict_images(run, folder, tmp_path / "out")
        blank = ["a/1.png", "b/9.png"]
        assert table.loc[table["problem"].str.contains("blank"), "file"].tolist() == blank
        assert table.loc[table["called"].isna(), "file"].tolist() == blank
        with pytest.raises(ValueError, match=r"None of the images can be judged.*blank"):
            report.predict_images(run, folder / "a", tmp_path / "none")

    def test_when_an_image_is_the_runs_own_then_its_part_is_told(self, run, cells, tmp_path):
        table, _ = report.predict_images(run, cells, tmp_path / "out")
        assert table["part"].value_counts().to_dict() == dict.fromkeys(set(PARTS.values()), 4)

    def test_when_a_blank_image_was_in_training_then_no_part_is_told(self, cells, tmp_path):
        data = shutil.copytree(cells, tmp_path / "data")
        Image.new("RGB", (450, 450)).save(data / "all" / "UID_1_77_1_all.png")
        with pytest.warns(UserWarning, match="blank"):
            table = known_table(data, PARTS)
        table["sha256"] = [hashlib.sha256(Path(p).read_bytes()).hexdigest() for p in table["path"]]
        judged, _ = report.predict_images(make_run(tmp_path, table), data, tmp_path / "out")
        blank = judged["file"].str.endswith("png")
        assert judged["part"].isna().tolist() == blank.tolist()

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there, names are others")
    def test_when_a_link_leads_nowhere_then_the_others_are_judged(self, run, folder, tmp_path):
        (folder / "c.png").symlink_to("gone.png")
        table, _ = report.predict_images(run, folder, tmp_path / "out")
        assert table["file"].iloc[-1] == "c.png"
        assert "No such file or directory" in table["problem"].iloc[-1]
        assert table["probability"].notna().tolist() == [True] * 4 + [False]

    @pytest.mark.skipif(os.name == "nt", reason="names are text there")
    def test_when_a_name_is_no_text_then_the_results_are_written(self, run, folder, tmp_path):
        os.rename(folder / "a/1.png", os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
        table, out = report.predict_images(run, folder, tmp_path / "out")
        assert table.set_index("file")["probability"].notna().sum() == 3
        assert pd.read_csv(out / "predictions.csv")["file"].iloc[-1] == "caf\\udce9.png"

    def test_when_no_image_can_be_read_then_it_is_an_error(self, run, tmp_path):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "1.png").write_bytes(b"no image")
        with pytest.raises(ValueError, match="None of the images can be judged"):
            report.predict_images(run, tmp_path / "images", tmp_path / "out")


class TestDoubts:
    @staticmethod
    def scores(probability):
        label, who = ["ALL", "HEM"] * 30, [f"{n % 10}{'AH'[n % 2]}" for n in range(60)]
        cells = pd.DataFrame({"label": label, "linked_subject": who, "probability": probability})
        return performance.evaluate(cells, draws=50)

    def test_when_nearly_all_cells_get_one_class_then_it_is_doubted(self):
        assert "called ALL" in card.doubts(self.scores(np.linspace(0.6, 0.9, 60)))[0]
        assert "called HEM" in card.doubts(self.scores(np.linspace(0.1, 0.4, 60)))[0]

    def test_when_the_outputs_are_swapped_then_it_is_doubted(self):
        doubts = card.doubts(self.scores([0.1, 0.9] * 30))
        assert "swapped" in doubts[0]
        assert doubts[0] in write(self.scores([0.1, 0.9] * 30))

    def test_when_scores_are_ordinary_then_there_is_no_doubt(self):
        assert card.doubts(self.scores([0.9, 0.1] * 30)) == []
        assert card.doubts(self.scores([0.9, 0.6, 0.2, 0.1] * 15)) == []

    @pytest.mark.parametrize("people", [3, 2])
    def test_when_there_is_no_interval_over_subjects_then_swapped_outputs_are_doubted(self, people):
        who = [f"{'AH'[n % 2]}{n // 2 % people}" for n in range(40)]
        cells = pd.DataFrame({"label": ["ALL", "HEM"] * 20, "linked_subject": who})
        found = performance.evaluate(cells.assign(probability=[0.1, 0.9] * 20), draws=50)
        assert np.isnan(found.loc["roc_auc", "high"]) == (people == 2)
        assert "swapped" in card.doubts(found)[0]

    @pytest.mark.parametrize("label", ["ALL", "HEM"])
    def test_when_one_class_is_there_then_only_calls_of_the_other_are_doubted(self, label):
        cells = pd.DataFrame({"label": [label] * 30, "linked_subject": list("abcdef") * 5})
        for chance in (0.9, 0.1):
            scores = performance.evaluate(cells.assign(probability=chance), draws=9)
            called = "ALL" if chance > 0.5 else "HEM"
            doubts = card.doubts(scores)
            assert len(doubts) == (called != label)
            assert all(f"called {called}" in doubt for doubt in doubts)

    def test_when_few_cells_are_called_one_class_then_that_is_no_doubt(self):
        assert card.one_sided(19, 0) == []
        assert card.one_sided(1, 19) == []
        assert "HEM" in card.one_sided(1, 20)[0]


def write(scores, table=None, **training):
    """The card of a run on three hundred cells, a third of them in each part."""
    table = judged(300) if table is None else table
    facts = {
        "images": "synthetic stand-in cells, drawn",
        "scored_on": "its test part",
        "threshold": 0.5,
        "seed": 3,
    }
    training = {"note": "vgg16, 64 px", "settings": {"model": "vgg16"}, **training}
    split = table.assign(split=["train", "validation", "test"] * 100)
    return card.write_card(pd.concat({"vgg16": scores}, names=["model"]), facts, training, split)


class TestCard:
    def test_when_a_run_is_described_then_all_sections_are_there(self):
        scores = performance.evaluate(judged(300), draws=20)
        text = write(scores, weights_note="random", parameters=1_000)
        heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
        assert heads == [
            "Model card: vgg16", "Intended use", "Data", "Training", "Results", "Limits", "Record"
        ]  # fmt: skip
        assert "Not for diagnosis" in text
        assert "- weights note: random\n- parameters: 1,000\n" in text
        assert "On its test part: 300 cells of 9 subjects." in text
        assert "- seed: 3\n" in text
        assert DRAWN in text
        assert "$" not in text

    def test_when_a_run_learnt_from_augmented_copies_then_they_are_counted_apart(self):
        scores = performance.evaluate(judged(300), draws=5)
        area = np.where(np.arange(300) % 6 == 0, np.nan, 9.0)  # copies: half of a third
        text = write(scores, judged(300).assign(drawn=False, area=area))
        assert "| part | images | ALL | HEM | subjects | drawn | augmented |" in text
        assert re.search(r"\| train \| 100 \|.*\| 0 \| 50 \|\n", text)
        assert re.search(r"\| test \| 100 \|.*\| 0 \| 0 \|\n", text)

    def test_when_the_split_leaks_then_the_card_says_so(self):
        scores = performance.evaluate(judged(300), draws=5)
        assert "**subjects or images are in two of them**" in write(scores)
        apart = judged(300).assign(linked_subject=["a", "b", "c"] * 100)
        assert "no linked subject and no image is in two of them" in write(scores, apart)

    def test_when_subjects_are_not_recorded_then_the_card_does_not_call_the_split_clean(self):
        scores = performance.evaluate(judged(300), draws=5)
        unknown = judged(300).assign(linked_subject=None)
        assert "not all subjects are recorded" in write(scores, unknown)


class TestRealFiles:
    DATA = Path(__file__).resolve().parents[2] / "shared" / "cnmc" / "C-NMC_Leukemia"

    @pytest.mark.skipif(not DATA.is_dir(), reason="the real C-NMC 2019 files are not here")
    def test_when_some_preliminary_images_are_there_then_they_are_scored_as_unknown(
        self, run, evaluate, tmp_path
    ):
        scored, what, text = evaluate(run, self.DATA)
        files = [path for path in tmp_path.rglob("predictions.csv")]
        found = pd.read_csv(files[0]).set_index("file")
        truth = {"1002.bmp": ("HEM", "H49"), "1005.bmp": ("ALL", "57"), "1105.bmp": ("ALL", "53")}
        shown = {Path(name).name: (row.label, row.subject) for name, row in found.iterrows()}
        assert shown == truth
        assert (scored, what) == (3, f"3 images, none known as the run's; {report.OTHERS}")
        assert "Scored: images of unknown origin" in text  # three of 1,867: not the published part
