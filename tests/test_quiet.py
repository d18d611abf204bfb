"""What is written past Python's own stderr is muted, and only for so long."""

import os

import pytest

from helpers import settings


def test_when_c_code_writes_to_stderr_then_it_is_muted_and_later_writes_are_not(capfd):
    with settings.start_up():
        os.write(2, b"noise")
    os.write(2, b"signal")
    assert capfd.readouterr().err == "signal"


def test_when_the_import_fails_then_the_error_passes_and_stderr_is_back(capfd):
    with pytest.raises(ModuleNotFoundError), settings.start_up():
        raise ModuleNotFoundError("no TensorFlow")
    os.write(2, b"signal")
    assert capfd.readouterr().err == "signal"


def test_when_used_many_times_then_no_descriptor_leaks():
    before = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    for _ in range(20):
        with settings.start_up():
            pass
    after = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0
    assert after <= before
