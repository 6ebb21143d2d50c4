"""What the frozen executable runs after `cni/handover.py`: an importer for its archive, a program.

It stands in the place of PyInstaller's own start-up code, which serves every kind of
application and takes twice as long.  It differs in what matters to a CNI program:

- the archive is the running file itself and stays open, so a program goes on when an
  installation puts another build under its name (see cni/install.py);
- the garbage collector is off, since a program ends before it would pay; one that stays turns
  it on again;
- the interpreter is not taken apart at the end.

Only built-in modules can be imported before the importer is there.
"""

import marshal
import os
import sys
import zlib
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.abc import Loader
    from types import CodeType, ModuleType
else:
    Loader, ModuleType = object, type(sys)

# What libraries import on top and use in a branch that our programs seldom take.
LAZY = ("inspect", "pkgutil", "traceback")
PACKAGE = 1  # the kind of an entry; 0 is a module


class LazyModule(ModuleType):
    """A module whose code runs when first something is asked of it."""

    def __init__(self, name: str, archive: "Archive") -> None:
        super().__init__(name)
        self.archive = archive

    def __getattr__(self, name: str) -> object:
        """Run the code, and be a plain module from then on.

        The import system asks for names of its own before: those do not count.
        """
        if name.startswith("__"):
            raise AttributeError(name)
        exec(self.archive.get_code(self.__name__), self.__dict__)
        self.__class__ = ModuleType  # type: ignore[assignment]  # allowed between module types
        return getattr(self, name)


class Archive(Loader):
    """An importer for PyInstaller's PYZ archive, `start` bytes into the running executable."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._file = os.open("/proc/self/exe", os.O_RDONLY | os.O_CLOEXEC)
        # bytes 8 to 11: where the table of contents begins, the last thing in the archive
        place = int.from_bytes(self._read(8, 4), "big")
        with open(self._file, "rb", closefd=False) as file:
            file.seek(start + place)
            self._entries: dict[str, tuple[int, int, int]] = dict(marshal.load(file))

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        """Return how to load `name`; None when the archive has no such module."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        spec = ModuleSpec(name, self, origin=f"{name}.py", is_package=entry[0] == PACKAGE)
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(f"{sys.path[-1]}/{name.replace('.', '/')}")
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make a lazy module of the lazy ones; leave it to Python to make the others."""
        return LazyModule(spec.name, self) if spec.name in LAZY else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the code of `module`, but for a lazy one."""
        if module.__class__ is not LazyModule:
            exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> "CodeType":
        """Return the code of the module `name`."""
        _, offset, size = self._entries[name]
        code: CodeType = marshal.loads(zlib.decompress(self._read(offset, size)))
        return code

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, self._start + offset)


def boot() -> None:
    """Be the program that this process was called as, and end with its exit status."""
    import atexit
    import gc

    gc.disable()
    place: str = vars(sys)["_pyinstaller_pyz"]  # path?start
    sys.meta_path.insert(0, Archive(int(place.rpartition("?")[2])))
    vars(sys)["frozen"] = True
    from cni.__main__ import main

    status = main()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    boot()
