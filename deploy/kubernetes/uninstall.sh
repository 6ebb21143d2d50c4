#!/usr/bin/env bash
# Take pycni out of the cluster that kubectl speaks to, and all of it from each node.
#
#   deploy/kubernetes/uninstall.sh [SECONDS]      how long a node may take (120)
#
# Pods lose their network.  They can be removed only when the nodes have the next one, so drain
# the nodes first, or have it ready.
set -euo pipefail
cd "$(dirname "$0")"
patience=${1:-120}
own=(-n kube-system -l app.kubernetes.io/name=pycni)
jobs=(-n kube-system -l app.kubernetes.io/name=pycni-cleanup)

# of the DaemonSet, or of what was left to do the last time
images=$(kubectl get daemonset,job,pod -n kube-system -l 'app.kubernetes.io/name in (pycni, pycni-cleanup)' \
    -o 'jsonpath={.items[*].spec.template.spec.containers[0].image} {.items[*].spec.containers[0].image}')
read -r image _ <<<"$images"
[[ $image ]] || {
    echo "uninstall.sh: pycni is not in this cluster" >&2
    exit 1
}
kubectl delete daemonset "${own[@]}" --wait
# a node that does not answer keeps its pod for ever: the others are cleaned all the same
kubectl wait --for=delete pod "${own[@]}" --timeout=300s || {
    left=$(kubectl get pod "${own[@]}" -o 'jsonpath={.items[*].spec.nodeName}')
    [[ ! $left ]] || echo "uninstall.sh: the agent has not ended on $left" >&2
}

kubectl delete job "${jobs[@]}" --ignore-not-found
for node in $(kubectl get nodes -o 'jsonpath={.items[*].metadata.name}'); do
    sed "s,NODE,$node,; s,IMAGE,$image," cleanup.yaml | kubectl create -f -
done
kubectl wait --for=condition=complete job "${jobs[@]}" --timeout="${patience}s" || {
    kubectl logs "${jobs[@]}" --prefix --tail=-1
    echo "uninstall.sh: some nodes are not clean yet; run it again, or look at: kubectl get job,pod ${jobs[*]}" >&2
    exit 1
}
kubectl logs "${jobs[@]}" --prefix --tail=-1
kubectl delete job "${jobs[@]}"
kubectl delete "${own[@]}" serviceaccount,configmap --ignore-not-found
kubectl delete clusterrole,clusterrolebinding pycni --ignore-not-found
