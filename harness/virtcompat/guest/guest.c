/* A guest that counts, checks its memory and tells over COM1 what it sees. See README.md for the protocol. */
#include "guest.h"

#define COM1 0x3f8

static u32 counter, mismatches, magic;
static u32 map_length;
static u8 map[2048];

/* The compiler may call these even without a library. */
void *memset(void *to, int value, u32 length)
{
    u8 *at = to;
    while (length--)
        *at++ = value;
    return to;
}

void *memcpy(void *to, const void *from, u32 length)
{
    u8 *at = to;
    const u8 *source = from;
    while (length--)
        *at++ = *source++;
    return to;
}

/* COM1, polled. The wait is on the device, not on time. */
static void put(char byte)
{
    while (!(in8(COM1 + 5) & 0x20))
        ;
    out8(COM1, byte);
}

static void put_hex(u64 value, int digits)
{
    while (digits--)
        put("0123456789abcdef"[(u32)(value >> (4 * digits)) & 15]);
}

static void put_decimal(u32 value)
{
    char text[10];
    int length = 0;
    do
        text[length++] = '0' + value % 10;
    while (value /= 10);
    while (length)
        put(text[--length]);
}

static void put_word(u32 address, u32 length)
{
    while (length && (*at8(address + length - 1) == ' ' || !*at8(address + length - 1)))
        length--;
    if (!length)
        put('-');
    for (u32 i = 0; i < length; i++) {
        u8 byte = *at8(address + i);
        put(byte > ' ' && byte < 0x7f && byte != '=' ? byte : '_');
    }
}

void print(const char *format, ...)
{
    __builtin_va_list list;
    __builtin_va_start(list, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        u32 digits = 0;
        while (*++format >= '0' && *format <= '9')
            digits = digits * 10 + *format - '0';
        if (*format == 'X')
            put_hex(__builtin_va_arg(list, u32), digits);
        else if (*format == 'Q')
            put_hex(__builtin_va_arg(list, u64), 16);
        else if (*format == 'u')
            put_decimal(__builtin_va_arg(list, u32));
        else if (*format == 'c')
            put(__builtin_va_arg(list, u32));
        else if (*format == 's')
            for (const char *text = __builtin_va_arg(list, const char *); *text; text++)
                put(*text);
        else if (*format == '%')
            put('%');
        else if (*format == 'q') {
            u32 address = __builtin_va_arg(list, u32);
            put_word(address, __builtin_va_arg(list, u32));
        }
    }
    __builtin_va_end(list);
}

void print_bytes(u32 address, u32 length)
{
    while (length--)
        put_hex(*at8(address++), 2);
}

u32 fnv(u32 hash, u32 address, u32 length)
{
    while (length--)
        hash = (hash ^ *at8(address++)) * 0x01000193;
    return hash;
}

/* Multiboot's memory map, kept at the start: nobody else keeps the memory it lies in. */
static void keep_map(u32 info)
{
    if (!(*at32(info) & 0x40))
        return;
    map_length = *at32(info + 44);
    if (map_length > sizeof map)
        map_length = sizeof map;
    for (u32 i = 0; i < map_length; i++)
        map[i] = *at8(*at32(info + 48) + i);
}

static void dump_map(void)
{
    for (u32 at = 0, n = 0; at + 24 <= map_length; at += 4 + *(u32 *)(map + at), n++)
        print("memory/%2X = %Q %Q %u\n", n, *(u64 *)(map + at + 4), *(u64 *)(map + at + 12), *(u32 *)(map + at + 20));
}

/* Page n of the work area holds what step n wrote to it; every later round expects that and writes anew.
 * Runs of 256 equal words: no two pages are alike, and a recorded stream of them is small when compressed. */
static u32 pattern(u32 step, u32 word)
{
    return (step ^ (word >> 8) << 20) * 0x9e3779b1u;
}

static void work(void)
{
    u32 page = counter % WORK_PAGES;
    volatile u32 *words = at32(WORK + page * 4096);
    int damaged = 0;
    for (u32 i = 0; i < 1024; i++) {
        if (counter >= WORK_PAGES && words[i] != pattern(counter - WORK_PAGES, i))
            damaged = 1;
        words[i] = pattern(counter, i);
    }
    mismatches += damaged;
    counter++;
}

static void dump(void)
{
    print("guest/version = 1\nguest/magic = 0x%8X\nvolatile/counter = %u\n", magic, counter);
    dump_cpu();
    dump_map();
    dump_pci();
    dump_virtio_mmio();
    dump_fw_cfg();
    dump_acpi(0);
    dump_smbios();
    dump_ports();
}

static int is(const char *command, const char *name)
{
    while (*command && *command == *name)
        command++, name++;
    return *command == *name;
}

static void answer(const char *command)
{
    if (is(command, "ping"))
        print("counter %u\nmismatches %u\n", counter, mismatches);
    else if (is(command, "dump"))
        dump();
    else if (is(command, "dump acpi"))
        dump_acpi(1);
    else
        print("error unknown command\n");
    print("end\n");
}

static void listen(void)
{
    static char line[64];
    static u32 length;
    while (in8(COM1 + 5) & 1) {
        char byte = in8(COM1);
        if (byte == '\n') {
            line[length] = 0;
            length = 0;
            answer(line);
        } else if (byte != '\r' && length < sizeof line - 1)
            line[length++] = byte;
    }
}

__attribute__((noreturn)) void guest(u32 boot_magic, u32 info)
{
    magic = boot_magic;
    keep_map(info);
    out8(COM1 + 1, 0);    /* no interrupts */
    out8(COM1 + 3, 0x03); /* 8N1 */
    out8(COM1 + 4, 0x03); /* ready; the FIFOs stay off, for turning them on drops what was sent before */
    drive_pci();
    drive_virtio_mmio();
    for (;;) {
        listen();
        work();
    }
}
