/* host.c - the host as a board: its files are files, and it counts no instructions. */
#include "board.h"

#include <stdio.h>

uint32_t ek_bss, ek_bss_end, ek_stack, ek_stack_end;
static FILE *files[2];

intptr_t ek_host(int operation, const void *arguments) {
  const intptr_t *a = arguments;
  if (operation == EK_HOST_OPEN) {
    int write = a[1] == EK_HOST_WRITE_BYTES;
    files[write] = fopen((const char *)a[0], write ? "wb" : "rb");
    return files[write] ? write : -1;
  }
  size_t n = (size_t)a[2];
  if (operation == EK_HOST_READ)
    return (intptr_t)(n - fread((void *)a[1], 1, n, files[a[0]]));
  if (operation == EK_HOST_WRITE)
    return (intptr_t)(n - fwrite((const void *)a[1], 1, n, files[a[0]]));
  return -1;
}

void ek_ticks_start(void) {}

uint32_t ek_ticks(void) {
  return 0;
}
