"""Fetching the data set: whole or not at all, with a way out where there is no network."""

import os
import shutil
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kagglehub
import pytest
import requests
from kagglehub import http_resolver

from helpers.data import official
from helpers.data.official import PROVENANCE, fetch

IMAGE = "training_data/fold_0/all/UID_1_1_1_all.bmp"


@pytest.fixture
def download(monkeypatch):
    """Stands in for the download; counts the calls and unpacks one file, as kagglehub would."""
    calls = []

    def dataset_download(handle):
        calls.append(handle)
        folder = Path(os.environ["KAGGLEHUB_CACHE"]) / "datasets" / handle / "versions" / "1"
        (folder / "C-NMC_Leukemia" / IMAGE).parent.mkdir(parents=True)
        (folder / "C-NMC_Leukemia" / IMAGE).write_text("cell")
        return str(folder)

    monkeypatch.setattr(kagglehub, "dataset_download", dataset_download)
    return calls


@pytest.fixture(autouse=True)
def disk(monkeypatch):
    """Has the download fit, however full the disk of the tests is; gives a way to change that."""
    usage = namedtuple("usage", "total used free")

    def set_free(free):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1e12, 0, free))

    set_free(1e11)
    return set_free


class TestFetch:
    def test_when_fetched_then_the_images_are_in_their_folder_and_nothing_else(
        self, download, tmp_path
    ):
        folder = fetch(tmp_path / "data")
        assert folder == tmp_path / "data" / "C-NMC_Leukemia"
        assert (folder / IMAGE).read_text() == "cell"
        assert {p.name for p in folder.parent.iterdir()} <= {"C-NMC_Leukemia", ".download.lock"}

    def test_when_it_is_there_then_it_is_not_fetched_again(self, download, tmp_path):
        assert fetch(tmp_path) == fetch(tmp_path)
        assert download == ["andrewmvd/leukemia-classification"]

    def test_when_the_data_are_mounted_then_they_stay_where_they_are(self, monkeypatch, tmp_path):
        monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(tmp_path / "mounted"))
        assert fetch(tmp_path / "data") == tmp_path / "mounted"


class TestTrouble:
    def test_when_there_is_no_network_then_the_manual_route_is_told(self, monkeypatch, tmp_path):
        def fail(handle):
            raise requests.ConnectionError("Name or service not known")

        monkeypatch.setattr(kagglehub, "dataset_download", fail)
        with pytest.raises(ConnectionError, match=r"Received: ConnectionError: Name or") as told:
            fetch(tmp_path)
        for part in ("kaggle.com/datasets/andrewmvd", "10.7937/tcia.2019.dc64i46r", "CNMC_DATA"):
            assert part in str(told.value)
        assert str(tmp_path / "C-NMC_Leukemia") in str(told.value)
        assert not (tmp_path / "C-NMC_Leukemia").exists()

    def test_when_the_disk_is_small_then_nothing_is_fetched(self, download, disk, tmp_path):
        disk(5e9)
        with pytest.raises(OSError, match=r"20\.8 GB of free disk.*Received: .*5\.0 GB free"):
            fetch(tmp_path)
        assert download == []

    def test_when_half_is_there_already_then_it_counts_for_the_disk(self, download, disk, tmp_path):
        disk(official.DISK_NEEDED - 1000)
        (tmp_path / ".download").mkdir()
        (tmp_path / ".download" / "1.archive").write_bytes(bytes(1000))
        assert fetch(tmp_path).is_dir()


class Half(BaseHTTPRequestHandler):
    """Serves an archive, but breaks off in the middle of the first answer."""

    archive, asked = b"", []

    def do_GET(self):
        first, span = not self.asked, self.headers.get("Range")
        self.asked.append(span)
        body = self.archive[int(span[6:-1]) :] if span else self.archive
        self.send_response(206 if span else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if first else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server on this machine in the place of Kaggle's."""
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(f"C-NMC_Leukemia/{IMAGE}", os.urandom(5_000_000))
    Half.archive, Half.asked = (tmp_path / "set.zip").read_bytes(), []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/set.zip"
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http_resolver, "_get_current_version", lambda *_: 1)
    monkeypatch.setattr(http_resolver, "handle_call", lambda *_: requests.get(url, stream=True))
    yield Half
    server.shutdown()
    server.server_close()


def test_when_the_network_breaks_off_then_the_next_call_goes_on_where_it_stopped(server, tmp_path):
    with pytest.raises(ConnectionError, match="goes on where it stopped"):
        fetch(tmp_path / "data")
    left = max((tmp_path / "data").rglob("*.archive"), key=os.path.getsize).stat().st_size
    folder = fetch(tmp_path / "data")
    assert server.asked == [None, None, f"bytes={left}-"]
    assert left > 1_000_000
    assert (folder / IMAGE).stat().st_size == 5_000_000


def test_when_the_provenance_is_read_then_it_has_citation_licence_and_limits():
    for part in ("Gupta", "10.7937/tcia.2019.dc64i46r", "CC BY 3.0", "oncologist", "diagnosis"):
        assert part in PROVENANCE
