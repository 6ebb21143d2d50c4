"""Put the programs of a build into a directory, over whatever runs from there meanwhile.

Every file comes by a temporary name and rename(2), so each name is at any moment the old file or
the new one, whole.  The libraries of a build stand in a folder of their own (see pycni.spec) and
come before the first program that needs them.  Those of the build before stay, since programs
of it are still at work; an installation after the next hour removes them.  Killed at any point,
the suite works, and the next installation takes the left-overs away.

What others had under our names before the first installation is kept; it comes back when ours goes.
"""

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cni.handover import ALONE
from cni.programs import NAMES

LIBRARIES = "_pycni-"  # how the names of folders of libraries begin
TEMPORARY = ".pycni-"  # how names begin that only an installation under way uses
REPLACED = "_replaced-by-pycni"  # the folder of the files that were there before ours
STAY_S = 3600  # after they were replaced: no program of a pod works that long


def install(source: Path, target: Path) -> list[Path]:
    """Copy the programs of `source` (a bin directory of this suite) into `target`; return them.

    What others keep there stays, but for files that have the name of a program of ours.
    Raises FileNotFoundError when `source` is no build, OSError when `target` cannot be written.
    """
    programs = [source / name for name in NAMES]
    libraries = [path for path in source.glob(f"{LIBRARIES}*") if path.is_dir()]
    if not libraries:
        message = f"cannot install {source}: no programs there; make them with ./build.sh freeze"
        raise FileNotFoundError(message)
    target.mkdir(parents=True, exist_ok=True)
    with _locked(target):
        _remove_leftovers(target)
        if not any(target.glob(f"{LIBRARIES}*")):
            _keep_others(target)
        for folder in libraries:
            _copy_libraries(folder, target)
        installed = _copy_programs(programs, target)
        _remove_older_builds(target, {folder.name for folder in libraries})
    return installed


def uninstall(target: Path) -> None:
    """Take the programs of every build out of `target`; what they replaced comes back.

    A file of another's that lies over one of ours stays.  Raises OSError.
    """
    with _locked(target):
        sizes = {path.lstat().st_size for name in ALONE if (path := target / name).exists()}
        for name in NAMES:
            program, before = target / name, target / REPLACED / name
            if os.path.lexists(program) and program.lstat().st_size not in sizes:
                continue
            if os.path.lexists(before):
                before.rename(program)
            else:
                program.unlink(missing_ok=True)
        for path in (*target.glob(f"{LIBRARIES}*"), *target.glob(REPLACED)):
            _remove(path)
        _remove_leftovers(target)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Wait until no other installation works in `directory`; the lock dies with the process."""
    file = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _remove_leftovers(target: Path) -> None:
    inside = [path for folder in target.glob(f"{LIBRARIES}*") for path in folder.rglob("*")]
    for path in (*target.iterdir(), *inside):
        if path.name.startswith(TEMPORARY):
            _remove(path)


def _keep_others(target: Path) -> None:
    """Give files that are there under our names a second name, in a folder of their own."""
    for name in NAMES:
        source, copy = target / name, target / REPLACED / name
        if os.path.lexists(source):
            copy.parent.mkdir(exist_ok=True)
            copy.unlink(missing_ok=True)
            _link(source, name).rename(copy)


def _copy_libraries(source: Path, target: Path) -> None:
    """Copy the folder `source` into `target`; where it is already, mend what is in it."""
    final = target / source.name
    folder = final if final.is_dir() else target / f"{TEMPORARY}{source.name}"
    for directory, _, names in os.walk(source):
        place = folder / Path(directory).relative_to(source)
        place.mkdir(exist_ok=True)
        for name in names:
            copy = _copy(Path(directory, name), place)
            copy.rename(place / name)
        _sync(place)
    folder.rename(final)


def _copy_programs(sources: list[Path], target: Path) -> list[Path]:
    """Copy `sources`, and only then switch; names of one file stay names of one file."""
    copies: dict[int, Path] = {}
    switches: list[tuple[Path, Path]] = []
    for source in sources:
        inode = source.stat().st_ino
        copy = _link(copies[inode], source.name) if inode in copies else _copy(source, target)
        copies[inode] = copy
        switches.append((copy, target / source.name))
    for copy, final in switches:
        copy.rename(final)
    _sync(target)
    return [final for _, final in switches]


def _remove_older_builds(target: Path, current: set[str]) -> None:
    """Remove the libraries of builds that were replaced long ago.

    The time of a folder is when it was last in use by those who start: the newest of the others
    was until now.
    """
    others = [path for path in target.glob(f"{LIBRARIES}*") if path.name not in current]
    others.sort(key=lambda path: path.stat().st_mtime_ns)
    now = time.time_ns()
    for folder in others[-1:]:
        os.utime(folder, ns=(now, now))
    for name in current:
        os.utime(target / name, ns=(now + 1, now + 1))
    for folder in others[:-1]:
        if folder.stat().st_mtime < time.time() - STAY_S:
            _remove(folder.rename(target / f"{TEMPORARY}{folder.name}"))


def _copy(source: Path, directory: Path) -> Path:
    """Copy a file into `directory`, down to the disk, under a temporary name; return it."""
    copy = directory / f"{TEMPORARY}{source.name}"
    shutil.copyfile(source, copy)
    shutil.copymode(source, copy)
    _sync(copy)
    return copy


def _link(copy: Path, name: str) -> Path:
    """Give `copy` one more temporary name; where a file can have but one, copy it once more."""
    link = copy.with_name(f"{TEMPORARY}{name}")
    try:
        link.hardlink_to(copy)
    except OSError:
        shutil.copyfile(copy, link)
        shutil.copymode(copy, link)
    return link


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


if __name__ == "__main__":
    for program in install(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.stdout.write(f"{program}\n")
