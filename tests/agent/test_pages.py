"""Pages that invocations write to are found, and copied before a caller waits for it."""

import ctypes
import gc
import mmap
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cni.agent import pages
from cni.agent.pages import PAGE
from tests.agent import callers

COUNT = 64


@pytest.fixture
def memory() -> Iterator[mmap.mmap]:
    """Return memory of this process, all of it written to."""
    with mmap.mmap(-1, COUNT * PAGE, flags=mmap.MAP_PRIVATE) as memory:
        memory.write(b"x" * len(memory))
        yield memory


def place(memory: mmap.mmap) -> pages.Range:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory)), len(memory)


def in_child(run: Callable[[], int]) -> int:
    """Return what `run` returns in a child, a small number."""
    child = os.fork()
    if child == 0:
        os._exit(run())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def write(memory: mmap.mmap, numbers: range) -> None:
    for number in numbers:
        memory[number * PAGE] = 1


def test_a_child_owns_the_pages_that_it_has_written_to_and_no_others(memory: mmap.mmap) -> None:
    begin, length = place(memory)

    def run() -> int:
        before = len(pages.own([(begin, length)]))
        write(memory, range(3, 20))
        return 100 * before + (
            pages.own([(begin, length)]) == {begin // PAGE + n for n in range(3, 20)}
        )

    assert in_child(run) == 1


def test_writable_memory_is_told_and_the_stack_is_not(memory: mmap.mmap) -> None:
    begin, length = place(memory)
    found = pages.writable()

    assert any(one <= begin and begin + length <= one + size for one, size in found)
    assert all(address % PAGE == 0 and size % PAGE == 0 for address, size in found)
    stack = next(
        line for line in Path("/proc/self/maps").read_text().splitlines() if "[stack]" in line
    )
    assert int(stack.partition("-")[0], 16) not in dict(found)


def test_pages_that_many_write_to_count_and_neighbours_are_one_range() -> None:
    found = pages.often([{1, 2, 3}, {2, 3, 7}, {9}, {7}, {8}, {10}])

    assert found == [(2 * PAGE, 2 * PAGE), (7 * PAGE, PAGE)]


def test_a_page_that_was_copied_ahead_costs_no_fault_later(memory: mmap.mmap) -> None:
    def faults(ranges: list[pages.Range]) -> int:
        gc.disable()  # it writes to pages too
        pages.populate(ranges)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        write(memory, range(COUNT))
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert in_child(lambda: faults([])) >= COUNT
    assert in_child(lambda: faults([place(memory)])) < COUNT // 4


def test_memory_that_is_not_there_does_no_harm(memory: mmap.mmap) -> None:
    begin, length = place(memory)

    pages.populate([(0, PAGE), (begin, length)])

    assert bytes(memory) == b"x" * length


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("known", [True, False])
def test_a_worker_has_its_pages_before_its_program_begins(
    memory: mmap.mmap,
    known: bool,  # noqa: FBT001  # pytest's
) -> None:
    whole = place(memory)

    with callers.zygote(lambda: len(pages.own([whole])), written=[whole] if known else []) as (
        path,
        _,
    ):
        assert callers.status_of(callers.call(path)) == (COUNT if known else 0)
