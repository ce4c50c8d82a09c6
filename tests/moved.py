"""Where classes have gone that pickles of tests look for elsewhere; see test_codec_pickles."""

from __future__ import annotations

from typing import Any


class Person:
    """Once had one name, now two."""

    def __init__(self, first: str, last: str) -> None:
        self.first, self.last = first, last

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Person) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "name" in state:
            first, _, last = state.pop("name").partition(" ")
            state |= {"first": first, "last": last}
        vars(self).update(state)


class Outer:
    class Inner:
        def __init__(self, x: int) -> None:
            self.x = x

        class Innermost:
            pass


class Alone:
    """What was once inside another class."""

    def __init__(self, x: int = 0) -> None:
        self.x = x


def function() -> str:
    return "called"
