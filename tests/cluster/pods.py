"""Pods and services, as the API takes them and tells of them."""

from dataclasses import dataclass
from typing import Any

from tests.runtimes import image

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that runs: its name, node and address; `id` is its container's, `app` its label."""

    name: str
    app: str
    node: str
    address: str
    id: str


def read(said: Json) -> Pod | None:
    """Return the pod that the API describes, if it runs and nobody has deleted it."""
    status, spec, metadata = said["status"], said["spec"], said["metadata"]
    containers = status.get("containerStatuses", [])
    running = [one["containerID"] for one in containers if "running" in one["state"]]
    if not running or "deletionTimestamp" in metadata or not status.get("podIP"):
        return None
    app = metadata.get("labels", {}).get("app", "")
    return Pod(metadata["name"], app, spec["nodeName"], status["podIP"], running[0])


def web(name: str, node: str, app: str = "", **port: Any) -> Json:
    """Return a pod on a node that serves the image's pages; `port` goes to its container port."""
    container = {
        "name": "web",
        "image": image.NAME,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": image.PORT, **port}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app or name}},
        "spec": {
            "nodeName": node,
            "containers": [container],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            # an end of the node that is being tested shall not end the pod's object
            "tolerations": [{"operator": "Exists"}],
        },
    }


def service(name: str, app: str, **spec: Any) -> Json:
    """Return a service on port 80 for the pods called `app`."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}], **spec},
    }
