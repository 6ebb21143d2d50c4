"""What a program says when it refuses: codes and the one exception (CNI SPEC 1.1.0, "Error")."""

from enum import IntEnum


class Code(IntEnum):
    """Error codes: 1-99 are the SPEC's, 100 and up are ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2  # the message names key and value
    UNKNOWN_CONTAINER = 3  # the runtime need not clean up
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    DECODING_FAILURE = 6
    INVALID_CONFIG = 7
    INVALID_NETNS = 8  # the reference library's: CNI_NETNS is the caller's own namespace
    TRY_AGAIN = 11  # it will clear by itself
    UNAVAILABLE = 50  # STATUS: ADD cannot be served
    LIMITED_CONNECTIVITY = 51  # STATUS: and pods that run may be cut off
    EXHAUSTED = 100  # no address left in a static range
    ALREADY_ATTACHED = 101  # ADD: this attachment, or what it needs, exists
    CHECK_FAILED = 102  # CHECK: the attachment is not as its result says
    PLUGIN_FAILED = 103  # a program that we executed died without a word
    KERNEL_REFUSED = 104  # netlink answered with an errno
    INTERNAL = 999


class CniError(Exception):
    """A refusal: `code`, `msg` (what cannot be done, to which thing), `details` (the way out)."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, details

    def __str__(self) -> str:
        return f"{self.msg}; {self.details}" if self.details else self.msg


def invalid_config(msg: str, details: str = "") -> CniError:
    """Return the refusal of a configuration (code 7)."""
    return CniError(Code.INVALID_CONFIG, msg, details)


class KernelError(OSError):
    """A refusal of the kernel: `errno`, and a text that says what could not be done."""

    def __init__(self, number: int, what: str, cause: str) -> None:
        super().__init__(number, f"cannot {what}: {cause}")

    def __str__(self) -> str:
        return str(self.strerror)
