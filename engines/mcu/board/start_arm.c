/* start_arm.c - vectors, reset and semihosting of the Cortex-M boards. */
#include "board.h"

intptr_t ek_host(int operation, const void *arguments) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

void ek_reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  *(volatile uint32_t *)0xE000ED88 |= UINT32_C(0xF) << 20; /* CPACR: coprocessors 10 and 11, for FPU and MVE */
  __asm__ volatile("dsb\n isb");
#endif
  for (uint32_t *p = &ek_bss; p < &ek_bss_end; p++)
    *p = 0;
  uint32_t done[2] = {0x20026, (uint32_t)main()}; /* ADP_Stopped_ApplicationExit */
  ek_host(EK_HOST_EXIT, done);
  for (;;) {
  }
}

static void fault(void) {
  uint32_t done[2] = {0x20026, 99};
  ek_host(EK_HOST_EXIT, done);
  for (;;) {
  }
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void)) & ek_stack, ek_reset, fault, fault, fault, fault, fault, fault, fault};

/* SysTick counts down from 2^24 - 1. */
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010;

void ek_ticks_start(void) {
  systick[1] = 0xFFFFFF, systick[2] = 0, systick[0] = 5;
  while (!systick[2]) /* it reloads at its next tick */
    ;
}

uint32_t ek_ticks(void) {
  return 0xFFFFFF - systick[2];
}
