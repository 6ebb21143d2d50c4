"""The codec that a frozen program starts with, and Python's package behind it."""

import io
import subprocess
import sys
from collections.abc import Callable
from encodings import utf_8
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cni import utf8

SOURCE = Path(utf8.__file__)
# In a process of its own: what is registered as a codec stays so.
AS_ENCODINGS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("encodings", {source!r})
module = importlib.util.module_from_spec(spec)
sys.modules["encodings"] = module
spec.loader.exec_module(module)
before = module.search_function("iso8859_15")
sys.frozen = True
after = module.search_function("iso8859_15")
import encodings
print(before, after.name, after.encode("€"), encodings is module, module.normalize_encoding("a-b"))
"""


@given(st.lists(st.binary(max_size=6), max_size=6))
def test_bytes_become_the_text_that_pythons_codec_makes_of_them(parts: list[bytes]) -> None:
    ours, theirs = utf8.UTF_8.incrementaldecoder("replace"), utf_8.IncrementalDecoder("replace")

    assert [ours.decode(part) for part in parts] == [theirs.decode(part) for part in parts]
    assert ours.decode(b"", final=True) == theirs.decode(b"", final=True)


@given(st.text(), st.sampled_from(["replace", "backslashreplace", "surrogateescape"]))
def test_text_becomes_the_same_bytes_and_text_again(text: str, errors: str) -> None:
    ours, theirs = utf8.UTF_8, utf_8.getregentry()

    assert ours.name == theirs.name
    assert outcome(lambda: ours.encode(text, errors)) == outcome(
        lambda: theirs.encode(text, errors)
    )
    data = text.encode("utf-8", "replace")
    assert ours.decode(data, errors) == theirs.decode(data, errors)


def outcome(run: Callable[[], object]) -> object:
    """Return what `run` returns, or the name of its error."""
    try:
        return run()
    except UnicodeError as error:
        return type(error).__name__


def test_streams_can_be_read_and_written() -> None:
    file = io.BytesIO()
    utf8.UTF_8.streamwriter(file).write("zwölf €\n")
    file.seek(0)

    assert utf8.UTF_8.streamreader(file).read() == "zwölf €\n"
    assert utf8.UTF_8.incrementalencoder().encode("€") == "€".encode()


def test_another_codec_comes_from_pythons_package_which_takes_the_place() -> None:
    run = subprocess.run(
        [sys.executable, "-c", AS_ENCODINGS.format(source=str(SOURCE))],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout == "None iso8859-15 (b'\\xa4', 1) False a_b\n"
