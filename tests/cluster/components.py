"""What each program of Kubernetes is told: options, settings files, and who may do what.

Everyone proves who they are by a token, and the server of the API by a certificate of its own.
"""

import json
from pathlib import Path
from typing import Any

from tests import lab

POD_SUBNET, SERVICE_SUBNET = "10.10.0.0/16", "10.200.1.0/24"
FIRST_SERVICE = "10.200.1.1"  # that of the API
PAUSE = "localhost/pycni-pause:1"
CONFIG = "/etc/kubernetes"
RUNTIME = "/run/containerd/containerd.sock"
NO_PODS = "node-role.kubernetes.io/master:NoSchedule"  # as kubeadm has it
Words = tuple[str, ...]


def write_keys(folder: Path, name: str, api: str) -> None:
    """Make the key and the certificate of the API's server, by its name and address."""
    names = f"DNS:kubernetes.default.svc,DNS:{name},IP:{api},IP:{FIRST_SERVICE},IP:127.0.0.1"
    lab.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30"
        f" -subj /CN=kubernetes -addext subjectAltName={names}"
        f" -keyout {folder}/server.key -out {folder}/server.crt"
    )


def write_users(folder: Path, *nodes: str) -> None:
    """Write who is known by which token: the parts of the control plane, and each node."""
    users = dict.fromkeys(("kube-controller-manager", "kube-scheduler", "kube-proxy"), "")
    users |= {f"node:{name}": "system:nodes" for name in nodes}
    lines = [f"{name},system:{name},{name},{group}" for name, group in users.items()]
    lines.append("admin,admin,admin,system:masters")
    (folder / "tokens.csv").write_text("\n".join(lines) + "\n")


def kubeconfig(api: str, user: str, certificate: str) -> str:
    """Return the settings by which `user` reaches the API at the address `api`."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": _cluster(api, certificate)}],
            "users": [{"name": "me", "user": {"token": user}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
            "current-context": "it",
        }
    )


def _cluster(api: str, certificate: str) -> dict[str, str]:
    return {"server": f"https://{api}:6443", "certificate-authority": certificate}


def control_plane(api: str) -> dict[str, Words]:
    """Return the services of the control plane, on a node with the address `api`."""
    key, certificate = f"{CONFIG}/server.key", f"{CONFIG}/server.crt"
    etcd, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    quiet = ("--leader-elect=false", "--bind-address=127.0.0.1", "--port=0")
    return {
        "etcd": (
            *("etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync"),
            *(f"--{one}-client-urls={etcd}" for one in ("listen", "advertise")),
            *(f"--{one}-peer-urls={peers}" for one in ("listen", "initial-advertise")),
            f"--initial-cluster=default={peers}",
        ),
        "kube-apiserver": (
            *("kube-apiserver", f"--advertise-address={api}", f"--etcd-servers={etcd}"),
            *("--insecure-port=0", "--allow-privileged", "--authorization-mode=Node,RBAC"),
            *(
                "--enable-admission-plugins=NodeRestriction",
                f"--token-auth-file={CONFIG}/tokens.csv",
            ),
            *(f"--tls-cert-file={certificate}", f"--tls-private-key-file={key}"),
            f"--service-cluster-ip-range={SERVICE_SUBNET}",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={certificate}",
            f"--service-account-signing-key-file={key}",
        ),
        "kube-controller-manager": (
            *("kube-controller-manager", *quiet, "--use-service-account-credentials"),
            f"--kubeconfig={CONFIG}/kube-controller-manager.conf",
            *("--allocate-node-cidrs", f"--cluster-cidr={POD_SUBNET}"),
            *(f"--service-cluster-ip-range={SERVICE_SUBNET}", f"--root-ca-file={certificate}"),
            f"--service-account-private-key-file={key}",
            # a node that is rebooted or lost is seen to be so within a test's patience
            *("--node-monitor-period=1s", "--node-monitor-grace-period=8s"),
            *("--kube-api-qps=500", "--kube-api-burst=1000"),
            "--flex-volume-plugin-dir=/var/lib/kubelet/plugins",
        ),
        "kube-scheduler": (
            *("kube-scheduler", *quiet, f"--kubeconfig={CONFIG}/kube-scheduler.conf"),
        ),
    }


def node(name: str, address: str, *taints: str) -> dict[str, Words]:
    """Return the services of every node, but for the runtime."""
    return {
        "kubelet": (
            *("kubelet", f"--config={CONFIG}/kubelet.json", f"--kubeconfig={CONFIG}/kubelet.conf"),
            *(f"--hostname-override={name}", f"--node-ip={address}"),
            *("--container-runtime=remote", f"--container-runtime-endpoint=unix://{RUNTIME}"),
            *(f"--pod-infra-container-image={PAUSE}", "--cert-dir=/var/lib/kubelet/pki"),
            *(f"--register-with-taints={taint}" for taint in taints),
        ),
        "kube-proxy": ("kube-proxy", f"--config={CONFIG}/kube-proxy.json"),
    }


RUNTIME_SERVICE = ("containerd", f"--config={CONFIG}/containerd.toml")
# Without CAP_SYS_RESOURCE no score may be lowered; an AppArmor profile would be the machine's.
CONTAINERD = f"""
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
"""


def kubelet_settings() -> dict[str, Any]:
    """Return the kubelet's settings file."""
    full = ("nodefs.available", "nodefs.inodesFree", "imagefs.available")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # nothing but these namespaces reaches the kubelet
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": "/",
        "clusterDomain": "cluster.local",
        "oomScoreAdj": 0,
        "failSwapOn": False,
        "nodeStatusUpdateFrequency": "1s",
        "nodeLeaseDurationSeconds": 8,
        # the disk is the developer's, however full it is
        "evictionHard": dict.fromkeys(full, "0%"),
        "imageGCHighThresholdPercent": 100,
        "volumePluginDir": "/var/lib/kubelet/plugins",
        # ninety pods at once shall wait for the network plugin, not for their turn at the API
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "eventRecordQPS": 0,
        "registryPullQPS": 0,
    }


def proxy_settings(name: str) -> dict[str, Any]:
    """Return the settings file of kube-proxy."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{CONFIG}/kube-proxy.conf"},
        "clusterCIDR": POD_SUBNET,
        "hostnameOverride": name,
        "mode": "iptables",
        "oomScoreAdj": 0,
        # these are the machine's, not the network namespace's
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def write(folder: Path, name: str, api: str) -> None:
    """Write all settings files of the node `name` to `folder`, its /etc/kubernetes."""
    certificate = f"{CONFIG}/server.crt"
    users = {
        "kubelet": f"node:{name}",
        **{one: one for one in ("kube-proxy", "kube-controller-manager", "kube-scheduler")},
    }
    for service, user in users.items():
        (folder / f"{service}.conf").write_text(kubeconfig(api, user, certificate))
    (folder / "kubelet.json").write_text(json.dumps(kubelet_settings()))
    (folder / "kube-proxy.json").write_text(json.dumps(proxy_settings(name)))
    (folder / "containerd.toml").write_text(CONTAINERD)
