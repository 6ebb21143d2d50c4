"""The versions of the CNI SPEC that every program here speaks, and what came with which."""

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
DEFAULT = "0.1.0"  # of a configuration that names none


def parse(version: str) -> tuple[int, ...]:
    """Return `version` as comparable numbers; missing parts are 0.  Raises ValueError."""
    parts = version.split(".")
    if len(parts) > 3:
        message = f"version {version!r} has more than three parts"
        raise ValueError(message)
    if not all(part.isascii() and part.isdigit() for part in parts):
        message = f"version {version!r} is not made of numbers"
        raise ValueError(message)
    return tuple(int(part) for part in (*parts, "0", "0"))[:3]


def at_least(version: str, wanted: str) -> bool:
    """Tell whether `version` is `wanted` or newer.  Raises ValueError."""
    return parse(version) >= parse(wanted)
