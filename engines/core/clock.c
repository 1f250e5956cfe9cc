/* clock.c - the one clock of the device side: CLOCK_MONOTONIC, which no operator and no NTP step can turn back. */
#include "edgekin.h"
#include <time.h>

int64_t ek_clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
