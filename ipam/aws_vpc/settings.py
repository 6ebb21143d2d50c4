"""What the user wants of the pool: environment variables under the names of the Amazon VPC CNI.

docs/aws-vpc-addresses.md shows what each of them does, with examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cni.errors import CniError, Code

NAMES = (
    "WARM_ENI_TARGET",
    "WARM_IP_TARGET",
    "MINIMUM_IP_TARGET",
    "WARM_PREFIX_TARGET",
    "MAX_ENI",
    "ENABLE_PREFIX_DELEGATION",
    "IP_COOLDOWN_PERIOD",
)
TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")


@dataclass(frozen=True)
class Settings:
    """Targets of the pool.  0 is "unset" for `warm_ip`, `minimum_ip` and `max_eni`."""

    warm_eni: int = 1  # spare addresses, counted in ENIs' worth
    warm_ip: int = 0  # spare addresses
    minimum_ip: int = 0  # addresses, at least
    warm_prefix: int = 1  # spare addresses, counted in /28 prefixes
    max_eni: int = 0  # ENIs at most, the primary included
    prefixes: bool = False  # take /28 prefixes rather than single addresses
    cooldown: int = 30  # seconds before the address of a deleted pod is given to another

    @property
    def by_address(self) -> bool:
        """Tell whether addresses are counted one by one: the other targets are ignored then."""
        return bool(self.warm_ip or self.minimum_ip)


def read(env: Mapping[str, str]) -> Settings:
    """Return the settings in `env`; an empty variable is an unset one.

    Raises CniError code 4, naming the variable.
    """
    default = Settings()
    settings = Settings(
        warm_eni=_count(env, "WARM_ENI_TARGET", default.warm_eni),
        warm_ip=_count(env, "WARM_IP_TARGET", default.warm_ip),
        minimum_ip=_count(env, "MINIMUM_IP_TARGET", default.minimum_ip),
        warm_prefix=_count(env, "WARM_PREFIX_TARGET", default.warm_prefix),
        # manifests in the field say -1 for "no limit"
        max_eni=max(_number(env, "MAX_ENI", default.max_eni), 0),
        prefixes=_truth(env, "ENABLE_PREFIX_DELEGATION"),
        cooldown=_count(env, "IP_COOLDOWN_PERIOD", default.cooldown),
    )
    if settings.prefixes and not (settings.by_address or settings.warm_prefix):
        raise _refuse(
            env,
            "ENABLE_PREFIX_DELEGATION",
            "with it, one of WARM_PREFIX_TARGET, WARM_IP_TARGET and MINIMUM_IP_TARGET must be"
            " at least 1",
        )
    return settings


def _refuse(env: Mapping[str, str], name: str, wanted: str) -> CniError:
    msg = f"cannot use {name}={env.get(name, '')[:200]}"
    return CniError(Code.INVALID_ENVIRONMENT, msg, wanted)


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.removeprefix("-").isdigit() or len(text) > 9:
        raise _refuse(env, name, "it must be a whole number")
    return int(text)


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    number = _number(env, name, default)
    if number < 0:
        raise _refuse(env, name, "it must not be negative; leave it out for the default")
    return number


def _truth(env: Mapping[str, str], name: str) -> bool:
    text = env.get(name, "").strip().casefold()
    if text and text not in TRUE + FALSE:
        raise _refuse(env, name, "it must be true or false")
    return text in TRUE
