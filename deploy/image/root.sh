#!/bin/sh
# Lay out the image's files: root.sh BIN TARGET puts the programs of BIN (a dist/bin) into TARGET,
# with what they load of the C library of this system, and nothing else.
set -eu
bin=$1
target=$2

# Print what `ldd` finds for the files at stdin.
libraries_of() { xargs ldd | sed -n 's,^.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p' | sort -u; }

# Print the files that the suite loads of this system: the executable finds none of those that it
# brings along, its libraries do.
needed() {
    echo "$bin/pycnid" | libraries_of
    find "$bin"/_pycni-* -name '*.so*' | libraries_of | while read -r library; do
        set -- "$bin"/_pycni-*/"${library##*/}"
        [ -e "$1" ] || echo "$library"
    done
}

mkdir -p "$target/opt/pycni" "$target/etc" "$target/tmp"
cp -a "$bin" "$target/opt/pycni/bin"
needed | sort -u | while read -r library; do
    mkdir -p "$target${library%/*}"
    cp -L "$library" "$target$library"
done
# what finds a host by its name is loaded by name; it stands beside the C library
libc=$(echo "$bin/pycnid" | libraries_of | grep '/libc\.so')
for name in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
    cp -L "${libc%/*}/$name" "$target${libc%/*}/$name"
done
echo 'hosts: files dns' >"$target/etc/nsswitch.conf"
chmod 1777 "$target/tmp"
