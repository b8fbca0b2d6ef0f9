/* Entered by a multiboot 1 loader: 32-bit protected mode, flat segments, paging and interrupts off. */
#define FLAGS 0x2 /* asks for the memory map */

    .section .multiboot, "a"
    .long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)

    .text
    .globl start
start:
    cli
    cld
    mov $0x200000, %esp
    push %ebx
    push %eax
    call guest
1:  hlt
    jmp 1b
    .section .note.GNU-stack, "", @progbits
