"""The Pythons on this machine, and sessions that their own stdlib runs on a database.

Interpreters are found under pyenv's root and on the PATH, whatever the home is called. A session is
one process: it opens a database with the `dbm.dumb` (2.7: `dumbdbm`), `dbm` (`anydbm`) or `shelve` of that
Python, takes some steps, reads every entry and answers in JSON, which 2.7 to 3.13 all speak. Each interpreter is
started once, and forks for each session.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["StdlibPython", "find_interpreters", "newest_interpreter"]

OLDEST = (2, 7)
_NEWEST_MINOR = 15  # names tried on the PATH: python3.6 … python3.15

# Runs under every Python from 2.7 on: no f-strings, no annotations. Each line of its input is a request and gets a line
# of its output for an answer: how the session's process ended, and what it said.
_SESSIONS = r"""
import binascii, json, os, sys, traceback
try:
    import dbm.dumb as dumb
    import dbm as anydbm
    which = anydbm.whichdb
except ImportError:
    import dumbdbm as dumb
    import anydbm
    from whichdb import whichdb as which
import shelve

def raw(text):
    return binascii.unhexlify(text.encode("ascii"))

def hexed(data):
    return binascii.hexlify(data).decode("ascii")

def session(request):
    os.umask(request["umask"])
    answer = {"which": which(request["path"])}
    kind = request["kind"]
    opener = anydbm.open if kind == "anydbm" else dumb.open
    database = opener(request["path"], request["flag"])
    if kind == "shelve":
        if request["flag"] != "n":
            database.close()
            database = shelve.open(request["path"], request["flag"], protocol=2)
        else:
            database = shelve.Shelf(database, protocol=2)

    def name(text):
        key = raw(text)
        return key.decode("utf-8") if kind == "shelve" and sys.version_info[0] > 2 else key

    for step in request["steps"]:
        if step[0] == "set":
            database[name(step[1])] = step[2] if kind == "shelve" else raw(step[2])
        elif step[0] == "delete":
            del database[name(step[1])]
        elif step[0] == "sync":
            database.sync()
        elif step[0] == "die":
            os._exit(9)

    items = []
    for key in database.keys():
        value = database[key]
        if not isinstance(key, bytes):
            key = key.encode("utf-8")
        items.append([hexed(key), value if kind == "shelve" else hexed(value)])
    answer["items"] = items
    answer["count"] = len(database)
    database.close()
    return answer

def child(request, end):
    code = 0
    try:
        said = json.dumps(session(request))
    except BaseException:
        code, said = 1, traceback.format_exc()
    with os.fdopen(end, "wb") as pipe:
        pipe.write(said.encode("utf-8"))
    os._exit(code)

while True:
    line = sys.stdin.readline()
    if not line:
        break
    mine, its = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(mine)
        child(json.loads(line), its)
    os.close(its)
    with os.fdopen(mine, "rb") as pipe:
        said = pipe.read().decode("utf-8")
    status = os.waitpid(pid, 0)[1]
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    sys.stdout.write(json.dumps([code, said]) + "\n")
    sys.stdout.flush()
"""


@functools.cache
def _started(executable: str, _pid: int) -> subprocess.Popen[bytes]:
    """The process of an interpreter that forks for each session; another one in a forked child of this process."""
    process = subprocess.Popen(
        [executable, "-E", "-c", _SESSIONS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/"
    )
    atexit.register(_end, process, os.getpid())
    return process


def _end(process: subprocess.Popen[bytes], pid: int) -> None:
    if os.getpid() == pid:
        process.communicate()


@dataclass(frozen=True)
class StdlibPython:
    """One interpreter and what its standard library does to a database."""

    version: tuple[int, int]
    executable: str

    def __str__(self) -> str:
        return f"{self.version[0]}.{self.version[1]}"

    def session(
        self,
        base: Path | str,
        *,
        flag: str = "w",
        kind: str = "dumb",
        store: Mapping[bytes, Any] | None = None,
        delete: Iterable[bytes] = (),
        die: bool = False,
    ) -> dict[bytes, Any]:
        """Open `base`, delete, store, and return every entry (bytes; objects for ``kind='shelve'``).

        Args:
            kind: ``dumb``, ``anydbm`` or ``shelve`` (protocol 2).
            die: leave through os._exit before the close, as a crash does; returns {}.
        """
        steps: list[list[Any]] = [["delete", key.hex()] for key in delete]
        for key, value in (store or {}).items():
            steps.append(["set", key.hex(), value if kind == "shelve" else bytes(value).hex()])
        if die:
            steps.append(["die"])
        os.umask(umask := os.umask(0))
        request = {"path": os.path.abspath(base), "flag": flag, "kind": kind, "steps": steps, "umask": umask}
        code, said = self._answer(request)
        if die:
            assert code == 9, said
            return {}
        assert code == 0, f"Python {self}: {said}"
        answer = json.loads(said)
        if flag != "n":
            assert answer["which"] in ("dbm.dumb", "dumbdbm"), f"Python {self} takes it for {answer['which']!r}"
        assert answer["count"] == len(answer["items"])
        return {
            bytes.fromhex(key): value if kind == "shelve" else bytes.fromhex(value) for key, value in answer["items"]
        }

    def _answer(self, request: dict[str, Any]) -> tuple[int, str]:
        process = _started(self.executable, os.getpid())
        assert process.stdin is not None and process.stdout is not None
        left = memoryview(json.dumps(request).encode() + b"\n")
        while left:
            left = left[process.stdin.write(left) :]
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], 60)
            piece = process.stdout.read(1 << 16) if ready else b""
            assert piece, f"Python {self} says nothing more: {process.poll()}, {answer[-1000:]!r}"
            answer += piece
        code, said = json.loads(answer)
        return code, said


def _candidates() -> Iterable[str]:
    yield sys.executable
    roots = [os.environ.get("PYENV_ROOT"), os.path.join(os.path.expanduser("~"), ".pyenv")]
    pyenv = shutil.which("pyenv")
    if pyenv:
        roots.append(os.path.dirname(os.path.dirname(os.path.realpath(pyenv))))
    for root in filter(None, roots):
        versions = Path(root) / "versions"
        if versions.is_dir():
            for folder in sorted(versions.iterdir()):
                yield str(folder / "bin" / "python")
    # A shim only forwards to one of the interpreters above, through a shell.
    folders = [folder for folder in os.get_exec_path() if os.path.basename(folder) != "shims"]
    for name in ("python2.7", *(f"python3.{minor}" for minor in range(6, _NEWEST_MINOR + 1))):
        found = shutil.which(name, path=os.pathsep.join(folders))
        if found:
            yield found


@functools.cache
def find_interpreters() -> tuple[StdlibPython, ...]:
    """One interpreter of each minor version that runs here and has `dbm.dumb`, oldest first."""
    found: dict[tuple[int, int], StdlibPython] = {}
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for executable in _candidates():
        if not os.access(executable, os.X_OK):
            continue
        done = subprocess.run([executable, "-E", "-S", "-c", ask], capture_output=True, timeout=60, check=False)
        match = re.fullmatch(rb"(\d+)\.(\d+)\s*", done.stdout)
        if done.returncode == 0 and match:
            version = (int(match[1]), int(match[2]))
            if version >= OLDEST:
                found.setdefault(version, StdlibPython(version, executable))
    return tuple(found[version] for version in sorted(found))


def newest_interpreter() -> StdlibPython:
    return find_interpreters()[-1]
