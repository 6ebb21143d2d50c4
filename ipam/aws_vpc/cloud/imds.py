"""The instance metadata services: EC2's IMDSv2, with its tokens, and Azure's.

Both are plain HTTP to a link-local address, never through a proxy.
"""

import json
import time
from typing import Any

import urllib3

from ipam.aws_vpc.cloud import CloudError, Kind

EC2 = "http://169.254.169.254"
AZURE = "http://169.254.169.254"
AZURE_VERSION = "2021-02-01"
TOKEN_SECONDS = 21600  # the most that IMDSv2 grants
WAIT = urllib3.Timeout(connect=1.0, read=2.0)


class Metadata:
    """Reads paths below `base`."""

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._pool = urllib3.PoolManager(timeout=WAIT, retries=False)
        self._token, self._until = "", 0.0

    def text(self, path: str) -> str | None:
        """Return what EC2 says at `path` of the metadata; None when there is no such thing.

        Raises CloudError.
        """
        status, body = self._with_token(f"/latest/meta-data/{path}")
        if status == 404:
            return None
        if status != 200:
            raise _error(Kind.UNCERTAIN, path, f"HTTP status {status}")
        return body.decode(errors="replace").strip()

    def require(self, path: str) -> str:
        """Return the same of what every instance has."""
        found = self.text(path)
        if not found:
            raise _error(Kind.UNCERTAIN, path, "it is not there")
        return found

    def lines(self, path: str) -> tuple[str, ...]:
        """Return the same, line by line."""
        return tuple((self.text(path) or "").split())

    def _with_token(self, path: str) -> tuple[int, bytes]:
        """Ask, with a new token when ours is not taken."""
        while True:
            fresh = time.monotonic() >= self._until
            if fresh:
                headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
                status, body = self._ask("PUT", "/latest/api/token", headers)
                if status != 200:
                    raise _error(Kind.UNCERTAIN, "its token", f"HTTP status {status}")
                self._token = body.decode(errors="replace")
                self._until = time.monotonic() + TOKEN_SECONDS / 2
            headers = {"X-aws-ec2-metadata-token": self._token}
            status, body = self._ask("GET", path, headers)
            if status != 401 or fresh:
                return status, body
            self._until = 0.0

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            answer = self._pool.request(method, f"{self._base}{path}", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise _error(Kind.UNCERTAIN, path, str(error)) from error
        return answer.status, answer.data

    def azure(self) -> Any:
        """Return the network interfaces as Azure describes them.  Raises CloudError."""
        path = f"/metadata/instance/network/interface?api-version={AZURE_VERSION}"
        status, body = self._ask("GET", path, {"Metadata": "true"})
        if status != 200:
            raise _error(Kind.UNCERTAIN, path, f"HTTP status {status}")
        try:
            return json.loads(body)
        except ValueError as error:
            raise _error(Kind.UNCERTAIN, path, str(error)) from error


def _error(kind: Kind, what: str, cause: str) -> CloudError:
    return CloudError(kind, "", f"cannot read {what} of the metadata service: {cause}")
