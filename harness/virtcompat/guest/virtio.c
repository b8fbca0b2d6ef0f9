/* virtio devices as a driver sees them: features, queue sizes, configuration; and as a driver leaves them, so that a
 * migration has something to carry: features accepted, empty rings in memory, driver ready. */
#include "guest.h"

#define RINGS 0x800000     /* up to 16 MiB */
#define RINGS_END 0x1000000
#define QUEUES 8           /* of one device that get a ring */
#define DEVICES 32         /* that are driven */

/* Accepted, these change what a device shows after a migration (GUEST_ANNOUNCE) or wait for another one (STANDBY). */
#define NET_DECLINED_LOW (1u << 21)
#define NET_DECLINED_HIGH (1u << (62 - 32))

/* One device by one of the ways to reach it. */
struct device {
    u32 type, legacy, common, config, mmio;
    u32 version; /* of mmio */
};

static struct { u32 place, state; } driven[DEVICES];
static u32 rings = RINGS;

/* Registers that all ways have: status, and per queue what tells its size and where its ring is. */
static u32 status(const struct device *d)
{
    return d->common ? *at8(d->common + 20) : d->legacy ? in8(d->legacy + 18) : *at32(d->mmio + 0x70);
}

static void set_status(const struct device *d, u32 value)
{
    if (d->common)
        *at8(d->common + 20) = value;
    else if (d->legacy)
        out8(d->legacy + 18, value);
    else
        *at32(d->mmio + 0x70) = value;
}

static u32 select_queue(const struct device *d, u32 queue)
{
    if (d->common) {
        u32 there = queue < *at16(d->common + 18);
        *at16(d->common + 22) = queue;
        return there ? *at16(d->common + 24) : 0;
    }
    if (d->legacy) {
        out16(d->legacy + 14, queue);
        return in16(d->legacy + 12);
    }
    *at32(d->mmio + 0x30) = queue;
    return *at32(d->mmio + 0x34);
}

static u32 ring_page(const struct device *d)
{
    if (d->common)
        return *at32(d->common + 32) >> 12;
    if (d->legacy)
        return in32(d->legacy + 8);
    return d->version == 1 ? *at32(d->mmio + 0x40) : *at32(d->mmio + 0x44);
}

static int modern(const struct device *d)
{
    return d->common || d->version > 1;
}

static u32 offered(const struct device *d, u32 half)
{
    if (d->legacy && !d->common)
        return half ? 0 : in32(d->legacy);
    u32 base = d->common ? d->common : d->mmio + 0x10, select = d->common ? d->common : d->mmio + 0x14;
    *at32(select) = half;
    u32 value = *at32(d->common ? base + 4 : base);
    *at32(select) = 0;
    return value;
}

static void accept(const struct device *d, u32 half, u32 value)
{
    if (d->common) {
        *at32(d->common + 8) = half;
        *at32(d->common + 12) = value;
    } else if (d->legacy) {
        if (!half)
            out32(d->legacy + 4, value);
    } else {
        *at32(d->mmio + 0x24) = half;
        *at32(d->mmio + 0x20) = value;
    }
}

/* A ring of zeros is an empty one, split or packed; laid out as the legacy interface wants it. */
static void give_ring(const struct device *d, u32 size)
{
    u32 available = size * 16, used = (available + 6 + 2 * size + 4095) & ~4095u;
    u32 at = rings, end = at + ((used + 6 + 8 * size + 4095) & ~4095u);
    if (end > RINGS_END)
        return;
    rings = end;
    for (u32 i = at; i < end; i += 4)
        *at32(i) = 0;
    if (d->common) {
        u32 fields[] = {at, 0, at + available, 0, at + used, 0};
        for (u32 i = 0; i < 6; i++)
            *at32(d->common + 32 + i * 4) = fields[i];
        *at16(d->common + 28) = 1;
    } else if (d->legacy) {
        out32(d->legacy + 8, at >> 12);
    } else {
        *at32(d->mmio + 0x38) = size;
        if (d->version == 1) {
            *at32(d->mmio + 0x3c) = 4096;
            *at32(d->mmio + 0x40) = at >> 12;
            return;
        }
        u32 places[] = {at, at + available, at + used};
        for (u32 i = 0; i < 3; i++) {
            *at32(d->mmio + 0x80 + i * 16) = places[i];
            *at32(d->mmio + 0x84 + i * 16) = 0;
        }
        *at32(d->mmio + 0x44) = 1;
    }
}

/* What a driver finds again when nothing was lost: status, accepted features where they can be read, rings. */
static u32 state(const struct device *d)
{
    u32 words[QUEUES + 4] = {status(d)}, n = 1;
    for (u32 half = 0; d->common && half < 2; half++) {
        *at32(d->common + 8) = half;
        words[n++] = *at32(d->common + 12);
    }
    for (u32 queue = 0; queue < QUEUES; queue++)
        words[n++] = select_queue(d, queue) ? ring_page(d) : 0;
    select_queue(d, 0);
    return fnv(FNV, (u32)words, n * 4);
}

static void drive(u32 place, const struct device *d)
{
    u32 low = offered(d, 0), high = offered(d, 1), size, n = 0;
    while (n < DEVICES && driven[n].place)
        n++;
    if (n == DEVICES)
        return;
    /* Firmware that booted from a device leaves it with the queue sizes that suited the firmware. */
    set_status(d, 0);
    set_status(d, 1);
    set_status(d, 3);
    if (d->version == 1)
        *at32(d->mmio + 0x28) = 4096;
    accept(d, 0, d->type == 1 ? low & ~NET_DECLINED_LOW : low);
    if (modern(d)) {
        accept(d, 1, d->type == 1 ? high & ~NET_DECLINED_HIGH : high);
        set_status(d, 11);
    }
    for (u32 queue = 0; queue < QUEUES && (size = select_queue(d, queue)); queue++)
        give_ring(d, size);
    select_queue(d, 0);
    set_status(d, modern(d) ? 15 : 7);
    driven[n].place = place + 1;
    driven[n].state = state(d);
}

static void name(u32 place)
{
    if (place < 0x10000)
        print("virtio/%2X:%2X.%u/", place >> 8, place >> 3 & 31, place & 7);
    else
        print("mmio/%2X/", place - 0x10000);
}

static void show_queues(u32 place, const struct device *d, const char *prefix)
{
    u32 size;
    name(place);
    print("%squeues =", prefix);
    for (u32 queue = 0; queue < 1024 && (size = select_queue(d, queue)); queue++)
        print(" %u", size);
    select_queue(d, 0);
    print("\n");
}

static void show(u32 place, const struct device *d, const char *prefix)
{
    name(place);
    print("%sfeatures = %8X%8X\n", prefix, offered(d, 1), offered(d, 0));
    show_queues(place, d, prefix);
}

/* Bytes beyond the device's configuration read as ones. */
static void show_config(u32 place, u32 base, int io)
{
    u8 bytes[256];
    u32 length = 0;
    for (u32 i = 0; i < sizeof bytes; i++) {
        bytes[i] = io ? in8(base + i) : *at8(base + i);
        if (bytes[i] != 0xff)
            length = i + 1;
    }
    name(place);
    print("config = ");
    print_bytes((u32)bytes, length);
    print("\n");
}

static void show_driver(u32 place, const struct device *d)
{
    for (u32 n = 0; n < DEVICES; n++)
        if (driven[n].place == place + 1) {
            name(place);
            print("driver = %2X %s\n", status(d), driven[n].state == state(d) ? "kept" : "lost");
        }
}

/* Where the structure of a vendor capability lies, 0 where it cannot be reached. */
static u32 structure(u32 bdf, u32 type)
{
    int io;
    u32 at = pci_read(bdf, 0x34) & 0xff;
    if (!(pci_read(bdf, 4) >> 20 & 1))
        return 0;
    for (u32 n = 0; at >= 0x40 && n < 48; n++) {
        u32 head = pci_read(bdf, at & ~3u);
        if ((head & 0xff) == 0x09 && head >> 24 == type) {
            u32 base = pci_bar(bdf, pci_read(bdf, at + 4) & 0xff, &io);
            return base && !io ? base + pci_read(bdf, at + 8) : 0;
        }
        at = head >> 8 & 0xff;
    }
    return 0;
}

static struct device pci_device(u32 bdf)
{
    int io;
    u32 id = pci_read(bdf, 0), base = pci_bar(bdf, 0, &io), command = pci_read(bdf, 4);
    struct device found = {0, 0, 0, 0, 0, 0};
    if ((id & 0xffff) != 0x1af4 || id >> 16 < 0x1000 || id >> 16 > 0x107f)
        return found;
    found.type = id >> 16 < 0x1040 ? pci_read(bdf, 0x2c) >> 16 : (id >> 16) - 0x1040;
    if (id >> 16 < 0x1040 && io && command & 1)
        found.legacy = base;
    if (command & 2) {
        found.common = structure(bdf, 1);
        found.config = structure(bdf, 4);
    }
    return found;
}

void drive_virtio(u32 bdf)
{
    struct device d = pci_device(bdf);
    if (!d.legacy && !d.common)
        return;
    pci_write(bdf, 4, (pci_read(bdf, 4) & 0xffff) | 4);
    drive(bdf, &d);
}

void dump_virtio(u32 bdf)
{
    struct device d = pci_device(bdf), old = {d.type, d.legacy, 0, 0, 0, 0};
    if (!d.legacy && !d.common)
        return;
    name(bdf);
    print("type = %u\n", d.type);
    if (d.legacy)
        show(bdf, &old, "legacy-");
    if (d.common)
        show(bdf, &d, "");
    if (d.config || d.legacy)
        show_config(bdf, d.config ? d.config : d.legacy + 20, !d.config);
    show_driver(bdf, &d);
}

/* microvm's transports; on a machine with PCI another device may be at these addresses. */
static void every_mmio(void (*visit)(u32 place, const struct device *d))
{
    for (u32 slot = 0; slot < 24 && in32(0xcf8) == ~0u; slot++) {
        u32 base = 0xfeb00000 + slot * 0x200;
        if (*at32(base) != 0x74726976)
            continue;
        struct device d = {*at32(base + 8), 0, 0, base + 0x100, base, *at32(base + 4)};
        visit(0x10000 + slot, &d);
    }
}

static void drive_mmio(u32 place, const struct device *d)
{
    if (d->type)
        drive(place, d);
}

static void dump_mmio(u32 place, const struct device *d)
{
    name(place);
    print("device = %u %u %8X\n", d->version, d->type, *at32(d->mmio + 12));
    if (!d->type)
        return;
    show(place, d, "");
    show_config(place, d->config, 0);
    show_driver(place, d);
}

void drive_virtio_mmio(void)
{
    every_mmio(drive_mmio);
}

void dump_virtio_mmio(void)
{
    every_mmio(dump_mmio);
}
