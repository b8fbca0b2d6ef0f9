#!/bin/sh
# Build guest.elf, or the file named by the first argument, with the host's gcc: the same bytes each time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${1:-$here/guest.elf}")
cd "$here"
export SOURCE_DATE_EPOCH=0 LC_ALL=C
exec "${CC:-gcc}" -m32 -march=i386 -mtune=i386 -Os -std=gnu11 -Wall -Wextra -Werror -ffreestanding -nostdlib -static \
    -fno-pic -no-pie -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -fno-strict-aliasing \
    -Wl,-T,guest.ld,--build-id=none,-n,-z,noexecstack,--strip-all \
    -o "$out" boot.S guest.c cpu.c pci.c virtio.c firmware.c
