"""CNI_ARGS: `K=V;K=V`, read as the reference library does."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.config import cni_args
from cni.errors import CniError, Code
from tests.unit.results import EXAMPLES

KNOWN = ("IP", "GATEWAY", "MAC")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("IP=10.1.2.3", {"IP": "10.1.2.3"}),
        ("IP=10.1.2.3;GATEWAY=10.1.2.1", {"IP": "10.1.2.3", "GATEWAY": "10.1.2.1"}),
        ("IP=", {"IP": ""}),
        ("IP=a;IP=b", {"IP": "b"}),
        ("IP= spaces stay ", {"IP": " spaces stay "}),
        ("IgnoreUnknown=0", {}),
    ],
)
def test_pairs_are_read(text: str, pairs: dict[str, str]) -> None:
    assert cni_args(text, KNOWN) == pairs


@pytest.mark.parametrize(
    "text", ["IP", "IP=1;", ";IP=1", ";", "=;=", "IP=a=b", "IP==", "IP=1;;A=2"]
)
def test_a_pair_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CniError, match="CNI_ARGS") as caught:
        cni_args(text, KNOWN)

    assert caught.value.code == Code.INVALID_ENVIRONMENT


@pytest.mark.parametrize("truth", ["1", "true", "True", "TRUE"])
def test_unknown_keys_are_ignored_when_told_so_anywhere(truth: str) -> None:
    """containerd sends its keys in random order."""
    for pairs in permutations((f"IgnoreUnknown={truth}", "K8S_POD_NAME=web", "IP=10.1.2.3")):
        assert cni_args(";".join(pairs), KNOWN) == {"IP": "10.1.2.3"}


@pytest.mark.parametrize("truth", ["", "IgnoreUnknown=0;", "IgnoreUnknown=False;"])
def test_unknown_keys_are_refused_by_name_otherwise(truth: str) -> None:
    with pytest.raises(CniError, match="unknown keys K8S_POD_NAME, ip") as caught:
        cni_args(f"{truth}K8S_POD_NAME=web;ip=10.1.2.3", KNOWN)

    assert caught.value.details == "remove them, or add IgnoreUnknown=1"


@pytest.mark.parametrize("truth", ["", "yes", "2", " 1", "truee", "\u0661"])
def test_what_is_no_truth_is_refused(truth: str) -> None:
    with pytest.raises(CniError, match="it must be 1, true, 0 or false"):
        cni_args(f"IgnoreUnknown={truth};IP=10.1.2.3", KNOWN)


def test_keys_are_case_sensitive_as_in_the_reference() -> None:
    assert cni_args("ip=1;Ip=2;IgnoreUnknown=1", KNOWN) == {}
    with pytest.raises(CniError, match="unknown keys ignoreunknown"):
        cni_args("ignoreunknown=1", KNOWN)


def test_a_program_that_knows_no_key_refuses_all_of_them() -> None:
    with pytest.raises(CniError, match="unknown keys IP"):
        cni_args("IP=10.1.2.3")


@EXAMPLES
@given(
    st.dictionaries(st.sampled_from(KNOWN), st.text().filter(lambda text: not {*text} & {*"=;"}))
)
def test_any_pairs_are_read_back(pairs: dict[str, str]) -> None:
    text = ";".join(f"{key}={value}" for key, value in pairs.items())

    assert cni_args(text, KNOWN) == pairs


@EXAMPLES
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        pairs = cni_args(text, KNOWN)
    except CniError as error:
        refusal: CniError | None = error
    else:
        refusal = None
        assert set(pairs) <= {*KNOWN}

    assert refusal is None or refusal.code == Code.INVALID_ENVIRONMENT
    assert len(str(refusal)) < 1500
