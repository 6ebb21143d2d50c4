#!/usr/bin/env bash
# A kind cluster of one control plane and three workers, whose network is pycni.
#
#   deploy/kind/up.sh [routes|vxlan]     make it, or give it what has changed since (routes)
#   deploy/kind/up.sh down               remove it
#
# CLUSTER is its name (pycni); ENGINE is docker or podman: the one that works.  NODE_IMAGE is what its
# nodes are made of, say kindest/node:v1.32.2 (the one of this kind); BASE, the system that our image
# is made on (debian:12), must not be newer.
set -euo pipefail
cd "$(dirname "$0")/../.."
network=${1:-routes}
cluster=${CLUSTER:-pycni}
engine=${ENGINE:-}

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'up.sh: %s\n' "$*" >&2
    exit 1
}

kubectl_() { kubectl --context "kind-$cluster" "$@"; }

choose_engine() {
    local one
    for one in docker podman; do
        [[ $engine ]] || ! "$one" info >/dev/null 2>&1 || engine=$one
    done
    [[ $engine ]] || die "neither docker nor podman works"
    [[ $engine != podman ]] || export KIND_EXPERIMENTAL_PROVIDER=podman
}

need_kubectl() {
    kubectl kustomize "deploy/kind/$network" >/dev/null || die "kubectl must be 1.22 or newer"
}

# The nodes of kind are Debian 12 or newer since its 0.21: its own Python will do.
build() {
    [[ -x build.sh ]] || die "the image is made in the source tree, and this is an archive"
    say "the image"
    ENGINE=$engine BASE=${BASE:-debian:12} ./build.sh image
    image=localhost/pycni:$("$engine" image inspect --format '{{.Id}}' localhost/pycni:dev | sed 's/^sha256://' | head -c 12)
    "$engine" tag localhost/pycni:dev "$image"
}

create() {
    kind get clusters 2>/dev/null | grep -x "$cluster" >/dev/null && return
    say "the cluster $cluster"
    kind create cluster --name "$cluster" --config deploy/kind/cluster.yaml ${NODE_IMAGE:+--image "$NODE_IMAGE"}
}

load() {
    say "the image, into the nodes"
    archive=$(mktemp)
    trap 'rm -f "$archive"' EXIT
    "$engine" save --output "$archive" "$image"
    kind load image-archive "$archive" --name "$cluster"
}

# Print the folder that is the network for the Kubernetes of the cluster.
overlay() {
    local minor
    minor=$(kubectl_ get --raw /version | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p')
    ((minor >= 30)) && echo "deploy/kind/$network" || echo "deploy/kind/before-1.30/$network"
}

# The image has a tag of its own, so that a changed one is rolled out.
install() {
    say "pycni, and the nodes to be ready"
    kubectl kustomize "$(overlay)" |
        sed "s,localhost/pycni:dev,$image,; s,pycni-control-plane,$cluster-control-plane," |
        kubectl_ apply -f -
    kubectl_ -n kube-system rollout status daemonset/pycni --timeout=5m
    kubectl_ wait node --all --for=condition=Ready --timeout=2m
    say "the first pods"
    kubectl_ -n kube-system rollout status deployment/coredns --timeout=2m
}

for tool in kind kubectl; do
    command -v "$tool" >/dev/null || die "$tool is missing"
done
choose_engine
case $network in
routes | vxlan)
    need_kubectl
    build
    create
    load
    install
    ;;
down)
    kind delete cluster --name "$cluster"
    ;;
*)
    die "say routes, vxlan or down"
    ;;
esac
