"""The variables of the environment."""

import pytest

from cni.errors import CniError, Code
from ipam.aws_vpc.settings import Settings, read


def test_nothing_set_is_one_spare_eni() -> None:
    assert read({}) == Settings(warm_eni=1, cooldown=30)
    assert read({"WARM_IP_TARGET": "", "HOME": "/root"}) == read({})


def test_every_variable_has_its_setting() -> None:
    env = {
        "WARM_ENI_TARGET": "2",
        "WARM_IP_TARGET": "5",
        "MINIMUM_IP_TARGET": " 10 ",
        "WARM_PREFIX_TARGET": "3",
        "MAX_ENI": "4",
        "ENABLE_PREFIX_DELEGATION": "True",
        "IP_COOLDOWN_PERIOD": "0",
    }

    assert read(env) == Settings(2, 5, 10, 3, 4, prefixes=True, cooldown=0)


@pytest.mark.parametrize("text", ["-1", "0", ""])
def test_max_eni_below_one_is_no_limit(text: str) -> None:
    assert read({"MAX_ENI": text}).max_eni == 0


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"WARM_IP_TARGET": "five"}, "cannot use WARM_IP_TARGET=five; it must be a whole number"),
        ({"WARM_ENI_TARGET": "1.5"}, "WARM_ENI_TARGET=1.5"),
        ({"MINIMUM_IP_TARGET": "-3"}, "MINIMUM_IP_TARGET=-3; it must not be negative"),
        ({"IP_COOLDOWN_PERIOD": "30s"}, "IP_COOLDOWN_PERIOD=30s"),
        ({"MAX_ENI": "-"}, "MAX_ENI=-"),
        ({"WARM_IP_TARGET": "٣"}, "WARM_IP_TARGET"),
        ({"WARM_IP_TARGET": "9" * 5000}, "WARM_IP_TARGET"),
        ({"ENABLE_PREFIX_DELEGATION": "yes"}, "it must be true or false"),
        (
            {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "0"},
            "one of WARM_PREFIX_TARGET, WARM_IP_TARGET and MINIMUM_IP_TARGET must be at least 1",
        ),
    ],
)
def test_a_wrong_value_is_refused_by_name(env: dict[str, str], said: str) -> None:
    with pytest.raises(CniError, match="cannot use") as refused:
        read(env)

    assert refused.value.code == Code.INVALID_ENVIRONMENT
    assert said in str(refused.value)
    assert len(str(refused.value)) < 400
