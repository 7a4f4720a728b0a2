#!/usr/bin/env bash
# The agent's own tests on a machine with cgroup v2: a Debian kernel booted by QEMU under software
# emulation, with an initramfs that holds the test binary, its libraries and busybox.
#
# Usage: run.sh [FILTER…]       (see `make test-cgroup2`); all tests of the agent without a filter.
# Needs the packages qemu-system-x86 and busybox-static, and fetches the kernel package that
# linux-image-cloud-amd64 depends on; says so and ends well without them.
set -euo pipefail

cache="${XDG_CACHE_HOME:-$HOME/.cache}/binnacle-cgroup2"

for tool in qemu-system-x86_64 busybox cpio dpkg; do
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: needs $tool (packages qemu-system-x86, busybox-static, cpio)"
        exit 0
    fi
done

# The kernel, once a machine.
mkdir -p "$cache"
kernel=$(find "$cache" -path '*/boot/vmlinuz-*' -print -quit)
if [ -z "$kernel" ]; then
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
    if [ -z "$package" ] || ! (cd "$cache" && apt-get download "$package" >/dev/null 2>&1); then
        echo "skipped: the package of linux-image-cloud-amd64 cannot be fetched"
        exit 0
    fi
    dpkg -x "$cache/$package"_*.deb "$cache/kernel"
    rm -f "$cache/$package"_*.deb
    kernel=$(find "$cache" -path '*/boot/vmlinuz-*' -print -quit)
fi

cd "$(dirname "$0")/../.."
# The whole workspace, as `make test` builds it: fewer packages would be other features, and built anew.
binary=$(cargo test --release --workspace --no-run --message-format=json 2>/dev/null |
    grep '"name":"binnacle_agent"' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
if [ ! -x "$binary" ]; then
    echo "the agent's tests do not build: cargo test --release --workspace --no-run"
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root="$work/root"
mkdir -p "$root"/{bin,dev,proc,sys,tmp,etc,run,var/log}
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$binary" "$root/bin/checks"
# The libraries under the paths the loader looks for them.
ldd "$binary" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
printf '%s\n' "$@" >"$root/etc/filters"

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname cgroup2
export RUST_BACKTRACE=0 HOME=/tmp
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.controllers)"
set -- $(cat /etc/filters)
if /bin/checks --test-threads=2 "$@" </dev/null; then echo "CGROUP2 GOOD"; else echo "CGROUP2 BAD"; fi
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

timeout "${CGROUP2_TIMEOUT:-300}" qemu-system-x86_64 -kernel "$kernel" -initrd "$work/initramfs.gz" \
    -m 1024 -smp 2 -nographic -no-reboot -nic none \
    -append "console=ttyS0 quiet panic=1 psi=1" </dev/null | tr -d '\r' | tee "$work/console"
grep -q 'CGROUP2 GOOD' "$work/console"
