"""One invocation, as a program sees it."""

from dataclasses import dataclass

from cni import versions
from cni.attachment import Attachment
from cni.config import Section, cni_args, decode
from cni.errors import CniError, Code
from cni.result import DNS, Result, read_dns, read_result


@dataclass(frozen=True)
class Request:
    """What the runtime asks for.

    `netns` is the path as given; on DEL it is empty too when there is no namespace any more.
    `stdin` is the configuration as it came: delegates get the whole of it.
    """

    verb: str
    attachment: Attachment
    netns: str
    args: str
    path: str
    stdin: bytes
    config: Section

    @property
    def cni_version(self) -> str:
        """Return the SPEC version that the configuration asks for."""
        return self.config.string("cniVersion") or versions.DEFAULT

    @property
    def runtime_config(self) -> Section:
        """Return what the runtime adds for declared capabilities."""
        return self.config.section("runtimeConfig")

    @property
    def dns(self) -> DNS | None:
        """Return the `dns` of the configuration; None when it says nothing at all."""
        section = self.config.section("dns")
        said = any(section.get(key) is not None for key in ("nameservers", "search", "options"))
        return read_dns(section) if said or section.string("domain") else None

    def arguments(self, *known: str) -> dict[str, str]:
        """Return the `known` pairs of CNI_ARGS."""
        return cni_args(self.args, known)

    def prev_result(self) -> Result | None:
        """Return the previous result; None when absent, and on DEL when it cannot be read."""
        values = self.config.get("prevResult")
        if values is None:
            return None
        try:
            return read_result(self.config.section("prevResult").values, self.cni_version)
        except CniError as error:
            if self.verb == "DEL":
                return None
            if error.code == Code.INVALID_CONFIG:
                raise CniError(Code.DECODING_FAILURE, error.msg, error.details) from error
            raise

    def required_prev_result(self) -> Result:
        """Return the previous result.  Raises CniError code 7 when there is none."""
        result = self.prev_result()
        if result is None:
            msg = f"cannot {self.verb} {self.config.string('type')}: prevResult is missing"
            details = "it must be called as a chained plugin, or with the result of ADD"
            raise CniError(Code.INVALID_CONFIG, msg, details)
        return result

    def valid_attachments(self) -> frozenset[tuple[str, str]] | None:
        """Return the (container ID, ifname) that GC must keep; None when the key is absent.

        None is not "nothing is valid": `cnitool gc` sends no key, and other runtimes may
        hold attachments under the same network name.
        """
        for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
            if self.config.get(key) is not None:
                pairs = self.config.sections(key)
                return frozenset((one.string("containerID"), one.string("ifname")) for one in pairs)
        return None

    def valid_owners(self) -> frozenset[str] | None:
        """Return the owners (`Attachment.owner`) that GC must keep; None when the key is absent."""
        pairs = self.valid_attachments()
        if pairs is None:
            return None
        return frozenset(Attachment(self.attachment.network, *pair).owner for pair in pairs)


def read_config(stdin: bytes) -> Section:
    """Return the network configuration in `stdin`.  Raises CniError code 6."""
    config = Section(decode(stdin))
    for key in ("name", "cniVersion"):
        if config.get(key) is not None and not isinstance(config.get(key), str):
            error = config.refuse(key, "a string")
            raise CniError(Code.DECODING_FAILURE, error.msg, error.details)
    return config
