"""`hutch demo` as a user runs it, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import shelve
import signal
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import hutch
from hutch.cli.app import hutch as command_line
from hutch.cli.demo import course, race
from hutch.cli.demo.crash import COMPLETED, ROUND_KEYS, Killed, kill_writer
from hutch.cli.demo.ucd import code_points, key_of, record_of
from hutch.errors import CorruptHeapError, RecoveryWarning

HUTCH = [sys.executable, "-m", "hutch"]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the demo's own, so that what it leaves there is seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No race: for tests of the rest."""
    monkeypatch.setattr(course, "contenders", lambda folder: [])
    monkeypatch.setattr("hutch.cli.demo.report.Report.speeds", lambda self, demo: None)


@pytest.fixture
def demo(tmp_path: Path) -> course.Demo:
    """A demo whose shelf has been built."""
    demo = course.Demo(str(tmp_path / "unicode"), code_points(300), show_progress=False)
    demo.store()
    return demo


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HUTCH, *arguments], check=False, capture_output=True, text=True, timeout=100)


def test_demo_holds_its_checks_and_measures_both_shelves(temporary: Path) -> None:
    finished = run("demo", "--size", "400", "--json")
    assert finished.stderr == ""
    report = json.loads(finished.stdout)
    assert [check["ok"] for check in report["checks"]] == [True] * 4, report["checks"]
    assert report["ok"]
    assert finished.returncode == 0
    assert report["entries"] == 400
    assert report["unicode"] == unicodedata.unidata_version
    measured = {(cell["contender"], cell["workload"]) for cell in report["speed"]}
    assert measured >= {(name, work) for name in ("hutch", "shelve over dbm.dumb") for work in race.WORKLOADS}
    assert all(cell["microseconds"] > 0 for cell in report["speed"])
    assert list(temporary.iterdir()) == []


def test_demo_prints_its_checks_and_a_table_without_control_codes(temporary: Path) -> None:
    finished = run("demo", "--size", "100")
    assert finished.returncode == 0, finished.stdout
    assert finished.stderr == ""
    assert "\x1b" not in finished.stdout
    assert "\r" not in finished.stdout
    assert "100 objects" in finished.stdout
    assert "All 4 checks held." in finished.stdout
    assert "FAILED" not in finished.stdout
    assert all(workload in finished.stdout for workload in race.WORKLOADS)


def test_progress_is_drawn_on_a_terminal_and_taken_away(temporary: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*HUTCH, "demo", "--size", "600"], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            drawn += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"storing" in drawn
    assert b"100%" in drawn
    # The last bar is erased: nothing but the cursor's return is left after it.
    assert not re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", drawn).rpartition(b"\r")[2].strip()


def test_kept_shelf_is_the_unicode_database_for_any_python(tmp_path: Path, temporary: Path) -> None:
    path = tmp_path / "kept"
    assert run("demo", "--size", "250", "--keep", str(path)).returncode == 0
    assert list(temporary.iterdir()) == []
    with shelve.open(str(path), "r") as shelf:
        assert list(shelf) == [key_of(point) for point in code_points(250)]
        assert shelf["U+0041"]["name"] == "LATIN CAPITAL LETTER A"
        assert all(shelf[key_of(point)] == record_of(point) for point in code_points(250))


@pytest.mark.parametrize("suffix", [".dat", ".dir", ".bak", ".log"])
def test_files_that_exist_are_never_overwritten(tmp_path: Path, suffix: str) -> None:
    precious = tmp_path / f"kept{suffix}"
    precious.write_bytes(b"precious")
    finished = run("demo", "--size", "10", "--keep", str(tmp_path / "kept"))
    assert finished.returncode == 2
    assert f"{precious} exists already" in finished.stderr
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(precious, b"precious")]


def test_termination_leaves_nothing_behind(temporary: Path) -> None:
    with subprocess.Popen([*HUTCH, "demo"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "character database" not in process.stdout.readline():
            pass
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_extra_says_what_to_install(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['demo']; "
        "from hutch.cli import main; sys.exit(main())"
    )
    finished = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 2
    assert "pip install 'hutch[cli]'" in finished.stderr
    assert package in finished.stderr
    assert "Traceback" not in finished.stderr


def test_help_and_version() -> None:
    assert "demo" in run("--help").stdout
    assert re.fullmatch(r"hutch, version \d+\.\d+\.\d+\S*\n", run("--version").stdout)
    assert run("no-such-command").returncode == 2


def test_damage_is_a_message_not_a_traceback(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    def fail(*arguments: object) -> None:
        raise CorruptHeapError("the heap is too short")

    monkeypatch.setattr(course.Demo, "store", fail)
    result = CliRunner().invoke(command_line, ["demo", "--size", "5"])
    assert result.exit_code == 3
    assert "Error: the heap is too short" in result.output
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_failed_check_is_shown_and_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "kill_writer", lambda *arguments, **options: Killed(0, []))
    result = CliRunner().invoke(command_line, ["demo", "--size", "5"])
    assert result.exit_code == 1
    assert "FAILED a writer killed in the middle of a transaction" in result.output
    assert "2 of 4 checks failed." in result.output


def spoil_value(shelf: Any) -> None:
    shelf[key_of(65)] = {"name": "LATIN CAPITAL LETTER B"}


def drop_entry(shelf: Any) -> None:
    del shelf[key_of(66)]


def add_entry(shelf: Any) -> None:
    shelf["intruder"] = 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_value, "U+0041 is {'name': 'LATIN CAPITAL LETTER B'}"),
        (drop_entry, "U+0042 is missing"),
        (add_entry, "intruder ought not to be there"),
    ],
)
def test_every_difference_is_found(demo: course.Demo, spoil: Callable[[Any], None], says: str) -> None:
    with hutch.open(demo.path, "w") as shelf:
        spoil(shelf)
    demo.compare_with_stdlib("compared")
    assert not demo.ok
    assert demo.checks[0].detail == f"1 problems; {says}"


def test_writer_is_really_killed_inside_its_transaction(demo: course.Demo) -> None:
    killed = kill_writer("inside", demo.path, after_lines=1)
    assert killed == Killed(-signal.SIGKILL, ["inside"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        shelf = hutch.open(demo.path, "w")
    with shelf:
        assert set(shelf) == {key_of(point) for point in demo.points} | set(COMPLETED)


def test_half_a_transaction_would_be_noticed(demo: course.Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_a_round(*arguments: object, after_lines: int) -> Killed:
        with hutch.open(demo.path, "w") as shelf:
            for number, key in enumerate(ROUND_KEYS):
                shelf[key] = after_lines + number % 2
        return Killed(-signal.SIGKILL, [str(after_lines)])

    monkeypatch.setattr(course, "kill_writer", half_a_round)
    demo.kill_between_commits()
    assert not demo.ok
    assert demo.checks[0].detail.startswith("3 problems; after commit 1 the transaction's keys held ['1', '2']")


def test_input_is_every_assigned_character() -> None:
    points = code_points()
    assert len(points) > 140_000
    assert points == sorted(set(points))
    kinds = {unicodedata.category(chr(point)) for point in points}
    assert not kinds & {"Cn", "Co", "Cs"}
    assert len(kinds) == 27
    assert code_points(10) == points[:10]


def test_record_says_all_that_unicodedata_knows() -> None:
    assert record_of(0xBD) == {
        "character": "½",
        "name": "VULGAR FRACTION ONE HALF",
        "category": "No",
        "bidirectional": "ON",
        "combining": 0,
        "mirrored": False,
        "east_asian_width": "A",
        "decomposition": "<fraction> 0031 2044 0032",
        "decimal": None,
        "digit": None,
        "numeric": 0.5,
    }
    assert record_of(0)["name"] is None
