"""Files that a user names: those without an end, and pipes."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_expedition import ExpeditionServer
from pytest_expedition.cli import main
from pytest_expedition.fake.own_answers import AnswersError, add_answers
from pytest_expedition.report.file import read_report
from pytest_expedition.suite.plan import PlanError, read_replay
from pytest_expedition.suite.target import TargetError
from pytest_expedition.suite.target_file import load
from pytest_expedition.user_files import MOST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = 'url = "http://127.0.0.1:9"\n[[job]]\nname = "import"\npath = "/api/v1/project/1/import"\n'

needs_devices = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")


@needs_devices
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom"])
@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda path: load(path, credentials=False), TargetError),
        (lambda path: add_answers(ExpeditionServer(), path), AnswersError),
        (read_replay, PlanError),
        (read_report, OSError),
    ],
)
def test_a_file_without_an_end_is_refused(
    read: Callable[[Path], object], error: type[Exception], device: str
) -> None:
    with pytest.raises(error, match=f"it is larger than {MOST_BYTES} bytes, or has no end"):
        read(Path(device))


@needs_devices
def test_a_recording_without_an_end_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/dev/zero"]) == 4
    assert "/dev/zero: is not a recording" in capsys.readouterr().err


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def write_to(pipe: Path, content: bytes) -> None:
    threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
class TestPipe:
    """A named pipe, such as `<(command)` of a shell makes; it can be read only once."""

    def test_a_target_file(self, pipe: Path) -> None:
        write_to(pipe, TARGET.encode())
        assert [job.name for job in load(pipe, credentials=False).jobs] == ["import"]

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"hello\n", "pipe: is not a recording: give a HAR file or a trace"),
            (b"99:7:version;", "mitmdump -n -r FLOWS --set hardump=recording.har"),
            (b"\x1f\x8b", "pipe: is empty, or cut off before anything that can be read"),
            (b"", "pipe: is empty"),
        ],
    )
    def test_what_is_not_a_recording(
        self, pipe: Path, content: bytes, told: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_to(pipe, content)
        assert main(["check", str(pipe)]) == 4
        assert told in capsys.readouterr().err

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_recording(
        self, pipe: Path, capsys: pytest.CaptureFixture[str], *, packed: bool
    ) -> None:
        har = b'{"log": {"entries": []}}'
        if packed:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("recording.har", har)
            har = file.getvalue()
        write_to(pipe, har)
        assert main(["check", str(pipe)]) == 5
        assert "no entries" in capsys.readouterr().out

    def test_what_has_no_end_and_is_not_a_recording(
        self, pipe: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def write_until_it_is_closed() -> None:
            with contextlib.suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
                while True:
                    file.write(b"y\n" * 1024)

        writing = threading.Thread(target=write_until_it_is_closed, daemon=True)
        writing.start()
        assert main(["check", str(pipe)]) == 4
        assert "pipe: is not a recording" in capsys.readouterr().err
        writing.join(10)
        assert not writing.is_alive()
