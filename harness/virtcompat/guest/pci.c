/* All PCI functions by configuration mechanism 1, or by ECAM where there is no such mechanism. */
#include "guest.h"

static u32 ecam; /* of segment 0, or 0 */
static int ports;

u32 pci_read(u32 bdf, u32 offset)
{
    if (offset >= 256 || !ports)
        return *at32(ecam + (bdf << 12) + offset);
    out32(0xcf8, 0x80000000u | bdf << 8 | offset);
    return in32(0xcfc);
}

void pci_write(u32 bdf, u32 offset, u32 value)
{
    if (!ports) {
        *at32(ecam + (bdf << 12) + offset) = value;
        return;
    }
    out32(0xcf8, 0x80000000u | bdf << 8 | offset);
    out32(0xcfc, value);
}

static u32 byte(u32 bdf, u32 offset)
{
    return pci_read(bdf, offset & ~3u) >> (offset & 3) * 8 & 0xff;
}

/* The address of a BAR, 0 where it has none below 4 GiB. */
u32 pci_bar(u32 bdf, u32 bar, int *io)
{
    u32 offset = 0x10 + bar * 4, value = pci_read(bdf, offset);
    *io = value & 1;
    if (*io)
        return value & ~3u;
    if ((value & 6) == 4 && pci_read(bdf, offset + 4))
        return 0;
    return value & ~15u;
}

static void name(u32 bdf)
{
    print("pci/%2X:%2X.%u/", bdf >> 8, bdf >> 3 & 31, bdf & 7);
}

/* Bits of the dword at ``offset`` that events change; the header's and those of known capabilities. */
static u32 events(u32 bdf, u32 offset, u32 type)
{
    u32 mask = offset == 4 ? 0xf9080000 : 0;
    if (type == 1 && offset == 0x1c)
        mask = 0xf9000000;
    if (!(pci_read(bdf, 4) >> 20 & 1))
        return mask;
    for (u32 at = byte(bdf, 0x34), n = 0; at >= 0x40 && n < 48; at = byte(bdf, at + 1), n++) {
        u32 id = byte(bdf, at), inside = offset - (at & ~3u);
        if (id == 0x01 && inside == 4)
            mask |= 0x8000;      /* PME status */
        if (id == 0x10 && inside == 8)
            mask |= 0x000f0000;  /* device status: errors */
        if (id == 0x10 && inside == 0x18)
            mask |= 0x011f0000;  /* slot status: events */
        if (id == 0x10 && inside == 0x20)
            mask |= 0x00030000;  /* root status: PME */
        /* The window of virtio's configuration access: whoever used it last left his address there. */
        if (id == 0x09 && byte(bdf, at + 3) == 5 && inside >= 4 && inside < 20)
            mask = ~0u;
    }
    return mask;
}

static void dump_config(u32 bdf, u32 type)
{
    for (u32 row = 0; row < 256; row += 16) {
        u32 words[4], any = 0;
        for (u32 i = 0; i < 4; i++) {
            u32 mask = events(bdf, row + i * 4, type);
            any |= words[i] = mask == ~0u ? 0 : pci_read(bdf, row + i * 4) & ~mask;
        }
        if (!any)
            continue;
        name(bdf);
        print("config/0x%2X = ", row);
        print_bytes((u32)words, 16);
        print("\n");
    }
}

/* Sizing: all ones written, what stays zero is the size. Decoding is off meanwhile, so nothing moves in memory. */
static void dump_bars(u32 bdf, u32 type)
{
    u32 count = type == 0 ? 6 : type == 1 ? 2 : 0;
    u32 command = pci_read(bdf, 4) & 0xffff;
    pci_write(bdf, 4, command & ~3u);
    for (u32 bar = 0; bar < count; bar++) {
        u32 offset = 0x10 + bar * 4;
        u32 low = pci_read(bdf, offset), high = 0;
        u64 size;
        pci_write(bdf, offset, ~0u);
        u32 mask = pci_read(bdf, offset);
        pci_write(bdf, offset, low);
        if (!mask)
            continue;
        name(bdf);
        print("bar%u = ", bar);
        if (mask & 1) {
            size = -(mask & ~3u) & 0xffff;
            print("io %Q %Q\n", size, (u64)(low & ~3u));
            continue;
        }
        if ((mask & 6) == 4) {
            high = pci_read(bdf, offset + 4);
            pci_write(bdf, offset + 4, ~0u);
            size = -((u64)pci_read(bdf, offset + 4) << 32 | (mask & ~15u));
            pci_write(bdf, offset + 4, high);
            bar++;
        } else
            size = -(mask & ~15u);
        print("mem%s%s %Q %Q\n", (mask & 6) == 4 ? "64" : (mask & 6) == 2 ? "20" : "32", mask & 8 ? "p" : "", size,
              (u64)high << 32 | (low & ~15u));
    }
    u32 rom = type == 0 ? 0x30 : 0x38, before = pci_read(bdf, rom);
    if (type < 2) {
        pci_write(bdf, rom, 0xfffff800);
        u32 mask = pci_read(bdf, rom) & 0xfffff800;
        pci_write(bdf, rom, before);
        if (mask) {
            name(bdf);
            print("rom = %Q %Q\n", (u64)-mask, (u64)(before & 0xfffff800));
        }
    }
    pci_write(bdf, 4, command);
}

static void dump_extended(u32 bdf)
{
    u32 at = 0x100, head, n = 0;
    if (!ecam || pci_read(bdf, 0x100) == ~0u)
        return;
    for (; at >= 0x100 && n < 64 && (head = pci_read(bdf, at)); at = head >> 20, n++) {
        name(bdf);
        print("extended/0x%3X = %4X %u\n", at, head & 0xffff, head >> 16 & 15);
    }
}

static void dump_function(u32 bdf)
{
    u32 type = byte(bdf, 0x0e) & 0x7f;
    dump_config(bdf, type);
    dump_bars(bdf, type);
    dump_extended(bdf);
    dump_virtio(bdf);
}

static void find_mechanism(void)
{
    u32 mcfg = acpi_table("MCFG");
    u32 before = in32(0xcf8);
    out32(0xcf8, 0x80000000u);
    ports = in32(0xcf8) == 0x80000000u;
    out32(0xcf8, before);
    ecam = mcfg && !*at32(mcfg + 48) ? *at32(mcfg + 44) : 0;
    /* microvm with pcie=on has QEMU's generic host bridge, which no MCFG names. */
    if (!ports && !ecam && *at32(0xe0000000) == 0x00081b36)
        ecam = 0xe0000000;
}

/* All buses: a root bus of its own need not be behind any bridge. */
static void every_function(void (*visit)(u32 bdf))
{
    find_mechanism();
    if (!ports && !ecam)
        return;
    u32 select = ports ? in32(0xcf8) : 0;
    for (u32 bdf = 0; bdf < 0x10000; bdf++) {
        u32 id = pci_read(bdf, 0);
        int there = id && id != ~0u, many = there && pci_read(bdf, 0x0c) >> 23 & 1;
        if (there)
            visit(bdf);
        if (!(bdf & 7) && !many)
            bdf |= 7;
    }
    if (ports)
        out32(0xcf8, select);
}

void dump_pci(void)
{
    find_mechanism();
    print("pci/mechanism = %s%s\n", ports ? "ports" : "none", ecam ? " ecam" : "");
    every_function(dump_function);
}

void drive_pci(void)
{
    every_function(drive_virtio);
}
