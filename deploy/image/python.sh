#!/bin/sh
# Give a Debian a Python that ./build.sh can freeze: its own if that is 3.11 or newer, else that of
# Debian 12, made here of Debian's sources (which apt checks) with Debian 12's OpenSSL.
# OPTIMIZE are more options of its configure.
set -eu
export DEBIAN_FRONTEND=noninteractive
SUITE=bookworm
JOBS=$(nproc)

install() { apt-get -qq install -y --no-install-recommends "$@" >/dev/null; }

has_python() { python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Print where this system's own packages come from, without what is behind the host.  An image has
# no lists before the first update, and apt then tells no places.
mirror() {
    # shellcheck disable=SC2016  # apt's own fields
    apt-get indextargets --format '$(REPO_URI)' | sed -n 's,/debian/*$,,p' | head -n 1
}

offers_python() { apt-cache policy python3 | grep -Eq 'Candidate: 3\.(1[1-9]|[2-9][0-9])'; }

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

# Modules that are part of Python itself, as in Debian's: a program that is handed over to the agent
# loads no other (cni/handover.py), and each one is a file less to be found.
BUILT_IN="_bisect _blake2 _csv _datetime _elementtree _heapq _md5 _opcode _pickle _posixsubprocess
_random _sha1 _sha256 _sha3 _sha512 _socket _statistics _struct array binascii cmath fcntl grp math
pyexpat select spwd syslog unicodedata zlib"

make_python() {
    source_of python3.11
    for name in $BUILT_IN; do
        sed -n "s/^#\(${name}[[:space:]]\)/\1/p" Modules/Setup
    done >>Modules/Setup.local
    # shellcheck disable=SC2086  # any number of words
    ./configure -q --enable-shared --with-openssl=/usr/local --with-system-expat \
        --without-ensurepip ${OPTIMIZE:-}
    make -s -j"$JOBS" >/dev/null
    make -s install >/dev/null
    ldconfig
}

if has_python; then
    exit
fi
apt-get -qq update
if offers_python; then
    install python3
    exit
fi
MIRROR=${MIRROR:-$(mirror)}
install build-essential ca-certificates dpkg-dev libexpat1-dev libffi-dev xz-utils zlib1g-dev
for part in debian "debian-security $SUITE-security"; do
    # shellcheck disable=SC2086  # one or two words
    set -- $part
    echo "deb-src $MIRROR/$1 ${2:-$SUITE} main"
done >/etc/apt/sources.list.d/python.list
apt-get -qq update
make_openssl
make_python
rm -rf /usr/src/openssl /usr/src/python3.11
