"""What databases do while they crash: short histories that pass every place where an order of writes matters."""

from __future__ import annotations

import random
from collections.abc import Callable

from crash.history import History
from crash.session import BASE, Session, Stage, contents
from crash.simulated import Machine

__all__ = ["WORKLOADS", "aftermath", "key_of", "value_of"]


def key_of(number: int) -> bytes:
    """Keys of several forms: plain, quoted, escaped."""
    return (b"key %d", b"it's %d", b"\xff\n\0 %d", b"\"'%d\\")[number % 4] % number


def value_of(number: int, size_bytes: int) -> bytes:
    """A value that no other number has, at any offset."""
    return (b"<%d>" % number * (size_bytes // 3 + 1))[:size_bytes]


def statements(stage: Stage) -> None:
    """Puts, overwrites and deletes, one by one, with checkpoints among them."""
    session = stage.open()
    for number in range(6):
        session.put(key_of(number), value_of(number, 100 * number))
    session.delete(key_of(1))
    session.put(key_of(2), value_of(20, 10))
    session.sync()
    session.put(key_of(1), value_of(21, 700))
    session.delete(key_of(0))  # the first line
    session.put(key_of(3), value_of(22, 300))
    session.put(key_of(3), value_of(23, 301))
    session.sync()
    session.delete(key_of(4))
    session.put(key_of(9), value_of(24, 513))
    session.close()


def batches(stage: Stage) -> None:
    """Transactions and batches: all or nothing."""
    session = stage.open()
    session.apply({key_of(number): value_of(number, 60 * number) for number in range(8)})
    session.transaction([(key_of(1), None), (key_of(8), value_of(8, 5000)), (key_of(2), value_of(30, 200))])
    session.rolled_back([(key_of(3), None), (key_of(99), value_of(99, 999))])
    session.sync()
    session.transaction([(key_of(5), value_of(31, 40)), (key_of(6), None), (key_of(6), value_of(32, 41))])
    session.apply({key_of(0): None, key_of(50): value_of(33, 1), key_of(5): value_of(34, 6000), key_of(77): None})
    session.transaction([(key_of(number), value_of(40 + number, 10)) for number in range(3)], clear_first=True)
    session.close()


def large_values(stage: Stage) -> None:
    """Values too large for the journal, overwritten and deleted, so that blocks come free and are used again."""
    session = stage.open()
    for number in range(4):
        session.put(key_of(number), value_of(number, 5000 + 3000 * number))
    session.put(key_of(1), value_of(11, 9000))
    session.delete(key_of(2))
    session.sync()
    session.put(key_of(5), value_of(12, 7000))
    session.put(key_of(0), value_of(13, 4097))
    session.put(key_of(6), value_of(14, 20000))
    session.sync()
    session.put(key_of(7), value_of(15, 6000))
    session.close()


def durable_commits(stage: Stage) -> None:
    """Every statement is acknowledged; lazy and durable handles alternate."""
    durable = stage.open(durability="commit")
    durable.put(key_of(0), value_of(0, 100))
    durable.put(key_of(1), value_of(1, 6000))
    durable.put(key_of(0), value_of(2, 120))
    lazy = stage.open()
    lazy.put(key_of(2), value_of(3, 9000))
    lazy.put(key_of(3), value_of(4, 90))
    durable.put(key_of(4), value_of(5, 50))
    lazy.delete(key_of(1))
    durable.apply({key_of(5): value_of(6, 5000), key_of(0): None})
    durable.transaction([(key_of(6), value_of(7, 30)), (key_of(2), None)])
    lazy.close()
    durable.put(key_of(7), value_of(8, 4096))
    durable.clear()
    durable.put(key_of(8), value_of(9, 40))
    durable.close()


def two_handles(stage: Stage) -> None:
    """Two processes take turns, each with its own idea of the state."""
    first, second = stage.open(), stage.open()
    for number in range(4):
        first.put(key_of(number), value_of(number, 200))
        second.put(key_of(number + 10), value_of(number, 300))
        first.check()
    second.sync()
    first.delete(key_of(0))
    second.delete(key_of(11))
    second.put(key_of(1), value_of(40, 5000))
    first.sync()
    second.apply({key_of(2): None, key_of(20): value_of(41, 77)})
    first.close()
    third = stage.open()
    third.put(key_of(21), value_of(42, 78))
    second.close()
    third.check()
    third.close()


def rewrites(stage: Stage) -> None:
    """The first line dies, everything dies, dead bytes outgrow live ones: the directory is written anew."""
    session = stage.open()
    session.apply({key_of(number): value_of(number, 50) for number in range(12)})
    session.sync()
    session.delete(key_of(0))
    session.sync()
    for number in range(1, 10):
        session.delete(key_of(number))
    session.put(key_of(30), value_of(30, 600))
    session.sync()
    session.clear()
    session.put(key_of(31), value_of(31, 31))
    session.sync()
    session.clear()
    session.sync()
    session.put(key_of(32), value_of(32, 32))
    session.close()
    session = stage.open()
    session.clear()
    session.close()
    stage.open("w").close()


def reorganizations(stage: Stage) -> None:
    """Holes among the values, and reorganize() between statements."""
    session = stage.open()
    for number in range(10):
        session.put(key_of(number), value_of(number, 700 if number != 5 else 9000))
    for number in (0, 2, 3, 6):
        session.delete(key_of(number))
    session.reorganize()
    session.put(key_of(20), value_of(20, 3000))
    session.delete(key_of(9))
    session.sync()
    session.put(key_of(1), value_of(21, 100))
    session.reorganize()
    session.put(key_of(22), value_of(22, 800))
    session.close()
    session = stage.open("w")
    session.delete(key_of(5))
    session.reorganize()
    session.close()


def growth(stage: Stage) -> None:
    """More keys than the first buckets hold: the index splits while it is written."""
    session = stage.open()
    for number in range(110):
        session.put(key_of(number), value_of(number, number % 40))
        if number == 60:
            session.sync()
    session.apply({key_of(number): value_of(number, 9) for number in range(100, 180)})
    session.close()


def reopenings(stage: Stage) -> None:
    """Short sessions, each opening what the last one closed."""
    for number in range(4):
        session = stage.open("c" if number < 2 else "w")
        session.put(key_of(number), value_of(number, 400))
        if number:
            session.delete(key_of(number - 1))
            session.put(key_of(50), value_of(number, 5000))
        session.close()
    reader = stage.open("r")
    reader.check()
    reader.close()


def rounds(stage: Stage) -> None:
    """Each round of the journal overwrites the records of the one before, which a crash may uncover again."""
    session = stage.open()
    for number in range(3):
        session.put(key_of(0), value_of(10 * number, 50))
        session.put(key_of(0), value_of(10 * number + 1, 700))
        session.sync()
        session.put(key_of(number + 1), value_of(10 * number + 2, 1500))
        session.sync()
    session.close()  # with nothing left to do but to tidy up


def overwriting_sessions(stage: Stage) -> None:
    """Sessions that leave the directory as long as they find it: nothing but its contents tells it from before."""
    session = stage.open()
    session.apply({key_of(number): value_of(number, 100) for number in range(3)})
    session.close()
    stage.machine.write_back()
    for number in range(2):
        session = stage.open("w")
        session.put(key_of(2), value_of(10 + number, 200))  # the later line first
        session.put(key_of(1), value_of(20 + number, 200))
        session.close()


def clears(stage: Stage) -> None:
    """What was acknowledged is cleared away, durably; what follows is lazy."""
    session = stage.open(durability="commit")
    session.put(key_of(0), value_of(0, 100))
    session.sync()
    session.put(key_of(0), value_of(1, 100))
    session.clear()
    session.close()
    session = stage.open()
    session.apply({key_of(number): value_of(number, 10) for number in range(8)})
    session.transaction([(key_of(1), value_of(11, 200))], clear_first=True)
    for number in range(2, 9):
        session.put(key_of(number), value_of(number, 10))
    session.close()


def successors(stage: Stage) -> None:
    """The stdlib takes over what was closed, and hutch again."""
    session = stage.open()
    session.put(key_of(0), value_of(0, 100))
    session.close()
    _write_plain(stage.machine, stage.history)
    session = stage.open()
    session.check()
    session.put(key_of(0), value_of(1, 100))
    session.close()


def adoption(stage: Stage) -> None:
    """A database that the stdlib wrote: unaligned, with a duplicate key, changed and rewritten by hutch."""
    _write_plain(stage.machine, stage.history)
    session = stage.open()
    session.check()
    session.put(b"new", value_of(1, 300))
    session.put(b"b", value_of(2, 30))
    session.sync()
    session.delete(b"a")
    session.close()


def _write_plain(machine: Machine, history: History) -> None:
    heap = bytearray(2100)
    heap[0:5], heap[512:1112], heap[1200:1203], heap[1536:2100] = b"first", b"2" * 600, b"odd", b"4" * 564
    lines = ["'a', (512, 600)", "'b', (0, 5)", "'c', (1200, 3)", "'a', (1536, 564)"]
    with history.becomes({b"a": b"4" * 564, b"b": b"first", b"c": b"odd"}, durable=True):
        machine.write_file(BASE + ".dat", bytes(heap))
        machine.write_file(BASE + ".dir", "".join(line + "\r\n" for line in lines).encode())


def mixture(seed: int) -> Callable[[Stage], None]:
    """Random statements, repeatable."""

    def workload(stage: Stage) -> None:
        source = random.Random(seed)
        sessions = [stage.open(durability=source.choice(("close", "commit")))]
        for step in range(40):
            if len(sessions) < 2 and source.random() < 0.1:
                sessions.append(stage.open())
            _random_statement(source, source.choice(sessions), 100 * step)
            if len(sessions) > 1 and source.random() < 0.1:
                sessions.pop(source.randrange(len(sessions))).close()
        for session in sessions:
            session.close()

    workload.__doc__ = f"Random statements, seed {seed}."
    return workload


def _random_statement(source: random.Random, session: Session, number: int) -> None:
    def key() -> bytes:
        return key_of(source.randrange(12))

    def value(add: int = 0) -> bytes:
        return value_of(number + add, source.choice((0, 1, 30, 300, 512, 513, 2000, 4096, 4097, 9000)))

    kind = source.choice(("put",) * 6 + ("delete",) * 4 + ("apply", "transaction", "sync", "reorganize", "clear"))
    if kind == "put":
        session.put(key(), value())
    elif kind == "delete":
        session.delete(key())
    elif kind == "apply":
        session.apply({key(): source.choice((None, value(at))) for at in range(source.randrange(6))})
    elif kind == "transaction":
        session.transaction([(key(), source.choice((None, value(at)))) for at in range(source.randrange(6))])
    elif kind == "clear" and source.random() < 0.6:
        session.check()
    else:
        getattr(session, kind)()


def aftermath(stage: Stage) -> None:
    """What follows a crash: open, settle which state it is, write on, close. Crashed in its turn."""
    session = stage.open()
    history = stage.history
    history.settle(contents(session.store))
    session.put(b"second", value_of(1000, 600))
    if history.state:
        session.delete(next(iter(history.state)))
    session.sync()
    session.apply({b"second": value_of(1001, 10), b"third": value_of(1002, 5000)})
    session.close()


WORKLOADS: dict[str, Callable[[Stage], None]] = {
    workload.__name__: workload
    for workload in (
        statements,
        batches,
        large_values,
        durable_commits,
        two_handles,
        rewrites,
        reorganizations,
        growth,
        reopenings,
        rounds,
        overwriting_sessions,
        clears,
        successors,
        adoption,
    )
}
