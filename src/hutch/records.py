"""Named tuples without `typing` and without `collections.namedtuple`, whose imports cost more than hutch's own.

To a type checker this is `typing.NamedTuple`; at run time a small stand-in that has what hutch uses of it:
fields by name, positional construction, `_replace`. Floor 0.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]  # what namedtuple's own fields are made of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple
else:

    def _new(cls, *values):
        if len(values) != len(cls._fields):
            raise TypeError(f"{cls.__name__} takes {len(cls._fields)} values, got {len(values)}")
        return tuple.__new__(cls, values)

    def _replace(self, **values):
        return tuple.__new__(type(self), [values.get(name, old) for name, old in zip(self._fields, self, strict=True)])

    def _repr(self):
        pairs = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({', '.join(pairs)})"

    class _Meta(type):
        def __new__(mcls, name, bases, namespace):
            if not bases:
                return super().__new__(mcls, name, bases, namespace)
            fields = tuple(namespace.get("__annotations__", ()))
            body = {field: _tuplegetter(number, field) for number, field in enumerate(fields)}
            body.update(
                __slots__=(),
                __doc__=namespace.get("__doc__"),
                __module__=namespace["__module__"],
                __qualname__=namespace["__qualname__"],
                __new__=_new,
                __repr__=_repr,
                _fields=fields,
                _replace=_replace,
            )
            return type(name, (tuple,), body)

    class NamedTuple(metaclass=_Meta):
        """Base of hutch's records."""


__all__ = ["NamedTuple"]
