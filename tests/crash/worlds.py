"""Two worlds with the same handle on them: the simulated machine, and real files in a temporary folder."""

from __future__ import annotations

import dbm.dumb
import shutil
import tempfile
from pathlib import Path
from typing import Any

from crash.history import History
from crash.power import cut_power, power_cuts
from crash.session import BASE, Session, open_quietly
from crash.simulated import Machine
from hutch.files import FileSystem
from hutch.store import Store

__all__ = ["RealWorld", "SimulatedWorld", "World"]

_STDLIB_SUFFIXES = (".dat", ".dir", ".bak")


class World:
    """One database, its history, and what can happen to it."""

    can_lose_power = False

    def __init__(self) -> None:
        self.history = History()
        self.folder = Path(tempfile.mkdtemp(prefix="hutch-test-"))

    def open(self, flag: str, **options: Any) -> Session:
        raise NotImplementedError

    def kill(self, sessions: list[Session]) -> None:
        """Every process dies."""
        raise NotImplementedError

    def cut_power(self, sessions: list[Session], choice: int) -> None:
        raise NotImplementedError

    def stdlib_path(self) -> str:
        """Where the stdlib finds the closed database; `take_back` afterwards."""
        raise NotImplementedError

    def take_back(self) -> None:
        raise NotImplementedError

    def backup(self, session: Session) -> dict[bytes, bytes]:
        """Back up, and return what the stdlib sees in the copy."""
        raise NotImplementedError

    def tear_down(self) -> None:
        shutil.rmtree(self.folder)


class SimulatedWorld(World):
    """A simulated machine."""

    can_lose_power = True

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()

    def open(self, flag: str, **options: Any) -> Session:
        return Session(self.machine, self.history, flag, **options)

    def kill(self, sessions: list[Session]) -> None:
        for session in sessions:
            session.process.die()

    def cut_power(self, sessions: list[Session], choice: int) -> None:
        self.kill(sessions)
        cuts = list(power_cuts(["dat", "dir", "log", "idx"], range(choice, choice + 8)))
        self.machine = cut_power(self.machine, cuts[choice % len(cuts)])

    def stdlib_path(self) -> str:
        for suffix in _STDLIB_SUFFIXES:
            path = self.folder / f"db{suffix}"
            path.unlink(missing_ok=True)
            if BASE + suffix in self.machine.names:
                path.write_bytes(self.machine.content(BASE + suffix))
        return str(self.folder / "db")

    def take_back(self) -> None:
        for suffix in _STDLIB_SUFFIXES:
            path = self.folder / f"db{suffix}"
            if path.exists():
                self.machine.write_file(BASE + suffix, path.read_bytes())
            else:
                self.machine.remove_file(BASE + suffix)

    def backup(self, session: Session) -> dict[bytes, bytes]:
        base = "/simulated/backup"
        session.store.backup(base)
        copy = self.folder / "copy"
        for suffix in (".dat", ".dir"):
            copy.with_suffix(suffix).write_bytes(self.machine.content(base + suffix))
        for name in [name for name in self.machine.names if name.startswith(base)]:
            self.machine.remove_file(name)
        return read_by_stdlib(str(copy))


class RealSession(Session):
    """A session on real files."""

    base = ""

    def open_store(self, flag: str, options: dict[str, Any]) -> Store:
        return open_quietly(self.base, flag, FileSystem(), **options)


class RealWorld(World):
    """Real files. A kill is a copy of the files as they are: what other processes would see, page cache and all."""

    def __init__(self) -> None:
        super().__init__()
        self._round = 0
        self._abandoned: list[Session] = []
        self._next_round()

    def _next_round(self) -> None:
        self._round += 1
        self.place = self.folder / f"round {self._round}"
        self.place.mkdir()

    def open(self, flag: str, **options: Any) -> Session:
        session_type = type("RealSession", (RealSession,), {"base": str(self.place / "db")})
        session: Session = session_type(Machine(), self.history, flag, **options)
        return session

    def kill(self, sessions: list[Session]) -> None:
        old = self.place
        self._next_round()
        for path in old.iterdir():
            shutil.copy2(path, self.place / path.name)
        for session in sessions:
            session.store.close()  # it writes to the files that nobody looks at any more

    def stdlib_path(self) -> str:
        return str(self.place / "db")

    def take_back(self) -> None:
        pass

    def backup(self, session: Session) -> dict[bytes, bytes]:
        target = self.folder / "backup"
        session.store.backup(str(target))
        found = read_by_stdlib(str(target))
        for path in self.folder.glob("backup.*"):
            path.unlink()
        return found


def read_by_stdlib(path: str) -> dict[bytes, bytes]:
    """What the stdlib sees in a closed database."""
    with dbm.dumb.open(path, "r") as database:
        return {bytes(key): database[key] for key in database.keys()}  # type: ignore[arg-type]  # noqa: SIM118
