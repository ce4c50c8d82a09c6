"""docs/cli.md shows what the command prints. `python tests/test_cli_docs.py` writes its examples anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def regenerated(text: str, folder: Path) -> str:
    """The page with what its commands print now, run from top to bottom in one folder."""
    programs = folder / "programs"
    programs.mkdir()
    for name, arguments in {"hutch": "-m hutch", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}
    place = folder / "place"
    place.mkdir()

    def block(match: re.Match[str]) -> str:
        commands = [line[2:] for line in match[1].splitlines() if line.startswith("$ ")]
        script = "".join(f"echo '$ '{quoted(line)}; (exit $code); {line}\ncode=$?\n" for line in commands)
        done = subprocess.run(
            ["bash", "-c", "exec 2>&1; code=0\n" + script],
            cwd=place,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=100,
        )
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        return "```console\n" + "\n".join(lines) + "\n```"

    return BLOCK.sub(block, text)


def quoted(line: str) -> str:
    return "'" + line.replace("'", "'\\''") + "'"


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pickles of Python 3.14 are of another protocol")
def test_the_examples_are_what_is_printed(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(text)) >= 7
    assert regenerated(text, tmp_path) == text, "run python tests/test_cli_docs.py"


def test_the_page_names_every_command_and_form() -> None:
    from hutch.cli.app import _COMMANDS

    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in _COMMANDS if not re.search(rf"(hutch |`){name}\b", text)]
    assert not missing


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(regenerated(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
