"""The harness finds what it is made to find: shown on a toy store, once whole and once without each sync."""

from __future__ import annotations

import errno
from functools import partial

import pytest

from crash.history import History, State, Violation
from crash.power import PowerCut, cut_power, power_cuts
from crash.simulated import BusError, Event, Killed, Machine
from crash.simulated_locks import WouldHang
from crash.sweep import Sweep, crash_again

PATH = "/simulated/toy"


class Toy:
    """A store of one value a file: rewritten whole, renamed into place."""

    def __init__(self, machine: Machine) -> None:
        self.files = machine.process()

    def read(self) -> State:
        if not self.files.exists(PATH):
            return {}
        file = self.files.open(PATH, writable=False)
        content = file.read_at(0, file.size())
        file.close()
        return dict([content.split(b"=", 1)]) if content else {}

    def write(self, key: bytes, value: bytes) -> None:
        if self.files.exists(PATH + ".new"):
            self.files.unlink(PATH + ".new")
        file = self.files.open(PATH + ".new", writable=True, new=True)
        file.write_at(0, key + b"=" + value)
        file.sync()
        file.close()
        self.files.replace(PATH + ".new", PATH)
        self.files.sync_folder(PATH)


def toy_workload(machine: Machine, history: History) -> None:
    toy = Toy(machine)
    for number in range(4):
        value = b"%d" % number * 700
        with history.becomes({b"key": value}, durable=True):
            toy.write(b"key", value)


def examine_toy(machine: Machine) -> State:
    found = Toy(machine).read()
    Toy(machine).write(b"after", b"crash")
    assert Toy(machine).read() == {b"after": b"crash"}
    return found


def without(suffix: str) -> Machine:
    return Machine(lost_syncs=[lambda event: event.suffix == suffix])


def test_a_whole_toy_survives_every_crash() -> None:
    sweep = Sweep(examine_toy, cuts=20).run(toy_workload)
    sweep.assert_clean()
    assert sweep.crash_count > 150
    assert sweep.examined_count > 30


@pytest.mark.parametrize("suffix", ["new", "folder"])
def test_a_toy_without_one_sync_is_found_out(suffix: str) -> None:
    assert Sweep(examine_toy, cuts=20).run(toy_workload, without(suffix)).findings


def test_a_toy_that_recovers_by_halves_is_found_out_by_the_second_crash() -> None:
    def resumed(machine: Machine, history: History) -> None:
        toy = Toy(machine)
        history.settle(toy.read())
        if toy.files.exists(PATH):
            toy.files.unlink(PATH)
        toy.write(b"key", history.state.get(b"key", b""))

    again = partial(crash_again, workload=resumed, sweep=lambda: Sweep(examine_toy, cuts=2))
    sweep = Sweep(examine_toy, again=again, again_every=10).run(toy_workload)
    assert sweep.findings
    assert "; then " in str(sweep.findings[0])


def test_a_sweep_repeats_itself() -> None:
    first = Sweep(examine_toy, cuts=9, limit=9).run(toy_workload, without("new"))
    second = Sweep(examine_toy, cuts=9, limit=9).run(toy_workload, without("new"))
    assert first.findings == second.findings


def test_a_process_dies_and_the_page_cache_stays() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a", writable=True, create=True)
    file.write_at(0, b"written")
    locks = process.open_locks("/simulated/a", writable=True)
    locks.acquire_writer(None)
    process.die()
    with pytest.raises(Killed):
        file.write_at(0, b"again")
    with pytest.raises(Killed):
        locks.release_writer()
    other = machine.process()
    assert other.open("/simulated/a", writable=False).read_at(0, 99) == b"written"
    assert other.open_locks("/simulated/a", writable=True).writer.try_lock()


def test_files_are_known_again_on_a_copy_and_after_a_restart() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open(PATH, writable=True, create=True)
    file.write_at(0, b"written")
    twin = machine.copy()
    assert twin.fingerprint() == machine.fingerprint()
    for is_restarted in (False, True):
        again = twin.process()
        status = again.status(PATH)
        assert (status.st_dev, status.st_ino) == (file.status().st_dev, file.status().st_ino)
        assert again.open(PATH, writable=False).read_at(0, 99) == b"written"
        assert (again.boot_id() != process.boot_id()) == is_restarted
        assert bool(twin.inodes[status.st_ino].pending) != is_restarted
        twin.restart()
    assert twin.fingerprint() != machine.fingerprint()
    assert cut_power(twin, next(power_cuts([], range(0)))).content(PATH) == b"written"


def test_locks_exclude_each_other() -> None:
    machine = Machine()
    machine.process().open("/simulated/a", writable=True, create=True)
    first, second, third = (machine.process().open_locks("/simulated/a", writable=True) for _ in range(3))
    assert first.presence.try_lock(shared=True)
    assert second.presence.try_lock(shared=True)
    assert not second.presence.try_lock()
    assert second.presence.is_taken_elsewhere()
    assert first.writer.try_lock()
    assert not second.writer.try_lock()
    assert not first.writer.is_taken_elsewhere()
    with pytest.raises(WouldHang):
        second.writer.wait()
    first.close()
    assert second.presence.try_lock()
    assert not third.presence.try_lock(shared=True)


def cut_named(machine: Machine, name: str) -> Machine:
    suffixes = [path.rpartition(".")[2] for path in machine.names]
    return cut_power(machine, next(cut for cut in power_cuts(suffixes, range(0)) if cut.name == name))


def test_power_cuts_lose_what_was_not_synced() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a.dat", writable=True, create=True)
    process.sync_folder("/simulated/a.dat")
    file.write_at(0, b"1" * 600)
    file.sync()
    file.write_at(100, b"2" * 600)
    other = process.open("/simulated/b.log", writable=True, create=True)
    other.write_at(0, b"log")
    assert cut_named(machine, "nothing").names.keys() == {"/simulated/a.dat"}
    assert cut_named(machine, "nothing").content("/simulated/a.dat") == b"1" * 600
    assert cut_named(machine, "everything").content("/simulated/a.dat") == b"1" * 100 + b"2" * 600
    assert cut_named(machine, "sizes without bytes").content("/simulated/a.dat") == b"1" * 600 + bytes(100)
    assert cut_named(machine, "sizes without bytes").content("/simulated/b.log") == bytes(3)
    only = cut_named(machine, "nothing but log")
    assert (only.content("/simulated/a.dat"), only.content("/simulated/b.log")) == (b"1" * 600, b"log")
    assert only.boot_id != machine.boot_id == machine.copy().boot_id
    torn = {cut_power(machine, cut).content("/simulated/a.dat") for cut in power_cuts([], range(200))}
    assert b"1" * 100 + b"2" * 412 + b"1" * 88 in torn
    assert b"1" * 512 + b"2" * 88 + b"2" * 100 in torn
    for content in torn:
        assert content[:100] == b"1" * 100
        assert len(set(content[100:512])) == 1


def test_a_sector_holds_a_prefix_of_its_changes() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a.dat", writable=True, create=True)
    file.allocate(1024)
    file.sync()
    process.sync_folder("/simulated/a.dat")
    view = file.map(1024)
    view[0:4] = b"1111"
    view[2:6] = b"2222"
    view[600:604] = b"3333"
    found = {
        (content[:6], content[600:604])
        for cut in power_cuts(["dat"], range(300))
        for content in [cut_power(machine, cut).content("/simulated/a.dat")]
    }
    firsts = (bytes(6), b"1111\0\0", b"112222")
    assert found == {(first, second) for first in firsts for second in (bytes(4), b"3333")}


def test_a_truncation_that_is_lost_leaves_the_old_bytes() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a.dat", writable=True, create=True)
    file.write_at(0, b"1" * 1024)
    file.sync()
    process.sync_folder("/simulated/a.dat")
    file.truncate(512)
    file.allocate(1024)
    file.write_at(512, b"2" * 512)
    found = {cut_power(machine, cut).content("/simulated/a.dat") for cut in power_cuts(["dat"], range(300))}
    one = b"1" * 512
    assert found == {one + one, one, one + bytes(512), one + b"2" * 512}


def test_a_rename_without_the_syncs() -> None:
    machine = Machine()
    machine.write_file("/simulated/a.dir", b"old")
    process = machine.process()
    file = process.open("/simulated/a.tmp", writable=True, new=True)
    file.write_at(0, b"new")
    process.replace("/simulated/a.tmp", "/simulated/a.dir")
    found = {
        tuple((name, after.content(name)) for name in sorted(after.names))
        for cut in power_cuts(["dir", "tmp"], range(200))
        for after in [cut_power(machine, cut)]
    }
    directory, temporary = "/simulated/a.dir", "/simulated/a.tmp"
    olds = {((directory, b"old"),)} | {((directory, b"old"), (temporary, rest)) for rest in (b"", b"new", bytes(3))}
    news = {((directory, rest),) for rest in (b"", b"new", bytes(3))}
    assert found == olds | news


def test_a_failed_sync_leaves_pages_that_no_later_sync_writes() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a.dat", writable=True, create=True)
    file.allocate(8192)
    file.sync()
    process.sync_folder("/simulated/a.dat")
    file.write_at(0, b"1" * 600)
    file.write_at(4096, b"1" * 600)
    file.inode.lose_pages()
    file.write_at(4096, b"2")
    file.sync()
    assert machine.content("/simulated/a.dat")[:600] == b"1" * 600
    after = cut_power(machine, next(power_cuts([], range(0)))).content("/simulated/a.dat")
    assert after[:4096] == bytes(4096)
    assert after[4096:4696] == b"2" + b"1" * 599


def test_a_hook_fails_a_write_after_a_part_of_it() -> None:
    machine = Machine()
    process = machine.process()
    file = process.open("/simulated/a.dat", writable=True, create=True)

    def hook(event: Event) -> None:
        machine.apply(event, 3)
        raise OSError(errno.ENOSPC, "full")

    machine.hooks.append(hook)
    with pytest.raises(OSError, match="full"):
        file.write_at(0, b"abcdef")
    assert machine.content("/simulated/a.dat") == b"abc"
    with pytest.raises(OSError, match="full"):
        file.allocate(4096)
    assert file.size() == 6


def test_maps_reach_no_further_than_the_blocks() -> None:
    file = Machine().process().open("/simulated/a.dat", writable=True, create=True)
    file.allocate(100)
    view = file.map(100)
    assert view[90:200] == bytes(10)
    view[0:3] = b"abc"
    with pytest.raises(IndexError):
        view[99:101] = b"ab"
    file.truncate(50)
    with pytest.raises(BusError):
        view[40:60]
    file.truncate(100)
    with pytest.raises(BusError):
        view[45:55] = b"x" * 10


def test_a_history_knows_what_may_come_back() -> None:
    history = History()
    for number in range(3):
        with history.statement({b"a": b"%d" % number}, durable=number == 0):
            pass
    with history.statement({b"a": None}):
        assert history.check({}, power_was_cut=False) == 4
        assert history.check({b"a": b"2"}, power_was_cut=False) == 3
        assert history.check({b"a": b"0"}, power_was_cut=True) == 1
        with pytest.raises(Violation, match="state 2 of 4 came back, but 3 was promised"):
            history.check({b"a": b"1"}, power_was_cut=False)
        with pytest.raises(Violation, match="no state from 1 to 4 came back"):
            history.check({b"b": b"1"}, power_was_cut=True)
    with pytest.raises(ZeroDivisionError), history.statement({b"z": b""}):
        raise ZeroDivisionError
    assert history.state == {}
    with history.becomes({b"a": b"", b"b": b""}), pytest.raises(Violation, match="another order"):
        history.check({b"b": b"", b"a": b""}, power_was_cut=False)


def test_adversaries_have_names() -> None:
    assert [str(cut) for cut in power_cuts(["dat"], range(1))] == [
        "nothing",
        "everything",
        "sizes without bytes",
        "bytes without sizes",
        "nothing but dat",
        "everything but dat",
        "random 0",
    ]
    assert isinstance(next(power_cuts([], range(0))), PowerCut)
