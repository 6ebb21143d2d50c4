"""What a program says when it refuses."""

import errno
import json

import pytest

from cni.errors import CniError, Code, KernelError, invalid_config
from cni.result import dump
from cni.skel import error_object


def test_an_error_is_its_message_and_the_way_out() -> None:
    assert str(CniError(7, "cannot do it", "try that")) == "cannot do it; try that"
    assert str(CniError(7, "cannot do it")) == "cannot do it"


def test_an_error_is_printed_with_details_only_when_there_are_any() -> None:
    with_details = error_object(CniError(11, "busy", "wait"), "1.0.0")
    without = error_object(CniError(11, "busy"), "1.0.0")

    assert with_details == {"cniVersion": "1.0.0", "code": 11, "msg": "busy", "details": "wait"}
    assert without == {"cniVersion": "1.0.0", "code": 11, "msg": "busy"}


def test_the_code_is_printed_as_a_number() -> None:
    text = dump(error_object(invalid_config("bad"), "0.4.0"))

    assert json.loads(text)["code"] == 7
    assert text.startswith('{\n    "cniVersion": "0.4.0",\n    "code": 7,\n')


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (Code.INCOMPATIBLE_VERSION, 1),
        (Code.UNSUPPORTED_FIELD, 2),
        (Code.UNKNOWN_CONTAINER, 3),
        (Code.INVALID_ENVIRONMENT, 4),
        (Code.IO_FAILURE, 5),
        (Code.DECODING_FAILURE, 6),
        (Code.INVALID_CONFIG, 7),
        (Code.TRY_AGAIN, 11),
        (Code.UNAVAILABLE, 50),
        (Code.LIMITED_CONNECTIVITY, 51),
    ],
)
def test_the_codes_of_the_spec_have_its_numbers(code: Code, number: int) -> None:
    assert code == number


def test_codes_of_our_own_are_where_the_spec_lets_us() -> None:
    """1-99 are reserved; 8 and 999 are those of the reference library."""
    ours = {code for code in Code if code > 99}

    assert Code(999) is Code.INTERNAL
    assert {*Code} - ours == {1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51}


def test_a_refusal_of_the_kernel_has_its_errno_and_says_what_could_not_be_done() -> None:
    error = KernelError(errno.EEXIST, "add link eth0", "File exists")

    assert isinstance(error, OSError)
    assert error.errno == errno.EEXIST
    assert str(error) == "cannot add link eth0: File exists"
