"""Every error and warning that hutch raises.

    HutchError (OSError)                 the family; ``hutch.dbm.error`` is this class
    ├── ClosedError                      the database has been closed
    ├── ReadOnlyError                    the database is opened for reading only
    ├── LockTimeout (TimeoutError)       a lock was not free within the timeout
    ├── DeadlockError                    this thread waits for a lock that it holds itself
    ├── TransactionError                 a transaction is used in a way that it does not allow
    ├── OutcomeUnknownError              a sync failed: what reached the disk is unknown
    ├── UnsupportedFileError (ValueError) not a file that this version of hutch reads
    ├── CodecError (ValueError)          the bytes of a value make no object under the codec that was given
    │   ├── WrongCodecError              they were written under another one
    │   ├── ForbiddenGlobalError         they name a class or function that is not allowed
    │   ├── LimitError                   they would make more, or nest deeper, than is allowed
    │   └── TamperedError                they are not what the holder of the key wrote in this place
    └── CorruptError                     bytes on the disk are not what was stored
        ├── CorruptDirectoryError (ValueError)
        ├── CorruptHeapError             the heap is shorter than the directory says, or missing
        ├── CorruptEntryError            one entry; every other one stays readable
        ├── CorruptIndexError            internal: answered by a rebuild
        └── CorruptJournalError

    HutchWarning (UserWarning)
    ├── RecoveryWarning                  something was repaired or set aside; says what and where
    └── UnstoredChangeWarning            an object of a shelf was changed and never stored

A foreign ``OSError`` (no space, no permission) passes through as the operating system raised it.
"""

from __future__ import annotations

__all__ = [
    "ClosedError",
    "CodecError",
    "CorruptDirectoryError",
    "CorruptEntryError",
    "CorruptError",
    "CorruptHeapError",
    "CorruptIndexError",
    "CorruptJournalError",
    "DeadlockError",
    "ForbiddenGlobalError",
    "HutchError",
    "HutchWarning",
    "LimitError",
    "LockTimeout",
    "OutcomeUnknownError",
    "ReadOnlyError",
    "RecoveryWarning",
    "TamperedError",
    "TransactionError",
    "UnstoredChangeWarning",
    "UnsupportedFileError",
    "WrongCodecError",
]

CLOSED = "DBM object has already been closed"
READ_ONLY = "The database is opened for reading only"


class HutchError(OSError):
    """Base of every error that hutch raises about a database."""


class ClosedError(HutchError):
    """The handle has been closed."""

    def __init__(self, message: str = CLOSED) -> None:
        super().__init__(message)


class ReadOnlyError(HutchError):
    """The handle was opened with flag ``'r'``."""

    def __init__(self, message: str = READ_ONLY) -> None:
        super().__init__(message)


class LockTimeout(HutchError, TimeoutError):
    """A lock was not free within the handle's ``timeout`` (seconds)."""


class DeadlockError(HutchError):
    """Waiting would never end: the lock is held further up in this very thread, or a statement is under way there."""


class TransactionError(HutchError):
    """A transaction is used in a way that it does not allow."""


class OutcomeUnknownError(HutchError):
    """A sync failed, so nobody knows which of the latest writes a power cut would leave."""


class UnsupportedFileError(HutchError, ValueError):
    """A file is not a regular file, or of a version that this hutch does not read."""


class CorruptError(HutchError):
    """Bytes on the disk are not the ones that were stored.

    Attributes:
        file: path of the damaged file, or None.
        offset: byte offset of the damage in that file, or None.
        key: the key of the damaged entry, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        offset: int | None = None,
        key: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.file = file
        self.offset = offset
        self.key = key


class CorruptDirectoryError(CorruptError, ValueError):
    """A line of the directory is not one that dbm.dumb or hutch writes."""


class CorruptHeapError(CorruptError):
    """The heap is missing, or shorter than its entries need."""


class CorruptEntryError(CorruptError):
    """One value does not match its checksum; every other entry stays readable."""


class CorruptIndexError(CorruptError):
    """The index contradicts itself or its directory; it is rebuilt, never believed."""


class CorruptJournalError(CorruptError):
    """A journal that was to be merged holds no usable record."""


class CodecError(HutchError, ValueError):
    """The bytes of a value make no object under the codec that was given.

    Attributes:
        key: the key of the entry, or None.
    """

    def __init__(self, message: str, *, key: bytes | None = None) -> None:
        super().__init__(message)
        self.key = key


class WrongCodecError(CodecError):
    """The bytes of a value were written under another codec.

    Attributes:
        looks_like: name of the codec that the bytes look like, or None.
    """

    def __init__(self, message: str, *, key: bytes | None = None, looks_like: str | None = None) -> None:
        super().__init__(message, key=key)
        self.looks_like = looks_like


class ForbiddenGlobalError(CodecError):
    """A pickle names a class or function that is not allowed; nothing of it has been imported or called.

    Attributes:
        module: where the pickle looks for it.
        name: its qualified name there.
    """

    def __init__(self, message: str, *, key: bytes | None = None, module: str = "", name: str = "") -> None:
        super().__init__(message, key=key)
        self.module = module
        self.name = name


class LimitError(CodecError):
    """The bytes of a value would make more, or nest deeper, than the codec's limits allow."""


class TamperedError(CodecError):
    """The bytes of a value are not what a holder of the key stored in this place."""


class HutchWarning(UserWarning):
    """Base of hutch's warnings."""


class RecoveryWarning(HutchWarning):
    """Something was repaired, adopted or set aside."""


class UnstoredChangeWarning(HutchWarning):
    """An object was fetched from a shelf, changed, and never stored; it bears the line that fetched it.

    Attributes:
        key: the key of the entry.
    """

    key: str | None = None


def is_own(problem: BaseException) -> bool:
    """Whether it is one that the engine meets, and not of a signal handler, say, that has interrupted it."""
    return isinstance(problem, (MemoryError, OSError)) and not isinstance(problem, (DeadlockError, TimeoutError))
