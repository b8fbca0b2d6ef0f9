/* What the firmware and QEMU tell a guest about the machine: fw_cfg, ACPI tables, SMBIOS. */
#include "guest.h"

static u32 big32(u32 v) { return v << 24 | (v & 0xff00) << 8 | (v >> 8 & 0xff00) | v >> 24; }
static u32 big16(u32 v) { return (v & 0xff) << 8 | (v >> 8 & 0xff); }

#define SHORT 256 /* a file up to this many bytes is shown, of a longer one the FNV-1a hash */

static int dma;

/* Read the next bytes of an item into memory; ``key`` selects it first, negative goes on with the selected one. */
static void fw_cfg_read(int key, u32 to, u32 length)
{
    static volatile struct { u32 control, length, high, low; } access;
    if (!dma) {
        if (key >= 0)
            out16(0x510, key);
        while (length--)
            *at8(to++) = in8(0x511);
        return;
    }
    access.control = big32(key >= 0 ? (u32)key << 16 | 0x0a : 0x02);
    access.length = big32(length);
    access.high = 0;
    access.low = big32(to);
    out32(0x514, 0);
    out32(0x518, big32((u32)&access));
    while (big32(access.control) & ~1u)
        ;
}

static u32 hash_item(u32 key, u32 size)
{
    u32 hash = FNV;
    int select = key;
    while (size) {
        u32 part = size < SCRATCH_SIZE / 2 ? size : SCRATCH_SIZE / 2;
        fw_cfg_read(select, SCRATCH + SCRATCH_SIZE / 2, part);
        hash = fnv(hash, SCRATCH + SCRATCH_SIZE / 2, part);
        size -= part;
        select = -1;
    }
    return hash;
}

static int starts(u32 address, const char *prefix)
{
    while (*prefix)
        if (*at8(address++) != (u8)*prefix++)
            return 0;
    return 1;
}

/* Reading these makes QEMU build its tables anew or settles a negotiation: they are not read. */
static int unsafe(u32 name)
{
    return starts(name, "etc/acpi/") || starts(name, "etc/table-loader") || starts(name, "etc/smi/features-ok");
}

void dump_fw_cfg(void)
{
    static const u8 keys[][2] = {{0x01, 4}, {0x02, 16}, {0x03, 8}, {0x04, 2}, {0x05, 2}, {0x0d, 8}, {0x0e, 2}, {0x0f, 2}};
    dma = 0;
    fw_cfg_read(0, SCRATCH, 4);
    if (!starts(SCRATCH, "QEMU"))
        return;
    fw_cfg_read(1, SCRATCH, 4);
    dma = *at8(SCRATCH) >> 1 & 1;
    for (u32 i = 0; i < sizeof keys / 2; i++) {
        fw_cfg_read(keys[i][0], SCRATCH, keys[i][1]);
        print("fw_cfg/key/0x%4X = ", keys[i][0]);
        print_bytes(SCRATCH, keys[i][1]);
        print("\n");
    }
    fw_cfg_read(0x19, SCRATCH, 4);
    u32 count = big32(*at32(SCRATCH));
    if (count > 512)
        count = 512;
    fw_cfg_read(-1, SCRATCH, count * 64);
    for (u32 entry = SCRATCH; count--; entry += 64) {
        u32 size = big32(*at32(entry)), key = big16(*at16(entry + 4)), length = 0;
        while (length < 56 && *at8(entry + 8 + length))
            length++;
        print("fw_cfg/file/%q = %u %4X ", entry + 8, length, size, key);
        if (unsafe(entry + 8))
            print("-\n");
        else if (size > SHORT)
            print("%8X\n", hash_item(key, size));
        else {
            fw_cfg_read(key, SCRATCH + SCRATCH_SIZE / 2, size);
            print("x");
            print_bytes(SCRATCH + SCRATCH_SIZE / 2, size);
            print("\n");
        }
    }
}

static u32 sum(u32 address, u32 length)
{
    u32 total = 0;
    while (length--)
        total += *at8(address++);
    return total & 0xff;
}

static u32 search(u32 from, u32 to, const char *anchor, u32 length)
{
    for (; from < to; from += 16)
        if (starts(from, anchor) && !sum(from, length ? length : *at8(from + 5 + (anchor[3] == '3'))))
            return from;
    return 0;
}

static int print_table(u32 table, const char *unused);

/* Call ``visit`` for the root table, what it points to, FACS and DSDT; returns the first table it says yes to. */
static u32 tables(int (*visit)(u32 table, const char *signature), const char *wanted)
{
    u32 ebda = *at16(0x40e) << 4;
    u32 rsdp = search(ebda, ebda + 1024, "RSD PTR ", 20);
    if (!ebda || !rsdp)
        rsdp = search(0xe0000, 0x100000, "RSD PTR ", 20);
    if (!rsdp)
        return 0;
    int wide = *at8(rsdp + 15) >= 2 && *at32(rsdp + 24) && !*at32(rsdp + 28);
    u32 root = *at32(rsdp + (wide ? 24 : 16)), step = wide ? 8 : 4;
    if (visit == print_table)
        print("acpi/RSDP = revision %u, %q\n", *at8(rsdp + 15), rsdp + 9, 6);
    if (visit(root, wanted))
        return root;
    for (u32 at = root + 36; at + step <= root + *at32(root + 4); at += step) {
        u32 table = *at32(at);
        if (step == 8 && *at32(at + 4))
            continue;
        if (visit(table, wanted))
            return table;
        if (!starts(table, "FACP"))
            continue;
        for (u32 field = 36; field <= 40; field += 4)
            if (*at32(table + field) && visit(*at32(table + field), wanted))
                return *at32(table + field);
    }
    return 0;
}

static int has_signature(u32 table, const char *signature)
{
    return starts(table, signature);
}

u32 acpi_table(const char *signature)
{
    return tables(has_signature, signature);
}

/* Addresses that the firmware chose do not count: FADT's pointers, the root table's entries; nor the checksum. */
static u32 acpi_hash(u32 table)
{
    u32 hash = FNV, length = *at32(table + 4);
    int fadt = starts(table, "FACP");
    if (starts(table, "RSDT") || starts(table, "XSDT"))
        length = 36;
    for (u32 i = 0; i < length; i++) {
        int pointer = fadt && ((i >= 36 && i < 44) || (i >= 132 && i < 148));
        u8 byte = i == 9 || pointer ? 0 : *at8(table + i);
        hash = (hash ^ byte) * 0x01000193;
    }
    return hash;
}

static int print_table(u32 table, const char *unused)
{
    (void)unused;
    if (starts(table, "FACS"))
        print("acpi/FACS = %u %u %8X\n", *at32(table + 4), *at8(table + 32), *at32(table + 8));
    else
        print("acpi/%q = %u %u %q %q %u %q %u %8X\n", table, 4, *at32(table + 4), *at8(table + 8), table + 10, 6,
              table + 16, 8, *at32(table + 24), table + 28, 4, *at32(table + 32), acpi_hash(table));
    return 0;
}

static int print_contents(u32 table, const char *unused)
{
    (void)unused;
    print("acpi/%q = ", table, 4);
    print_bytes(table, *at32(table + 4));
    print("\n");
    return 0;
}

void dump_acpi(int contents)
{
    tables(contents ? print_contents : print_table, 0);
}

/* One line a structure: handle, the formatted area without its header, the strings. */
void dump_smbios(void)
{
    u32 anchor = search(0xf0000, 0x100000, "_SM3_", 0), at, end;
    if (anchor) {
        at = *at32(anchor + 16);
        end = at + *at32(anchor + 12);
        print("smbios/version = %u.%u 64-bit\n", *at8(anchor + 7), *at8(anchor + 8));
    } else if ((anchor = search(0xf0000, 0x100000, "_SM_", 0))) {
        at = *at32(anchor + 24);
        end = at + *at16(anchor + 22);
        print("smbios/version = %u.%u 32-bit\n", *at8(anchor + 6), *at8(anchor + 7));
    } else
        return;
    for (u32 n = 0; at + 4 <= end && n < 512; n++) {
        u32 length = *at8(at + 1), type = *at8(at), strings = 0;
        print("smbios/%u/%4X = ", type, *at16(at + 2));
        print_bytes(at + 4, length - 4);
        for (at += length; *at8(at); at++, strings++) {
            print(" ");
            for (; *at8(at); at++)
                print(*at8(at) > ' ' && *at8(at) < 0x7f && *at8(at) != '%' ? "%c" : "%%%2X", *at8(at));
        }
        at += strings ? 1 : 2;
        print("\n");
        if (type == 127)
            return;
    }
}
