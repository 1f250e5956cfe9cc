/* board.h - what an emulated board does for a program: it starts it, and passes it files of the host (semihosting). */
#ifndef EK_BOARD_H
#define EK_BOARD_H

#include <stdint.h>

extern uint32_t ek_bss, ek_bss_end, ek_stack, ek_stack_end;

int main(void);

/* A semihosting call. Source: Arm, Semihosting for AArch32 and AArch64, 2023, section 5; RISC-V has the same calls. */
intptr_t ek_host(int operation, const void *arguments);
enum { EK_HOST_OPEN = 0x01, EK_HOST_WRITE = 0x05, EK_HOST_READ = 0x06, EK_HOST_EXIT = 0x20 };
enum { EK_HOST_READ_BYTES = 1, EK_HOST_WRITE_BYTES = 5 }; /* modes "rb" and "wb" */

/* A counter that the emulator drives by instructions where it is told to (-icount shift=0), and its value. */
void ek_ticks_start(void);
uint32_t ek_ticks(void);

#endif
