/* start_riscv.c - reset and semihosting of QEMU's RISC-V board. */
#include "board.h"

__attribute__((naked, section(".vectors"), used)) void ek_reset(void) {
  __asm__ volatile(".option arch, +zicsr\n"
                   "la sp, ek_stack\n"
                   "la t0, ek_bss\n"
                   "la t1, ek_bss_end\n"
                   "1: bgeu t0, t1, 2f\n"
                   "sw zero, 0(t0)\n"
                   "addi t0, t0, 4\n"
                   "j 1b\n"
                   "2: la t0, ek_fault\n"
                   "csrw mtvec, t0\n"
                   "j ek_run\n");
}

/* The three instructions are how an emulator knows a call from a breakpoint; they must not be compressed. */
__attribute__((noinline)) intptr_t ek_host(int operation, const void *arguments) {
  register intptr_t a0 __asm__("a0") = operation;
  register const void *a1 __asm__("a1") = arguments;
  __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                   "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                   : "+r"(a0)
                   : "r"(a1)
                   : "memory");
  return a0;
}

static void leave(uint32_t status) {
  uint32_t done[2] = {0x20026, status};
  ek_host(EK_HOST_EXIT, done);
  for (;;) {
  }
}

__attribute__((used)) void ek_run(void) {
  leave((uint32_t)main());
}

__attribute__((used, aligned(4))) void ek_fault(void) {
  leave(99);
}

void ek_ticks_start(void) {}

uint32_t ek_ticks(void) {
  uint32_t n;
  __asm__ volatile(".option push\n.option arch, +zicsr\ncsrr %0, minstret\n.option pop" : "=r"(n));
  return n;
}
