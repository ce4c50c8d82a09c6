"""Forked processes that talk to the test over a pipe, so that no test has to sleep or guess.

A child runs one function. What it says arrives in order, also after it was killed; an exception in it
is raised in the test with the child's traceback. A child that has not answered within `PATIENCE_SECONDS`
fails the test; nothing ever waits for a fixed time otherwise.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from types import TracebackType
from typing import Any, Self

__all__ = ["PATIENCE_SECONDS", "Child", "Line"]

PATIENCE_SECONDS = 60


class _Failure:
    """The last words of a child that raised."""

    def __init__(self, text: str) -> None:
        self.text = text


class Line:
    """One end of the pipe between a test and its child."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def say(self, message: object = None) -> None:
        self.connection.send(message)

    def hear(self) -> Any:
        """The next message. Raises EOFError when the other side is gone."""
        if not self.connection.poll(PATIENCE_SECONDS):
            raise AssertionError(f"nothing heard for {PATIENCE_SECONDS} seconds")
        try:
            message = self.connection.recv()
        except OSError:  # reset, or killed in the middle of a message
            raise EOFError from None
        if isinstance(message, _Failure):
            raise AssertionError("in the child:\n" + message.text)
        return message

    def hear_all(self) -> Iterator[Any]:
        """Every message up to the end of the other side."""
        while True:
            try:
                message = self.hear()
            except EOFError:
                return
            yield message


class Child(Line):
    """A forked process running ``work(line, *arguments)``."""

    def __init__(self, work: Callable[..., object], *arguments: Any) -> None:
        mine, its = Pipe()
        super().__init__(mine)
        self.exit_status: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Under xdist the process has a second thread, which only waits for a socket.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid:
            its.close()
            return
        status = 1
        try:
            gc.freeze()  # nothing of the parent's is the child's to collect, and looking at it would copy it
            mine.close()
            signal.alarm(2 * PATIENCE_SECONDS)  # never outlive the test run
            work(Line(its), *arguments)
            status = 0
        except BaseException:  # noqa: BLE001 - all of it goes to the parent, which raises it
            its.send(_Failure(traceback.format_exc()))
        finally:
            os._exit(status)

    def stop(self) -> None:
        """SIGSTOP, and return once it has stopped."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and return once it is dead. Its messages can still be heard."""
        if self.exit_status is None:
            os.kill(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        if self.exit_status is None:
            self.exit_status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.exit_status

    def finish(self) -> list[Any]:
        """Wait for its end, which must be a good one; returns what it still said."""
        rest = list(self.hear_all())
        status = self._reap()
        assert status == 0, f"the child ended with status {status}"
        return rest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.exit_status is None:
                self.finish()
        finally:
            self.kill()
            self.connection.close()
