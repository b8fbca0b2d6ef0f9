/* The processor by CPUID, and what legacy ports and interrupt controllers say. */
#include "guest.h"

struct cpuid { u32 eax, ebx, ecx, edx; };

static struct cpuid cpuid(u32 leaf, u32 subleaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

/* EFLAGS.ID can be changed where there is CPUID. */
static int has_cpuid(void)
{
    u32 before, after;
    __asm__ volatile("pushf; pop %0; mov %0, %1; xor $0x200000, %1; push %1; popf; pushf; pop %1; push %0; popf"
                     : "=&r"(before), "=&r"(after));
    return ((before ^ after) >> 21) & 1;
}

/* How many subleaves are worth asking for; those that are all zero are not printed. */
static u32 subleaves(u32 leaf)
{
    switch (leaf) {
    case 0x7:
        return cpuid(leaf, 0).eax + 1;
    case 0xd:
        return 64;
    case 0x4: case 0xb: case 0xf: case 0x10: case 0x12: case 0x14: case 0x17: case 0x18: case 0x1d: case 0x1e:
    case 0x1f: case 0x20: case 0x23: case 0x24: case 0x8000001d: case 0x80000020: case 0x80000026:
        return 8;
    }
    return 1;
}

/* Frequencies are the host's. */
static int varies(u32 leaf)
{
    return leaf == 0x15 || leaf == 0x16 || leaf == 0x40000010;
}

static void leaf_range(u32 first, u32 limit)
{
    u32 last = cpuid(first, 0).eax;
    if (last < first || last - first > limit)
        last = first;
    for (u32 leaf = first; leaf <= last; leaf++) {
        u32 count = subleaves(leaf);
        for (u32 sub = 0; sub < count && sub < 64; sub++) {
            struct cpuid r = cpuid(leaf, sub);
            if (leaf == 1) {
                r.ebx &= 0x00ffffff;   /* the processor's own number */
                r.ecx &= ~(1u << 27);  /* OSXSAVE mirrors CR4 */
            }
            if (leaf == 0xb || leaf == 0x1f) {
                r.edx = 0;
                if (!r.ebx)
                    continue;
            }
            if (r.eax | r.ebx | r.ecx | r.edx)
                print("%scpuid/0x%8X/%u = %8X %8X %8X %8X\n", varies(leaf) ? "volatile/" : "", leaf, sub, r.eax,
                      r.ebx, r.ecx, r.edx);
        }
    }
}

void dump_cpu(void)
{
    if (!has_cpuid()) {
        print("cpuid/none = 1\n");
        return;
    }
    leaf_range(0x00000000, 0x40);
    /* Without a hypervisor bit these leaves repeat the highest standard one. */
    if (cpuid(1, 0).ecx >> 31)
        leaf_range(0x40000000, 0x20);
    if (cpuid(0x80000000, 0).eax >> 31)
        leaf_range(0x80000000, 0x40);
    if ((cpuid(0xc0000000, 0).eax >> 24) == 0xc0)
        leaf_range(0xc0000000, 0x10);
}

static void dump_cmos(void)
{
    for (u32 row = 0; row < 0x80; row += 16) {
        print("cmos/0x%2X = ", row);
        for (u32 i = row; i < row + 16; i++) {
            /* The clock, its status and the century, twice. */
            int clock = i < 0x0e || i == 0x32 || i == 0x37;
            out8(0x70, i);
            print(clock ? "--" : "%2X", in8(0x71));
        }
        print("\n");
    }
    out8(0x70, 0x0d);
}

/* Ports that tell by one read, without an effect, whether a legacy device is there. */
static const u16 PORTS[] = {
    0x0e9, /* debug console */ 0x064, /* keyboard controller */ 0x092, /* port 92 */
    0x2fa, 0x2ff, 0x3ea, 0x3ef, 0x2ea, 0x2ef, /* COM2 to COM4: interrupt identification, scratch */
    0x37a, 0x27a, /* LPT */ 0x3f4, /* floppy */ 0x402, /* firmware debug console */
    0x4d0, 0x4d1, /* ELCR */ 0x505, /* pvpanic */ 0x1f7, 0x177, /* IDE */ 0x1ce, /* VBE */
};

void dump_ports(void)
{
    dump_cmos();
    for (u32 i = 0; i < sizeof PORTS / sizeof *PORTS; i++)
        print("port/0x%3X = %2X\n", (u32)PORTS[i], in8(PORTS[i]));
    u32 select = *at32(0xfec00000);
    for (u32 i = 0; i < 2; i++) {
        *at32(0xfec00000) = i;
        print("ioapic/0x%2X = %8X\n", i, *at32(0xfec00010));
    }
    *at32(0xfec00000) = select;
    print("apic/version = %8X\n", *at32(0xfee00030));
    if (acpi_table("HPET"))
        print("hpet/capabilities = %8X %8X\n", *at32(0xfed00000), *at32(0xfed00004));
}
