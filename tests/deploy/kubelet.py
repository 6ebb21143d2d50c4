"""What a kubelet does with a pod of the node's own network, by containerd's own calls.

Numbers of fields are from the interface's api.proto (runtime.v1), defaults from Kubernetes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deploy.manifests import Object
from tests.runtimes.containerd import Containerd
from tests.runtimes.cri import Value, decode, decode_numbers, message
from tests.runtimes.leftovers import wait_for

LOGS = Path("/run/logs")
VOLUMES = Path("/run/volumes")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
NODE = 2  # NamespaceMode
EXITED = 2  # ContainerState
UNCONFINED = 1  # SecurityProfile.ProfileType
# kubelet's securitycontext: defaultMaskedPaths and defaultReadonlyPaths
MASKED = (
    *("/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"),
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass
class Kubelet:
    """Runs one pod at a time as `spec`, a PodSpec, says; `files` are those of its ConfigMaps."""

    runtime: Containerd
    files: dict[str, str]
    token: Path
    environ: dict[str, str]
    sandbox: str = ""
    config: bytes = b""
    started: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    def start(self, spec: Object) -> None:
        """Run the pod: its init containers to their end, then the others."""
        self.runs += 1
        LOGS.mkdir(exist_ok=True)
        self.config = self._sandbox(spec)
        answer = self.runtime.cri.call("RunPodSandbox", message((1, self.config)))
        self.sandbox = decode(answer)[1][0].decode()
        volumes = {one["name"]: self._volume(one) for one in spec.get("volumes", ())}
        for container in spec.get("initContainers", ()):
            self.wait(self._run(spec, container, volumes))
        for container in spec["containers"]:
            self._run(spec, container, volumes)

    def wait(self, name: str) -> None:
        """Wait until a container has ended; fail the test when it has failed."""
        wait_for(lambda: self.status(name).get(3) == EXITED, f"{name} to end")
        assert self.status(name).get(7, 0) == 0, self.log(name)

    def stop(self, grace: int = 30) -> None:
        """End the pod."""
        for container in self.started.values():
            self.runtime.cri.call("StopContainer", message((1, container), (2, grace)))
        self.started.clear()
        if self.sandbox:
            self.runtime.cri.stop_sandbox(self.sandbox)
            self.runtime.cri.remove_sandbox(self.sandbox)
        self.sandbox = ""

    def status(self, name: str) -> dict[int, int]:
        """Return the numbers of the container's status: 3 is its state, 7 its exit status."""
        answer = self.runtime.cri.call("ContainerStatus", message((1, self.started[name])))
        return decode_numbers(decode(answer)[1][0])

    def log(self, name: str) -> str:
        """Return what the container has said."""
        return (LOGS / f"{name}-{self.runs}").read_text()

    def _sandbox(self, spec: Object) -> bytes:
        security = message((1, self._namespaces(spec)))
        metadata = message((1, "pycni"), (2, f"uid-{self.runs}"), (3, "kube-system"))
        linux = message((1, f"/{self.runtime.node.cgroup}"), (2, security))
        dns = message((1, "127.0.0.1"))  # the node's own, as dnsPolicy Default means
        return message((1, metadata), (3, str(LOGS)), (4, dns), (8, linux))

    def _namespaces(self, spec: Object) -> bytes:
        assert spec["hostNetwork"]
        return message((1, NODE), (2, NODE if spec.get("hostPID") else 1))

    def _volume(self, volume: Object) -> Path:
        """Return the directory that is mounted for a volume."""
        if "hostPath" in volume:
            path = Path(str(volume["hostPath"]["path"]))
            if volume["hostPath"].get("type") == "DirectoryOrCreate":
                path.mkdir(parents=True, exist_ok=True)
            return path
        place = VOLUMES / f"{self.runs}" / str(volume["name"])
        place.mkdir(parents=True)
        if "projected" in volume:
            for name, text in self.files.items():
                (place / name).write_text(text)
        return place

    def _run(self, spec: Object, container: Object, volumes: dict[str, Path]) -> str:
        """Start a container; return its name."""
        name: str = container["name"]
        mounts = [
            (one["mountPath"], str(volumes[one["name"]])) for one in container["volumeMounts"]
        ]
        if spec.get("automountServiceAccountToken", True):
            mounts.append((TOKEN, str(self.token)))
        environ = {**self.environ, **{one["name"]: "node1" for one in container.get("env", ())}}
        fields: list[tuple[int, Value]] = [
            (1, message((1, name))),
            (2, message((1, container["image"]))),
            *((3, word) for word in container.get("command", ())),
            *((4, word) for word in container.get("args", ())),
            *((6, message((1, key), (2, value))) for key, value in environ.items()),
            *((7, message((1, inside), (2, outside))) for inside, outside in mounts),
            (11, f"{name}-{self.runs}"),
            (15, message((2, self._security(spec, container["securityContext"])))),
        ]
        request = message((1, self.sandbox), (2, message(*fields)), (3, self.config))
        answer = self.runtime.cri.call("CreateContainer", request)
        self.started[name] = decode(answer)[1][0].decode()
        self.runtime.cri.call("StartContainer", message((1, self.started[name])))
        return name

    def _security(self, spec: Object, context: dict[str, Any]) -> bytes:
        capabilities = context["capabilities"]
        return message(
            (1, message(*((1, one) for one in capabilities["add"]), (2, capabilities["drop"][0]))),
            (3, self._namespaces(spec)),
            (7, int(context["readOnlyRootFilesystem"])),
            (11, int(not context.get("allowPrivilegeEscalation", True))),
            *((13, path) for path in MASKED),
            *((14, path) for path in READ_ONLY),
            (15, message((1, UNCONFINED))),
            (16, message((1, UNCONFINED))),
        )
