"""What draws, or is typed into: watch, shell, progress bars and colours, on a real terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

import hutch
from command_line import HUTCH, command, make_all, spawn
from hutch import dbm
from hutch.cli.shell import Completer
from hutch.cli.stat import measure
from hutch.cli.watch import Watcher

PATIENCE = 30
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    return folder


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    with hutch.open(tmp_path / "stock") as shelf:
        shelf.update(apples={"count": 3}, pears=[1, 2])
    return tmp_path / "stock"


class Terminal:
    """A command on a terminal."""

    def __init__(
        self,
        *arguments: str | Path,
        environment: dict[str, str] | None = None,
        program: str = "",
        columns: int = 100,
    ) -> None:
        start = ["-c", program] if program else ["-m", "hutch"]
        self.child = pexpect.spawn(
            sys.executable,
            [*start, *map(os.fspath, arguments)],
            encoding="utf-8",
            timeout=PATIENCE,
            dimensions=(30, columns),
            # A size in the environment would count for more than that of the terminal.
            env={
                **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")},
                "TERM": "xterm",
                **(environment or {}),
            },
        )

    def expect(self, text: str) -> str:
        """Wait for a text; returns what came before it."""
        self.child.expect_exact(text)
        return str(self.child.before)

    def type(self, text: str) -> None:
        self.child.send(text)

    def interrupt(self) -> None:
        """Ctrl-C, and the end of the input: it wakes a read that began just after the signal came."""
        self.child.sendintr()
        try:
            self.child.sendeof()
        except OSError:
            pass  # it has gone already

    def finish(self) -> tuple[int, str]:
        """Its exit code, and what it still printed."""
        rest = self.child.read()
        self.child.close()
        assert self.child.exitstatus is not None
        return self.child.exitstatus, rest


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Those that a test has opened; none outlives it."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.child.close(force=True)


# watch.


def test_watch_tells_what_another_process_does(stock: Path, terminals: list[Terminal]) -> None:
    terminals.append(watch := Terminal("watch", stock, "--interval", "0.01"))
    watch.expect(f"Watching {stock}, 2 keys; Ctrl-C ends it.")
    assert spawn("set", stock, "plums", "5", "--as", "json").code == 0
    watch.expect("+ plums")
    assert "5" in watch.expect("\n")
    with hutch.open(stock, "w") as shelf:
        shelf["apples"] = {"count": 4}
        watch.expect("~ apples")
        assert "{'count': 4}" in watch.expect("\n")
        del shelf["pears"]
        watch.expect("- pears")
        shelf.clear()
        watch.expect("- apples")
        watch.expect("- plums")
    watch.child.sendintr()
    code, rest = watch.finish()
    assert code == 130
    assert "Interrupted." in rest
    assert "Traceback" not in rest


def test_watch_for_machines(stock: Path) -> None:
    child = subprocess.Popen(
        [*HUTCH, "watch", str(stock), "--json", "-n", "2", "--interval", "0.01", "--prefix", "p"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stderr.readline().startswith("Watching ")
    with hutch.open(stock, "w") as shelf:
        shelf["apples"] = 1
        shelf["pears"] = (1,)
        assert json.loads(child.stdout.readline()) == {"change": "~", "key": "pears", "value": {"$tuple": [1]}}
        del shelf["pears"]
        assert json.loads(child.stdout.readline()) == {"change": "-", "key": "pears"}
    assert child.communicate(timeout=PATIENCE) == ("", "")
    assert child.returncode == 0


def test_watch_ends_when_the_database_goes(stock: Path, terminals: list[Terminal]) -> None:
    terminals.append(watch := Terminal("watch", stock, "--interval", "0.01"))
    watch.expect("Ctrl-C ends it.")
    for file in stock.parent.iterdir():
        file.unlink()
    code, rest = watch.finish()
    assert code == 4
    assert "has been removed" in rest


def test_watcher_finds_every_change_whatever_happens_to_the_journal(tmp_path: Path) -> None:
    def told() -> list[tuple[str, bytes]]:
        return list(watcher.poll())

    with dbm.open(tmp_path / "x") as writer:
        writer["a"] = b"1"
        with dbm.open(tmp_path / "x", "r") as reader:
            watcher = Watcher(reader.store)
            assert told() == []
            writer["b"] = b"2"
            writer["a"] = b"3"
            assert told() == [("+", b"b"), ("~", b"a")]
            assert told() == []
            writer["c"] = b"4"
            writer.sync()  # a checkpoint: the journal begins anew
            writer["b"] = b"5"
            assert sorted(told()) == [("+", b"c"), ("~", b"b")]
            writer.reorganize()
            assert told() == []
            with writer.transaction():
                writer["d"] = b"6"
                del writer["a"]
            assert sorted(told()) == [("+", b"d"), ("-", b"a")]
            writer["e"] = b"7"
            del writer["e"]
            assert told() in ([("+", b"e"), ("-", b"e")], [])
            writer.clear()
            assert sorted(told()) == [("-", b"b"), ("-", b"c"), ("-", b"d")]
            writer["b"] = b"8"
            assert told() == [("+", b"b")]
            writer["b"] = b"8"
            assert told() == [], "the same value once more"
            watcher.close()


def test_watcher_sees_what_comes_while_it_compares_everything(tmp_path: Path) -> None:
    with dbm.open(tmp_path / "x") as writer, dbm.open(tmp_path / "x", "r") as reader:
        writer.update({f"key{number}": b"1" for number in range(1200)})
        watcher = Watcher(reader.store)
        assert watcher.key_count == 1200
        del writer["key0"], writer["key1100"]
        writer["key5"] = b"2"
        writer.sync()
        changes = watcher.poll()
        assert next(changes) == ("~", b"key5")
        del writer["key7"]
        writer["key1"] = b"3"
        writer["key0"] = b"4"  # gone when the walk began, there when what is missing is looked for
        writer["new"] = b"5"
        told = dict.fromkeys(key for _, key in [*changes, *watcher.poll()])
        assert set(told) == {b"key0", b"key1", b"key7", b"key1100", b"new"}
        assert watcher.key_count == len(writer)
        assert list(watcher.poll()) == []
        before = writer.keys()
        writer.clear()
        assert sorted(watcher.poll()) == sorted(("-", key) for key in before)
        watcher.close()


def test_watcher_of_what_the_stdlib_wrote(tmp_path: Path) -> None:
    (tmp_path / "x.dir").write_text("'a', (0, 3)\n'b', (512, 5)\n")
    (tmp_path / "x.dat").write_bytes(b"red".ljust(512, b"\0") + b"green")
    with dbm.open(tmp_path / "x", "r") as reader:
        watcher = Watcher(reader.store)
        assert spawn("set", tmp_path / "x", "a", "blue", "--codec", "raw").code == 0
        assert list(watcher.poll()) == [("~", b"a")]
        watcher.close()


def test_memory_does_not_grow_with_the_number_of_keys(tmp_path: Path) -> None:
    """Of what Python allocates; the table of SQLite has a cache of a fixed size, and a file."""
    with dbm.open(tmp_path / "x") as writer:
        writer.update({f"key{number:05}": b"" for number in range(20_000)})
    with dbm.open(tmp_path / "x", "r") as reader:
        uses: list[Callable[[], object]] = [lambda: measure(reader.store), lambda: Watcher(reader.store).close()]
        for use in uses:
            use()  # imports, and what the handle keeps
            tracemalloc.start()
            use()
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak_bytes < 20_000 * 30  # a list of the keys alone takes more


# shell.


def test_shell_has_history_and_completion(stock: Path, tmp_path: Path, terminals: list[Terminal]) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHON_BASIC_REPL": "1"}
    terminals.append(shell := Terminal("shell", stock, environment=environment))
    shell.expect("(2 keys, read-only). Ctrl-D ends it.")
    shell.expect(">>> ")
    shell.type('shelf["app\t]\n')
    shell.expect("{'count': 3}")
    shell.expect(">>> ")
    shell.type("shelf.setdef\t'apples')\n")
    shell.expect("{'count': 3}")
    shell.expect(">>> ")
    shell.type('shelf["new"] = 1\n')
    shell.expect("opened for reading only")
    shell.expect(">>> ")
    shell.type("\x04")
    assert shell.finish()[0] == 0
    terminals.append(again := Terminal("shell", stock, "--write", environment=environment))
    again.expect(">>> ")
    again.type("\x1b[A\n")  # the last line of the time before
    again.expect(">>> ")
    again.type("exit()\n")
    assert again.finish()[0] == 0
    assert command("get", stock, "new").out == "1\n"
    assert (tmp_path / "state" / "hutch" / "history").stat().st_mode & 0o077 == 0


def test_shell_reads_a_script(stock: Path, world: Path) -> None:
    script = "print(sorted(shelf))\nfor key in shelf:\n    print(db[key][:1])\n\nshelf['nothing']\n"
    answer = spawn("shell", stock, input=script)
    assert answer.code == 1, "something has raised an error"
    assert spawn("shell", stock, input="print(len(shelf))\n") == (0, "2\n", "")
    assert spawn("shell", stock, input="a b\n").code == 1
    assert answer.out.splitlines() == ["['apples', 'pears']", "b'\\x80'", "b'\\x80'"]
    assert answer.err.endswith("KeyError: 'nothing'\n\n") or answer.err.endswith("KeyError: 'nothing'\n")
    told = command("shell", world / "mixed", "-c", "shelf['loud']")
    assert told.code == 5
    assert "names posix.mkdir" in told.err
    assert command("shell", stock, "--write", "-c", "shelf['apples'] = [5]").code == 0
    assert command("get", stock, "apples").out == "[5]\n"
    assert not (world / "unpickled").exists()


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("exit(7)", 7, ""),
        ("shelf['nothing']", 1, "KeyError: 'nothing'"),
        ("a b", 1, "SyntaxError"),
        ("shelf['apples'] = 1", 4, "say --write to change it"),
        ("db.close(); shelf['apples']", 4, "closed"),
    ],
)
def test_shell_ends_as_what_it_runs_ends(stock: Path, program: str, code: int, said: str) -> None:
    answer = spawn("shell", stock, "-c", program)
    assert answer.code == code
    assert said in answer.err
    assert "click" not in answer.err, "no frames but those of what was run"
    assert answer.out == ""


def test_shell_completes_keys_of_every_kind() -> None:
    with hutch.Shelf({}) as shelf:
        shelf.dict.update({b"it's": b"", b"two words": b"", b"two/parts": b"", b"\xff": b"", b'a"b': b""})
        completer = Completer({"shelf": shelf, "db": shelf.dict, "number": 5}, closes=False)
        closing = Completer({"shelf": shelf}, closes=True)

        def found(line: str, text: str, completer: Completer = completer) -> list[str]:
            answers = [completer.complete_line(line, text, state) for state in range(10)]
            return [answer for answer in answers if answer is not None]

        assert found('shelf["two', "two") == ["two words", "two/parts"]
        assert found('shelf["two wo', "two wo") == ["two words"]
        assert found('shelf["two wo', "wo") == ["words"]
        assert found("shelf['it", "it") == []
        assert found('x = shelf["it', "it") == ["it's"]
        assert found("shelf['a", "a") == ['a"b']
        assert found("shelf['a", "a", closing) == ["a\"b']"]
        assert found("db[b'\\x", "x") == ["xff"]
        assert found('number["', "") == []
        assert found("shelf.setdef", "shelf.setdef") == ["shelf.setdefault("]
    assert found('shelf["two', "two") == []


# Colours, layout and progress.


def test_a_table_has_colours_on_a_terminal_only(world: Path, terminals: list[Terminal]) -> None:
    terminals.append(terminal := Terminal("stat", world / "big"))
    code, text = terminal.finish()
    assert code == 0
    assert "\x1b[36m" in text
    plain = [line.rstrip() for line in CONTROL.sub("", text).splitlines()]
    piped = [line.rstrip() for line in spawn("stat", world / "big").out.splitlines()]
    assert plain == piped


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_stat_fits_a_terminal(world: Path, terminals: list[Terminal], columns: int) -> None:
    """No number is cut off, and nothing is wider than the terminal."""
    wide = command("stat", world / "giant").out
    terminals.append(terminal := Terminal("stat", world / "giant", columns=columns))
    code, text = terminal.finish()
    assert code == 0
    lines = CONTROL.sub("", text).splitlines()
    assert max(map(len, lines)) <= columns
    assert "".join(wide.replace("█", "").split()) == "".join("".join(lines).replace("█", "").split())
    assert all(line == line.rstrip() for line in [*lines, *wide.splitlines()])


def test_no_color_is_no_color(world: Path, terminals: list[Terminal]) -> None:
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        terminals.append(terminal := Terminal("stat", world / "stock", environment=environment))
        _, text = terminal.finish()
        assert "\x1b[36m" not in text


def test_get_lays_a_value_out_on_a_terminal(tmp_path: Path, terminals: list[Terminal]) -> None:
    with hutch.open(tmp_path / "x") as shelf:
        shelf["long"] = {f"name {number}": "x" * 20 for number in range(5)}
    terminals.append(terminal := Terminal("get", tmp_path / "x", "long"))
    _, text = terminal.finish()
    assert len(text.splitlines()) == 5
    assert len(command("get", tmp_path / "x", "long").out.splitlines()) == 1


# As `hutch`, but everything takes more than a second.
SLOW = "import sys; from hutch.cli import main, progress; progress.DELAY_SECONDS = 0; main()"

BARS = [
    ["check", "big"],
    ["dump", "big", os.devnull],
    ["backup", "big", "copy"],
    ["classes", "big"],
    ["stat", "big"],
    ["diff", "big", "big", "--brief"],
    ["convert", "big", "copy"],
    ["convert", "big", "copy.sqlite"],
    ["check", "big.sqlite"],
    ["stat", "big.sqlite"],
    ["reorganize", "big"],
    ["recode", "big", "--compress", "zlib"],
    ["load", "copy", "big.jsonl", "--create"],
]


@pytest.fixture(scope="module")
def forms(world: Path) -> Path:
    """The world, with what can be made of the big database."""
    assert command("convert", world / "big", world / "big.sqlite").code == 0
    assert command("dump", world / "big", world / "big.jsonl").code == 0
    return world


@pytest.mark.parametrize("arguments", BARS, ids=" ".join)
def test_what_takes_long_shows_a_bar_and_takes_it_away(
    forms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: list[Terminal], arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in forms.glob("big*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    terminals.append(terminal := Terminal(*arguments, program=SLOW))
    code, text = terminal.finish()
    assert code == 0
    assert re.search(r"━.*\d+/(5000|10000)", CONTROL.sub("", text))
    assert text.rstrip().splitlines()[-1].count("━") == 0


def test_without_a_terminal_there_is_no_bar(world: Path) -> None:
    piped = subprocess.run(
        [sys.executable, "-c", SLOW, "check", str(world / "big")],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert piped.stderr == ""
    assert "\x1b" not in piped.stdout


@pytest.mark.parametrize("arguments", [["dump"], ["keys"], ["items"], ["diff", "empty"]], ids=lambda each: each[0])
def test_a_bar_does_not_get_between_lines(
    world: Path, tmp_path: Path, terminals: list[Terminal], arguments: list[str]
) -> None:
    """On a terminal the lines are progress enough; where they go elsewhere, there is a bar."""
    with hutch.open(tmp_path / "many") as shelf:
        shelf.update({f"key{number:03}": {"number": number} for number in range(400)})
    name, *more = arguments
    words = [name, str(tmp_path / "many"), *(str(world / other) for other in more)]
    terminals.append(terminal := Terminal(*words, program=SLOW))
    _, text = terminal.finish()
    assert "━" not in text
    assert "key399" in text
    shell = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLOW!r}, *{words!r}], stdout=-3)"
    terminals.append(terminal := Terminal(program=shell))
    assert re.search(r"━.*\d+/400", CONTROL.sub("", terminal.finish()[1]))


def test_what_is_said_stands_above_the_bar(tmp_path: Path, terminals: list[Terminal]) -> None:
    make_all(tmp_path)
    arguments = ["dump", str(tmp_path / "damaged"), str(tmp_path / "file")]
    terminals.append(terminal := Terminal(*arguments, program=SLOW))
    code, text = terminal.finish()
    assert code == 3
    (line,) = (line for line in text.splitlines() if "Damaged: " in line)
    assert CONTROL.sub("", line).startswith("Damaged: the value of b'key2'")


def test_a_bar_is_gone_after_ctrl_c(world: Path, terminals: list[Terminal]) -> None:
    program = SLOW.replace(
        "main()",
        "plain = progress.Steps.advance\n"
        "def advance(self, count=1):\n"
        "    plain(self, count)\n"
        "    if self.done == 100: print('inside', flush=True); sys.stdin.read()\n"
        "progress.Steps.advance = advance\nsys.exit(main())",
    )
    terminals.append(terminal := Terminal("check", world / "big", program=program))
    terminal.expect("inside")
    terminal.interrupt()
    code, text = terminal.finish()
    assert code == 130
    assert "Stopped while checking, after 100 of 5,000." in text
    assert text.rstrip().endswith("Interrupted.")


def test_ctrl_c_in_the_demo_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: list[Terminal]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = (
        "import sys; from hutch.cli import main; from hutch.cli.demo.report import Report\n"
        "def stored(self, demo): print('inside', flush=True); sys.stdin.read()\n"
        "Report.stored = stored; sys.exit(main())"
    )
    terminals.append(demo := Terminal("demo", "--size", "200", program=program))
    demo.expect("inside")
    demo.interrupt()
    code, text = demo.finish()
    assert code == 130
    assert text.rstrip().endswith("Interrupted.")
    assert list(tmp_path.iterdir()) == []
