"""Pages that every invocation writes to: found in rehearsals, copied before a caller waits.

A fork shares all pages with the zygote until one of the two writes to one.  Every object has a
counter of references in it, so a worker writes to hundreds of pages at once, and each costs it a
fault: a third of the time of an ADD.  A worker that has no caller yet has time for them.
"""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
ENTRY = struct.Struct("=Q")  # of /proc/self/pagemap: Documentation/admin-guide/mm/pagemap.rst
OWN = 1 << 63 | 1 << 56  # present, and mapped by this process alone
MADV_POPULATE_WRITE = 23  # madvise(2), Linux 5.14
OFTEN = 3  # a page counts when one in so many invocations writes to it
Range = tuple[int, int]  # address and length, in bytes
_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def writable() -> list[Range]:
    """Return the memory of this process that it can write to and does not mean to share."""
    found = []
    with open("/proc/self/maps", encoding="ascii", errors="replace") as file:
        for line in file:
            place, mode, *_ = line.split(maxsplit=2)
            if mode == "rw-p" and "[stack]" not in line:
                begin, end = (int(address, 16) for address in place.split("-"))
                found.append((begin, end - begin))
    return found


def own(ranges: Iterable[Range]) -> set[int]:
    """Return the pages in `ranges`, by number, that no other process shares with this one."""
    found: set[int] = set()
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        for begin, length in ranges:
            first = begin // PAGE
            file.seek(first * ENTRY.size)
            entries = ENTRY.iter_unpack(file.read(length // PAGE * ENTRY.size))
            found.update(
                first + number for number, (bits,) in enumerate(entries) if bits & OWN == OWN
            )
    return found


def often(rehearsals: Iterable[set[int]]) -> list[Range]:
    """Return the ranges of the pages that are in many of the sets."""
    every = list(rehearsals)
    counts = Counter(page for pages in every for page in pages)
    return _ranges(page for page, count in counts.items() if count * OFTEN >= len(every))


def _ranges(pages: Iterable[int]) -> list[Range]:
    found: list[Range] = []
    for page in sorted(pages):
        if found and sum(found[-1]) == page * PAGE:
            found[-1] = (found[-1][0], found[-1][1] + PAGE)
        else:
            found.append((page * PAGE, PAGE))
    return found


def populate(ranges: Iterable[Range]) -> None:
    """Have pages of this process's own in `ranges`; where the kernel cannot, faults will do it."""
    for begin, length in ranges:
        if _libc.madvise(begin, length, MADV_POPULATE_WRITE):
            return
