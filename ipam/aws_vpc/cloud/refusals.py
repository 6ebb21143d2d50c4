"""EC2's refusals, by what they mean for the pool (docs.aws.amazon.com/ec2, "Error codes").

Some have more than one form: that no /28 is left is said by InsufficientCidrBlocks, and by
InvalidParameterValue with words about free prefixes.
"""

from collections.abc import Mapping
from typing import Any

from ipam.aws_vpc.cloud import CloudError, Kind

THROTTLED = """
    RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled
    RequestThrottledException EC2ThrottledException SlowDown TooManyRequestsException
    BandwidthLimitExceeded
"""
UNCERTAIN = """
    InternalError InternalFailure InternalServerError Unavailable ServiceUnavailable RequestTimeout
    RequestTimeoutException
"""
DENIED = """
    UnauthorizedOperation AccessDenied AccessDeniedException AuthFailure Blocked ExpiredToken
    InvalidClientTokenId OptInRequired PendingVerification RequestExpired SignatureDoesNotMatch
    UnrecognizedClientException
"""
ENCODED = " Encoded authorization failure message:"  # no two of which are alike, nor to be read
KINDS = {
    **dict.fromkeys(THROTTLED.split(), Kind.THROTTLED),
    **dict.fromkeys(UNCERTAIN.split(), Kind.UNCERTAIN),
    **dict.fromkeys(DENIED.split(), Kind.DENIED),
    "PrivateIpAddressLimitExceeded": Kind.ENI_FULL,
    "InsufficientFreeAddressesInSubnet": Kind.NO_ADDRESS,
    "InsufficientCidrBlocks": Kind.NO_PREFIX,
    "AttachmentLimitExceeded": Kind.ENI_LIMIT,
    "InvalidNetworkInterfaceID.NotFound": Kind.GONE,
    "InvalidAttachmentID.NotFound": Kind.GONE,
    "InvalidNetworkInterface.InUse": Kind.BUSY,
    "IncorrectState": Kind.BUSY,
}


def refusal(answer: Mapping[str, Any], *, prefixes: bool = False) -> CloudError:
    """Return what botocore's error response says; `prefixes`: some were asked for."""
    error = answer.get("Error", {})
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    code, text = str(error.get("Code", "")), str(error.get("Message", "")).partition(ENCODED)[0]
    kind = KINDS.get(code)
    if kind is None and code == "InvalidParameterValue":
        kind = _by_words(text.casefold(), prefixes=prefixes)
    if kind is None:
        kind = Kind.UNCERTAIN if status >= 500 else Kind.REFUSED
    return CloudError(kind, code, text)


def _by_words(text: str, *, prefixes: bool) -> Kind | None:
    """Return what an InvalidParameterValue says that has no code of its own."""
    if "in use" in text:
        return Kind.BUSY
    if "sufficient free" in text or "not enough free" in text:
        return Kind.NO_PREFIX if prefixes else Kind.NO_ADDRESS
    return None
