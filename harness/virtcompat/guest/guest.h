/* What the parts of the guest share: port and memory access, and printing to COM1. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* Fixed places in memory, above the program and below 8 MiB: a virtual machine of 32 MiB has them all. */
#define WORK 0x400000
#define WORK_PAGES 512
#define SCRATCH 0x600000
#define SCRATCH_SIZE 0x100000

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(u16 port, u16 value) { __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 in8(u16 port) { u8 value; __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline u16 in16(u16 port) { u16 value; __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port)); return value; }
static inline u32 in32(u16 port) { u32 value; __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port)); return value; }

/* Device registers and firmware tables are read at addresses that the compiler must not reason about. */
static inline volatile u8 *at8(u32 address) { __asm__("" : "+r"(address)); return (volatile u8 *)address; }
static inline volatile u16 *at16(u32 address) { __asm__("" : "+r"(address)); return (volatile u16 *)address; }
static inline volatile u32 *at32(u32 address) { __asm__("" : "+r"(address)); return (volatile u32 *)address; }

/* print("pci/%2x:%2x.%u", …): %s text, %u decimal, %NX N hex digits of 32 bits, %Q 64 bits as 16 digits,
 * %q an address and a length of text to be shown as one word. */
void print(const char *format, ...);
void print_bytes(u32 address, u32 length);

u32 fnv(u32 hash, u32 address, u32 length);
#define FNV 0x811c9dc5u

void dump_cpu(void);
void dump_ports(void);
void dump_fw_cfg(void);
void dump_acpi(int contents);
void dump_smbios(void);
void dump_pci(void);
void drive_pci(void);
void drive_virtio_mmio(void);
void dump_virtio_mmio(void);
u32 acpi_table(const char *signature);

/* One PCI function; ``bus`` << 8 | ``device`` << 3 | function. */
u32 pci_read(u32 bdf, u32 offset);
void pci_write(u32 bdf, u32 offset, u32 value);
u32 pci_bar(u32 bdf, u32 bar, int *io);
void dump_virtio(u32 bdf);
void drive_virtio(u32 bdf);
#endif
