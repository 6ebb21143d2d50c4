#!/bin/bash
# The first process of a node: gives the node a file system of its own, and reaps its orphans.
#
#   node.sh DISK CGROUP PROGRAMS
#
# DISK is a folder, called as the node; CGROUP the name of its control groups; PROGRAMS the folder
# of Kubernetes' programs.
# It runs as pid 1 of pid, mount, network, UTS and IPC namespaces of its own; when it ends, the
# kernel ends all that runs on the node.  What DISK holds is what a reboot keeps.
set -eu
disk=$1 cgroup=$2 programs=$3 root=$1/root
hostname "${disk##*/}"

# The machine's own programs to look at; what the node writes among them is gone with it.
mount -t tmpfs layers "$disk/layers"
mkdir "$disk/layers/upper" "$disk/layers/work"
mount -t overlay -o "lowerdir=/,upperdir=$disk/layers/upper,workdir=$disk/layers/work" root "$root"
for kept in etc/cni etc/kubernetes opt/cni var; do
    mkdir -p "$root/$kept"
    mount --bind "$disk/$kept" "$root/$kept"
done
mkdir -p "$root/opt/kubernetes"
mount --bind "$programs" "$root/opt/kubernetes"
mount --bind "$disk/etc/hosts" "$root/etc/hosts"
ln -sfn /run "$root/var/run"

mount -t tmpfs run "$root/run"
mount -t tmpfs tmp "$root/tmp"
mkdir "$root/run/lock" "$root/run/netns"
mount --rbind /dev "$root/dev"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs shm "$root/dev/shm"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs cgroup "$root/sys/fs/cgroup"
for group in "/sys/fs/cgroup"/*/"$cgroup"; do
    mkdir -p "$root${group%/"$cgroup"}"
    mount --bind "$group" "$root${group%/"$cgroup"}"
done

# A kubelet would set these for the whole machine: let it find them as it wants them.
mount -t proc proc "$root/proc"
for key in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$root/run/sysctl/${key%=*}
    mkdir -p "${file%/*}"
    echo "${key#*=}" >"$file"
    mount --bind "$file" "$root/proc/sys/${key%=*}"
done

# A boot of its own, by which the leases of the boot before are told.
cat /proc/sys/kernel/random/uuid >"$root/run/boot_id"
mount --bind "$root/run/boot_id" "$root/proc/sys/kernel/random/boot_id"

cd "$root"
pivot_root . .
umount -l .
cd /
mount --make-rshared /
echo 1 >/proc/sys/net/ipv4/ip_forward
# a reverse path filter as strict as that of kind's nodes and of Red Hat's systems
echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter
ip link set lo up
echo up
exec >/dev/null # who waits for an answer has it
while :; do sleep 600 & wait; done
