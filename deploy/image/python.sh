#!/bin/sh
# Give a Debian a Python that ./build.sh can freeze: its own if that is 3.11 or newer, else that of
# Debian 12, made here of Debian's sources (which apt checks) with Debian 12's OpenSSL.
set -eu
export DEBIAN_FRONTEND=noninteractive
SUITE=bookworm
MIRROR=${MIRROR:-http://deb.debian.org}
JOBS=$(nproc)

install() { apt-get -qq install -y --no-install-recommends "$@" >/dev/null; }

is_new_enough() { apt-cache policy python3 | grep -Eq 'Candidate: 3\.(1[1-9]|[2-9][0-9])'; }

# Unpack Debian's source package $1 into /usr/src/$1.
source_of() {
    mkdir -p "/usr/src/$1"
    cd "/usr/src/$1"
    apt-get -qq source --download-only "$1/$SUITE"
    dpkg-source --extract ./*.dsc source >/dev/null
    cd source
}

make_openssl() {
    source_of openssl
    ./config --prefix=/usr/local --libdir=lib --openssldir=/usr/lib/ssl shared no-tests >/dev/null
    make -s -j"$JOBS" >/dev/null
    make -s install_sw >/dev/null
    ldconfig
}

make_python() {
    source_of python3.11
    ./configure -q --enable-shared --with-openssl=/usr/local --with-lto --without-ensurepip \
        ${PROFILE:+--enable-optimizations}
    make -s -j"$JOBS" ${PROFILE:+PROFILE_TASK="-m test --pgo $PROFILE"} >/dev/null
    make -s install >/dev/null
    ldconfig
}

apt-get -qq update
if is_new_enough; then
    install python3
    exit
fi
install build-essential ca-certificates dpkg-dev libffi-dev xz-utils zlib1g-dev
for part in debian "debian-security $SUITE-security"; do
    # shellcheck disable=SC2086  # one or two words
    set -- $part
    echo "deb-src $MIRROR/$1 ${2:-$SUITE} main"
done >/etc/apt/sources.list.d/python.list
apt-get -qq update
make_openssl
make_python
