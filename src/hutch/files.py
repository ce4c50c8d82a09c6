"""The one door to the disk: every byte that hutch reads or writes goes through here.

Two classes are the door, `FileSystem` (names) and `File` (one open file); a test hands the engine
its own pair and makes any call fail, tear or vanish. `MappedFile` stands on them: a file that
is read and written through memory, in slices, once it is worth a mapping.

Stores go through mmap because a small pwrite costs thirty times a store here, and the page cache
keeps both alike when the process dies. A mapping never covers a hole: space is allocated first,
so a full disk is an error from `allocate`, not a SIGBUS.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys

from hutch.errors import UnsupportedFileError
from hutch.locking import Locks, open_locks, open_pin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = ["File", "FileSystem", "MappedFile", "View", "Words", "words_of"]

# Larger pieces go through pwrite: it needs no page fault for each 4 KiB.
_STORE_LIMIT_BYTES = 16 * 1024
# No call moves 2 GiB: Linux does less than it was asked for, and others refuse.
_MAX_CALL_BYTES = 1024 * 1024 * 1024
# A file above this size is read with pread until it has seen some reads: a mapping makes whole neighbourhoods of each
# page resident, which a process that wants a few values should not pay for. A large one sees many: by then all of a
# smaller one may be resident, which is bearable, as where an index is as large as that, the heap is much larger.
_COLD_FILE_BYTES = 4 * 1024 * 1024
_COLD_READS = 64
_LARGE_FILE_BYTES = 12 * 1024 * 1024
_COLD_READS_IF_LARGE = 2100  # a look-up needs two of the heap
_HEAD_BYTES = 4096  # read again and again: in the index the header
_PAGE_BYTES = mmap.PAGESIZE
# How much is filled ahead of stores at a time: the first time, and the most.
_FIRST_FILL_BYTES = 64 * 1024
_MAX_FILL_BYTES = 512 * 1024
_ZEROS = memoryview(bytes(_MAX_FILL_BYTES))
_FILL_LEFT_BYTES = 32 * 1024  # with less, it is time for more

_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_PIN = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOLCK, errno.EOPNOTSUPP)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def _no_fallocate(_fd: int, _offset: int, _size_bytes: int) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _full_sync(fd: int) -> None:
    fcntl.fcntl(fd, _FULL_SYNC or 0)  # there, fsync leaves the data in the drive's own cache


_fallocate = getattr(os, "posix_fallocate", _no_fallocate)
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_sync = _full_sync if _FULL_SYNC is not None else getattr(os, "fdatasync", os.fsync)


class View(Protocol):
    """What a mapped file is read and written through: slices of bytes, and single bytes to be written."""

    def __getitem__(self, span: slice, /) -> bytes: ...
    def __setitem__(self, place: slice | int, data: Any, /) -> None: ...
    def __len__(self) -> int: ...


class Words(Protocol):
    """The same memory as numbers: those of 64 bits, little-endian, each found by its offset in bytes divided by 8."""

    def __getitem__(self, number: int, /) -> int: ...
    def __setitem__(self, number: int, value: int, /) -> None: ...


class _WordsOf:
    """`Words` of any view."""

    __slots__ = ("_view",)

    def __init__(self, view: View) -> None:
        self._view = view

    def __getitem__(self, number: int) -> int:
        return int.from_bytes(self._view[8 * number : 8 * number + 8], "little")

    def __setitem__(self, number: int, value: int) -> None:
        self._view[8 * number : 8 * number + 8] = value.to_bytes(8, "little")


# The numbers of no memory: what is compared with them is not found equal.
_NO_WORDS: Any = (-1,) * 3


def words_of(view: View) -> Words:
    """The quickest there is: neither a slice nor bytes need be made."""
    if isinstance(view, mmap.mmap) and sys.byteorder == "little":
        return memoryview(view)[: len(view) & ~7].cast("Q")
    return _WordsOf(view)


class File:
    """One open regular file. Offsets and sizes are in bytes."""

    __slots__ = ("__weakref__", "fd", "path", "writable")

    def __init__(self, fd: int, path: str, writable: bool) -> None:
        self.fd = fd
        self.path = path
        self.writable = writable

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def status(self) -> os.stat_result:
        return os.fstat(self.fd)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """Read up to `size_bytes`; fewer only at the end of the file."""
        if size_bytes > _MAX_CALL_BYTES:
            return self._read_large(offset, size_bytes)
        data = os.pread(self.fd, size_bytes, offset)
        if len(data) == size_bytes or not data:
            return data
        pieces = [data]
        done = len(data)
        while done < size_bytes and (data := os.pread(self.fd, size_bytes - done, offset + done)):
            pieces.append(data)
            done += len(data)
        return b"".join(pieces)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer`; returns how much of it, which is all but at the end of the file."""
        done = 0
        while done < len(buffer):
            count = os.preadv(self.fd, [buffer[done : done + _MAX_CALL_BYTES]], offset + done)
            if not count:
                break
            done += count
        return done

    def _read_large(self, offset: int, size_bytes: int) -> bytes:
        """`read_at` by way of a mapping: pieces would have to be joined, which takes their memory twice."""
        size_bytes = min(size_bytes, self.size() - offset)
        if size_bytes <= 0:
            return b""
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        with mmap.mmap(self.fd, offset - start + size_bytes, access=mmap.ACCESS_READ, offset=start) as mapping:
            return mapping[offset - start :]

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`: pwrite may write less and return normally."""
        written = os.pwrite(self.fd, data, offset) if len(data) <= _MAX_CALL_BYTES else 0
        if written == len(data):
            return
        rest = memoryview(data)
        while written < len(rest):
            written += os.pwrite(self.fd, rest[written : written + _MAX_CALL_BYTES], offset + written)

    def allocate(self, size_bytes: int) -> None:
        """Make the file at least `size_bytes` long, with blocks behind every byte (new ones are 0)."""
        size = self.size()
        if size >= size_bytes:
            return
        try:
            _fallocate(self.fd, size, size_bytes - size)
        except OSError as problem:
            if problem.errno not in _NO_FALLOCATE:
                raise
            zeros = bytes(min(size_bytes - size, 1024 * 1024))
            while size < size_bytes:
                piece = zeros[: size_bytes - size]
                self.write_at(size, piece)
                size += len(piece)

    def truncate(self, size_bytes: int) -> None:
        os.ftruncate(self.fd, size_bytes)

    def sync(self) -> None:
        """Bring the file's data, and the size needed to read them, to the disk."""
        _sync(self.fd)

    def map(self, size_bytes: int) -> View:
        """A shared mapping of the first `size_bytes`, which must be allocated."""
        access = mmap.ACCESS_WRITE if self.writable else mmap.ACCESS_READ
        return mmap.mmap(self.fd, size_bytes, access=access)

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def __del__(self) -> None:
        # An iterator may outlive the directory it reads, so a replaced file is closed by its last user.
        self.close()


class FileSystem:
    """Names of files: open, replace, remove. The engine holds one and knows no other way."""

    def open(self, path: str, *, writable: bool, create: bool = False, new: bool = False, mode: int = 0o666) -> File:
        """Open a regular file.

        Args:
            create: make the file if it is missing.
            new: the file must not exist yet, nor be a symbolic link (a temporary).
            mode: permission bits of a file that is made here, before the umask.

        Raises:
            FileNotFoundError, PermissionError and their kin, as the system raises them.
            UnsupportedFileError: not a regular file.
        """
        flags = _OPEN_FLAGS | (os.O_RDWR if writable else os.O_RDONLY)
        if new:
            flags |= os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        elif create:
            flags |= os.O_CREAT
        try:
            fd = os.open(path, flags, mode)
        except OSError as problem:
            if problem.errno in (errno.EISDIR, errno.ENXIO):  # a folder, a socket
                raise _irregular(path) from problem
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _irregular(path)
        return File(fd, path, writable)

    def status(self, path: str) -> os.stat_result:
        return os.stat(path)

    def exists(self, path: str) -> bool:
        """Whether the name exists. No permission to look is an error, never "missing"."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def take_attributes(self, file: File, model: os.stat_result) -> None:
        """Give `file` the permission bits and, where allowed, the owner of `model`."""
        own = os.fstat(file.fd)
        if (own.st_uid, own.st_gid) != (model.st_uid, model.st_gid):
            try:
                os.fchown(file.fd, model.st_uid, model.st_gid)
            except PermissionError:
                pass  # only root may give files away; the mode below still keeps strangers out
        if stat.S_IMODE(own.st_mode) != stat.S_IMODE(model.st_mode):
            os.fchmod(file.fd, stat.S_IMODE(model.st_mode))

    def replace(self, source: str, target: str) -> None:
        """Rename `source` over what `target` names; a symbolic link keeps pointing there."""
        target = os.path.realpath(target)
        try:
            if not stat.S_ISREG(os.stat(target).st_mode):
                raise _irregular(target)
        except FileNotFoundError:
            pass
        os.replace(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def sync_folder(self, path: str) -> None:
        """Make the names in the folder of `path` durable."""
        fd = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as problem:
            if problem.errno not in (errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP):
                raise  # file systems that cannot sync a folder order its names themselves
        finally:
            os.close(fd)

    def open_locks(self, path: str, *, writable: bool) -> Locks:
        return open_locks(path, writable=writable)

    def map_pinned(self, path: str, model: os.stat_result, extent: tuple[int, int] | None = None) -> memoryview | None:
        """The heap at `path`, to read, under a lock that lives as long as anything refers to the memory.

        Args:
            model: the status of the file that `path` is to name.
            extent: offset and size of a value: only that is mapped, and left alone by all who write; None: all.

        Returns:
            None where this cannot be: the name is another file's by now, or this process may not open it, or it
            ends before the extent does.

        Raises:
            OSError: no descriptor, or no memory.
        """
        try:
            fd, pin = open_pin(path, extent)
        except OSError as problem:
            if problem.errno in _NO_PIN:
                return None
            raise
        try:
            status = os.fstat(fd)
            offset, size_bytes = extent or (0, status.st_size)
            is_same = (status.st_dev, status.st_ino) == (model.st_dev, model.st_ino)
            if not is_same or not size_bytes or offset + size_bytes > status.st_size:
                return None
            skipped = offset % mmap.ALLOCATIONGRANULARITY
            # It has its own copy of the descriptor.
            mapping = mmap.mmap(fd, skipped + size_bytes, access=mmap.ACCESS_READ, offset=offset - skipped)
            if pin != fd:
                import weakref

                # Not at exit: threads may still be looking, and the system closes it all the same.
                weakref.finalize(mapping, os.close, pin).atexit = False
                pin = fd
            return memoryview(mapping)[skipped:]
        finally:
            os.close(fd)
            if pin != fd:
                os.close(pin)

    def boot_id(self) -> bytes:
        """16 bytes that change when the machine, and with it the page cache, starts anew; zeros if unknown."""
        try:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                return bytes.fromhex(file.read().replace(b"-", b"").decode("ascii")).ljust(16, b"\0")[:16]
        except (OSError, ValueError):
            return bytes(16)

    def random_id(self) -> int:
        """64 random bits, never all zero: ids and salts."""
        return int.from_bytes(os.urandom(8), "little") | 1


def _irregular(path: str) -> UnsupportedFileError:
    return UnsupportedFileError(f"{path!r} is not a regular file; move it away or choose another database name")


class _ColdView:
    """Reads slices with pread, and asks for a mapping once there have been many."""

    __slots__ = ("_file", "_head", "_promote", "_reads_left", "_size_bytes")

    def __init__(self, file: File, size_bytes: int, promote: Callable[[], None]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._promote = promote
        self._reads_left = _COLD_READS if size_bytes <= _LARGE_FILE_BYTES else _COLD_READS_IF_LARGE
        self._head: View | None = None

    def head(self) -> View:
        """A mapping of the first bytes."""
        if self._head is None:
            self._head = self._file.map(min(_HEAD_BYTES, self._size_bytes))
        return self._head

    def __getitem__(self, span: slice) -> bytes:
        if span.stop <= _HEAD_BYTES:
            return self.head()[span]
        self._reads_left = left = self._reads_left - 1
        if not left:
            self._promote()
        start, stop = span.start, span.stop
        if stop > self._size_bytes:
            stop = self._size_bytes
        return self._file.read_at(start, stop - start) if stop > start else b""

    def __setitem__(self, place: slice | int, data: Any) -> None:
        raise TypeError("a cold view is only read")

    def __len__(self) -> int:
        return self._size_bytes


class MappedFile:
    """A file read and written in slices of `view`, which is a mapping once that pays.

    `view` is replaced, never resized: a slice taken by another thread stays valid, and one that reaches
    past the end of an old view comes back short, which its reader answers with `refresh`. `words` is the same memory
    (of a file that is not mapped yet, the head), for who asks for it; `mapped_words` too, but without any number in it
    where `view` is no buffer.
    """

    __slots__ = ("_fill_bytes", "_filled", "_has_words", "file", "hot", "mapped_words", "view", "words")

    def __init__(self, file: File, *, hot: bool = False) -> None:
        self.file = file
        self.hot = hot
        self._filled = 0  # `fill` has come so far
        self._fill_bytes = _FIRST_FILL_BYTES
        self.view: View = b""  # type: ignore[assignment]  # an empty file cannot be mapped
        self.words: Words = _WordsOf(self.view)
        self.mapped_words: Words = _NO_WORDS
        self._has_words = False
        self.refresh()

    def refresh(self) -> None:
        """Cover the file's present size."""
        size_bytes = self.file.size()
        if not size_bytes:
            self.view = b""  # type: ignore[assignment]
        elif self.hot or size_bytes <= _COLD_FILE_BYTES:
            self.view = self.file.map(size_bytes)
        else:
            self.view = _ColdView(self.file, size_bytes, self.warm)
        if self._has_words:
            self.make_words()

    def make_words(self) -> None:
        """Have `words`, from now on."""
        self._has_words = True
        view = self.view
        self.words = words_of(view.head() if isinstance(view, _ColdView) else view)
        self.mapped_words = self.words if isinstance(view, mmap.mmap) else _NO_WORDS

    def warm(self) -> None:
        """From now on use a mapping, whatever the size (a writer needs one)."""
        if not self.hot:
            self.hot = True
            if len(self.view) or self.file.size():
                self.refresh()

    def grow(self, size_bytes: int, better_bytes: int = 0) -> None:
        """Allocate up to `size_bytes`, or where there is room up to `better_bytes`, and cover it.

        Raises:
            OSError: no space; nothing has changed.
        """
        try:
            self.file.allocate(max(size_bytes, better_bytes))
        except OSError as problem:
            if better_bytes <= size_bytes or problem.errno not in _NO_ROOM:
                raise
            self.file.allocate(size_bytes)
        self.hot = True
        if len(self.view) < size_bytes or isinstance(self.view, _ColdView):
            self.refresh()

    def fill(self, start: int) -> int:
        """Before many stores behind `start`, where nothing lies: have pages there in memory.

        A page that is stored into before it is there costs a fault of its own, and what the system reads ahead;
        zeros written in one call cost a third of that. With each call, more at a time.

        Returns:
            The offset up to which stores are cheap; it may lie before `start`, where the file ends.
        """
        if self._filled < start + _FILL_LEFT_BYTES:
            begin = max(self._filled, -(-start // _PAGE_BYTES) * _PAGE_BYTES)
            end = min(begin + self._fill_bytes, len(self.view))
            if begin < end:
                try:
                    self.file.write_at(begin, _ZEROS[: end - begin])
                except OSError:
                    pass  # the blocks are allocated all the same: the stores will only take longer
                self._fill_bytes = min(2 * self._fill_bytes, _MAX_FILL_BYTES)
            self._filled = max(end, self._filled)
        return min(self._filled, len(self.view))

    def fill_less(self) -> None:
        """After a sync, which brings all that was filled at once to the disk again for one store into it."""
        self._fill_bytes = _FIRST_FILL_BYTES

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` into allocated space."""
        size_bytes = len(data)
        if size_bytes <= _STORE_LIMIT_BYTES:
            self.view[offset : offset + size_bytes] = data
        else:
            self.file.write_at(offset, data)

    def close(self) -> None:
        """Drop the mapping (a view that somebody still holds keeps it alive) and close the file."""
        self.view = b""  # type: ignore[assignment]
        self.words = _WordsOf(self.view)
        self.mapped_words = _NO_WORDS
        self.file.close()
