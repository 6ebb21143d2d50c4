"""Files that people write for the node agent: JSON or YAML, told apart by their content."""

import fcntl
import json
import os
from contextlib import suppress
from typing import Any, BinaryIO

from cni.errors import CniError, Code


def read(path: str, what: str) -> Any:
    """Return what the file says, in JSON's types; `what` names it in errors.

    Raises CniError: code 5 when it cannot be read, 6 when it is neither JSON nor YAML.
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        msg = f"cannot read {what} {path}: {error.strerror}"
        raise CniError(Code.IO_FAILURE, msg) from error
    try:
        return _decode(text.decode())
    except (ValueError, RecursionError) as error:
        cause = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        msg = f"cannot decode {what} {path}: {cause}"
        raise CniError(Code.DECODING_FAILURE, msg, "it must be JSON or YAML") from error


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _decode_yaml(text)


def _decode_yaml(text: str) -> Any:
    """Return JSON's types only: a date of YAML's becomes its text.  Raises ValueError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(text, loader)  # noqa: S506  # a safe one
        return json.loads(json.dumps(value, default=str, allow_nan=False))
    except (yaml.YAMLError, TypeError) as error:
        raise ValueError(error) from error


def write(path: str, value: Any) -> None:
    """Write JSON in one step: a reader, also after a crash, sees the old file or the new one.

    The directory is made if need be; the file is root's alone.  Of several writers each writes
    its own, one after the other.  Raises OSError.
    """
    text, new = json.dumps(value).encode("ascii"), f"{path}.new"
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with _claim(new) as file:
        try:
            file.truncate()
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.rename(new, path)
        except BaseException:
            os.unlink(new)
            raise


def remove(path: str, seen: os.stat_result) -> None:
    """Remove the document, unless somebody has written it anew since it was `seen`.

    Writers wait.  Raises OSError.
    """
    new = f"{path}.new"
    with _claim(new):
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), seen):
                os.unlink(path)
        os.unlink(new)


def _claim(path: str) -> BinaryIO:
    """Open a file for us alone, at its start; it may be there, as a killed writer left it."""
    while True:
        file = open(path, "r+b", opener=_private)  # noqa: SIM115  # the caller closes it
        fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()  # while we waited it got its last name: it is another's document


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o600)
