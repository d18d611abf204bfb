from pathlib import Path

import pytest

from helpers import settings


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
