#!/bin/sh
# Lay out the image's files: root.sh BIN TARGET puts the programs of BIN (a dist/bin) into TARGET,
# with what they load of the C library of this system, and nothing else.
set -eu
bin=$1
target=$2

# Print the files that the executable and its libraries load, but for those that they bring along.
needed() {
    find "$bin" -type f \( -name pycnid -o -name '*.so*' \) -exec ldd {} + |
        sed -n 's,^.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p' | sort -u | while read -r library; do
        set -- "$bin"/_pycni-*/"${library##*/}"
        [ -e "$1" ] || echo "$library"
    done
}

mkdir -p "$target/opt/pycni" "$target/etc" "$target/tmp"
cp -a "$bin" "$target/opt/pycni/bin"
needed | while read -r library; do
    mkdir -p "$target${library%/*}"
    cp -L "$library" "$target$library"
done
# what finds a host by its name is loaded by name; it stands beside the C library
libc=$(needed | grep '/libc\.so')
for name in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
    cp -L "${libc%/*}/$name" "$target${libc%/*}/$name"
done
echo 'hosts: files dns' >"$target/etc/nsswitch.conf"
chmod 1777 "$target/tmp"
