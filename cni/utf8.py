"""What a frozen program has in the place of Python's `encodings`, until it needs that.

Python wants the codec of UTF-8 when it starts, and its own package brings the names of all others
along: 0.5 ms, a twentieth of what a launcher takes.  Whatever else is asked of this module is
answered by Python's, which then takes its place.
"""

import codecs
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from _typeshed import ReadableBuffer as Buffer

__path__: list[str] = []  # a package: its modules come from the importer of cni/boot.py


def _decode(data: "Buffer", errors: str = "strict") -> tuple[str, int]:
    return codecs.utf_8_decode(data, errors, True)  # noqa: FBT003  # takes no keywords


class _IncrementalEncoder(codecs.IncrementalEncoder):
    def encode(self, text: str, final: bool = False) -> bytes:  # noqa: ARG002, FBT001, FBT002
        return codecs.utf_8_encode(text, self.errors)[0]


class _IncrementalDecoder(codecs.BufferedIncrementalDecoder):
    _buffer_decode = codecs.utf_8_decode  # type: ignore[assignment]  # built in: no method


class _StreamWriter(codecs.StreamWriter):
    encode = codecs.utf_8_encode  # type: ignore[assignment]  # the same


class _StreamReader(codecs.StreamReader):
    decode = codecs.utf_8_decode  # type: ignore[assignment]  # the same


UTF_8 = codecs.CodecInfo(
    codecs.utf_8_encode,
    _decode,
    _StreamReader,
    _StreamWriter,
    _IncrementalEncoder,
    _IncrementalDecoder,
    "utf-8",
)


def search_function(name: str) -> codecs.CodecInfo | None:
    """Return the codec called `name`, in lower case and with underscores; None: there is none."""
    if name == "utf_8":
        return UTF_8
    if not hasattr(sys, "frozen"):  # the importer is not there yet, nor will its absence be long
        return None
    found: codecs.CodecInfo | None = _pythons().search_function(name)
    return found


def _pythons() -> "ModuleType":
    """Let Python's package take the place of this module."""
    sys.modules.pop("encodings", None)
    import encodings

    return encodings


def __getattr__(name: str) -> object:
    if name.startswith("__"):  # the import system asks for names of its own
        raise AttributeError(name)
    return getattr(_pythons(), name)


codecs.register(search_function)
