/* vnni_emulated.h - vpdpbusd, 256 bits wide, word for word from Intel's manual: for every 32-bit lane the four products
 * of an unsigned and a signed byte are added to it, wrapping. For CPUs without the instruction. */
#ifndef EK_TESTS_VNNI_EMULATED_H
#define EK_TESTS_VNNI_EMULATED_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

__attribute__((target("avx2"))) static inline __m256i dpbusd(__m256i sums, __m256i unsigned_bytes,
                                                             __m256i signed_bytes) {
  uint32_t s[8];
  uint8_t u[32];
  int8_t v[32];
  memcpy(s, &sums, sizeof s);
  memcpy(u, &unsigned_bytes, sizeof u);
  memcpy(v, &signed_bytes, sizeof v);
  for (int i = 0; i < 32; i++)
    s[i / 4] += (uint32_t)((int32_t)u[i] * v[i]);
  memcpy(&sums, s, sizeof s);
  return sums;
}

#endif
