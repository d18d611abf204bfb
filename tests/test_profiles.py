import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import settings

PROJECT = Path(settings.__file__).resolve().parents[1]


def test_when_nothing_is_set_then_the_profile_is_workshop(monkeypatch):
    monkeypatch.delenv("CNMC_PROFILE", raising=False)
    assert settings.active().name == "workshop"


def test_when_the_variable_is_set_then_it_decides(monkeypatch):
    monkeypatch.setenv("CNMC_PROFILE", "smoke")
    assert settings.active().name == "smoke"


def test_when_a_name_is_given_then_it_beats_the_variable(monkeypatch):
    monkeypatch.setenv("CNMC_PROFILE", "smoke")
    assert settings.active("paper").name == "paper"


def test_when_the_profile_is_unknown_then_the_error_names_all_and_what_it_received(monkeypatch):
    monkeypatch.setenv("CNMC_PROFILE", "huge")
    with pytest.raises(ValueError, match=r"smoke, workshop, paper.*Received: 'huge'"):
        settings.active()


def test_when_the_profile_is_paper_then_it_has_the_settings_of_the_paper():
    paper = settings.PROFILES["paper"]
    found = paper.train_total, paper.epochs, paper.batch_size, paper.learning_rate
    assert found == (20_000, 100, 30, 2e-4)


def test_when_no_data_is_named_then_there_is_no_data_folder(monkeypatch):
    monkeypatch.setenv("CNMC_DATA", "")
    assert settings.data_dir() is None


def test_when_the_data_folder_is_missing_then_the_error_says_which_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("CNMC_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"CNMC_DATA.*Received: .*nowhere"):
        settings.data_dir()


def test_when_the_data_folder_is_relative_then_it_is_made_absolute(monkeypatch, tmp_path):
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNMC_DATA", "images")
    assert settings.data_dir() == (tmp_path / "images").resolve()


def test_when_the_work_folder_is_named_then_it_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "deep" / "work"))
    assert settings.work_dir() == (tmp_path / "deep" / "work").resolve()
    assert settings.work_dir().is_dir()


def test_when_no_work_folder_is_named_then_it_is_the_projects_data(monkeypatch):
    monkeypatch.delenv("CNMC_WORK", raising=False)
    assert settings.work_dir() == Path(settings.__file__).resolve().parents[1] / "data"


def answer(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Runs code in a process of its own, in a folder and an environment of its own."""
    told = {**os.environ, "PYTHONPATH": str(PROJECT), **env}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=told, capture_output=True,
                          text=True, check=False)  # fmt: skip


def test_when_folders_are_relative_then_processes_in_other_folders_find_the_same(tmp_path):
    ask = "import helpers, os; print(os.environ['CNMC_DATA'], os.environ['CNMC_WORK'])"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}], cwd='/')"
    found = answer(f"import helpers; {inner}", tmp_path, CNMC_DATA="images", CNMC_WORK="../w")
    here = tmp_path.resolve()
    assert found.stdout.split() == [str(here / "images"), str(here.parent / "w")]


@pytest.mark.parametrize("place", ["notebooks", "notebooks/exercises"])
def test_when_a_notebook_starts_with_a_relative_folder_then_it_is_the_projects(monkeypatch, place):
    monkeypatch.chdir(PROJECT / place)
    for name, value in (("CNMC_DATA", "images"), ("CNMC_WORK", "deep/work")):
        monkeypatch.setenv(name, value)
        settings.pin()
        assert os.environ[name] == str(PROJECT / value)


PASTED = ["“/data”", "„/data“", "«/data»", "\u00a0/data", "/data\u200b", "\ufeff/data", "`/data`"]


@pytest.mark.parametrize(
    "value", ['"/data"', " /data ", "'data", "smoke ", " ", "smoke\r", *PASTED]
)
def test_when_quotes_or_blanks_are_around_a_value_then_they_are_named(monkeypatch, value):
    asked = {"CNMC_DATA": settings.data_dir, "CNMC_WORK": settings.work_dir,
             "CNMC_PROFILE": settings.active, "CNMC_CLUSTER": settings.cluster,
             "CNMC_PLAIN": settings.is_plain}  # fmt: skip
    for name, ask in asked.items():
        monkeypatch.setenv(name, value)
        settings.pin()  # leaves it for the one who asks
        with pytest.raises(ValueError, match=rf"{name} holds quotes or blanks.*Received: "):
            ask()


@pytest.mark.parametrize("value", ["~/deep/w", "$HOME/deep/w", "${HOME}/deep/w"])
def test_when_no_shell_has_filled_in_the_home_then_it_is_found(monkeypatch, tmp_path, value):
    monkeypatch.setenv("HOME" if os.name != "nt" else "USERPROFILE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CNMC_WORK", value)
    assert settings.work_dir() == (tmp_path / "deep" / "w").resolve()


@pytest.mark.parametrize("value", ["~nobody-of-that-name/w", "$NO_SUCH_NAME/w", "${NO_SUCH_NAME}"])
def test_when_a_name_in_a_folder_is_unknown_then_it_is_refused_and_nothing_is_made(tmp_path, value):
    told = {"CNMC_DATA": value, "CNMC_WORK": value}
    for ask in ("data_dir", "work_dir"):
        found = answer(f"from helpers import settings; settings.{ask}()", tmp_path, **told)
        assert found.stderr.splitlines()[-1].startswith("ValueError: CNMC_")
        assert found.stderr.rstrip().endswith(f"unknown: write it out. Received: {value!r}")
    assert list(tmp_path.iterdir()) == []


def test_when_a_folder_ends_in_a_dollar_then_it_is_taken_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "home$" / "me"))  # a hidden share of Windows
    assert settings.work_dir() == (tmp_path / "home$" / "me").resolve()


@pytest.mark.parametrize(("value", "plain"), [("", False), ("0", False), ("1", True)])
def test_when_plain_computing_is_asked_for_then_one_says_yes(monkeypatch, value, plain):
    monkeypatch.setenv("CNMC_PLAIN", value)
    assert settings.is_plain() is plain


@pytest.mark.parametrize("value", ["true", "no", "2", "01"])
def test_when_plain_computing_is_asked_for_in_other_words_then_they_are_refused(monkeypatch, value):
    monkeypatch.setenv("CNMC_PLAIN", value)
    with pytest.raises(ValueError, match=rf"CNMC_PLAIN is 1 .* 0 or unset .*Received: '{value}'"):
        settings.is_plain()


def test_when_the_work_folder_cannot_be_made_then_it_says_what_to_set(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "file" / "work"))
    with pytest.raises(PermissionError, match=r"Set CNMC_WORK.*Received: .*file"):
        settings.work_dir()


NUMBERS = "print(keras.config.backend(), keras.config.floatx(), keras.config.image_data_format(), "
NUMBERS += "keras.config.epsilon(), keras.layers.Dense(1).dtype)"


@pytest.mark.parametrize(
    "how",
    ["with settings.start_up():\n import keras", "from helpers.training.loop import keras, "
     "fix_seeds; fix_seeds(1)"],
)  # fmt: skip
def test_when_keras_is_told_otherwise_then_the_series_still_has_its_numbers(tmp_path, how):
    said = '{"floatx": "float64", "image_data_format": "channels_first", "epsilon": 0.01}'
    (tmp_path / "keras.json").write_text(said)
    code = f"from helpers import settings\n{how}\n{NUMBERS}"
    found = answer(code, tmp_path, KERAS_HOME=str(tmp_path), KERAS_BACKEND="torch")
    assert found.stdout.split() == ["tensorflow", "float32", "channels_last", "1e-07", "float32"]


SHORT = """
import numpy as np
from helpers.training.loop import fix_seeds, keras
fix_seeds(1)
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
counted = []
count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: counted.append(1))
model.fit(np.ones((6, 1)), np.ones(6), 2, epochs=3, verbose=0, callbacks=[count])
print(len(counted))
"""


@pytest.mark.parametrize("name", ["KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH"])
def test_when_keras_is_told_to_stop_early_then_a_training_is_as_long_as_asked(tmp_path, name):
    assert answer(SHORT, tmp_path, **{name: "1"}).stdout == "9\n"  # 3 epochs of 3 batches
