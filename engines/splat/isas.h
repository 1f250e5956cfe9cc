/* isas.h - the text ISA_TEXT once for every instruction set, with ISA(name) naming and ISA_TARGET choosing it: vectors
 * of the compiler in one text, and the same bits from all (no contraction, and division and root round correctly
 * everywhere). It is text and not inlined code because gcc splits wide vectors by the target of the function that it
 * first sees them in. ISA_OF picks one of the functions; ISA_BITS makes bits of what comparisons yield. */
#ifndef EK_SPLAT_ISAS_H
#define EK_SPLAT_ISAS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

/* A macro: functions cannot return wide vectors for every target. */
#define CHOOSE(which, a, b) ((v8f)(((which) & (v8i)(a)) | (~(which) & (v8i)(b))))

#if defined(__x86_64__)
#define ISA_OF(body, name) ((body)->layout.isa != EK_ISA_SCALAR ? name##_avx2 : name##_base)
#else
#define ISA_OF(body, name) name##_base
#endif

static inline void transpose_base(v8f rows[8]) {
  for (int r = 0; r < 8; r++)
    for (int c = 0; c < r; c++) {
      float other = rows[r][c];
      rows[r][c] = rows[c][r], rows[c][r] = other;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static inline void transpose_avx2(v8f rows[8]) {
  v8f pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = __builtin_ia32_unpcklps256(rows[i], rows[i + 1]);
    pairs[i + 1] = __builtin_ia32_unpckhps256(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; k++) {
      fours[i + 2 * k] = __builtin_ia32_shufps256(pairs[i + k], pairs[i + k + 2], 0x44);
      fours[i + 2 * k + 1] = __builtin_ia32_shufps256(pairs[i + k], pairs[i + k + 2], 0xee);
    }
  for (int i = 0; i < 4; i++) {
    rows[i] = __builtin_ia32_vperm2f128_ps256(fours[i], fours[i + 4], 0x20);
    rows[i + 4] = __builtin_ia32_vperm2f128_ps256(fours[i], fours[i + 4], 0x31);
  }
}
#endif

#endif

/* a where an operand is NaN is not asked for: none is where these are used, but that of ISA_MAX(a, 0). */
#define ISA_TARGET
#define ISA(name) name##_base
#define ISA_MIN(a, b) CHOOSE((a) < (b), a, b)
#define ISA_MAX(a, b) CHOOSE((a) > (b), a, b)
#define ISA_ROOT(from, to)                                                                                             \
  for (int root = 0; root < 8; root++)                                                                                 \
  (to)[root] = sqrtf((from)[root])
#define ISA_BITS(from, to)                                                                                             \
  for (int lane = (to) = 0; lane < 8; lane++)                                                                          \
  (to) |= (int)((from)[lane] & 1) << lane
#include ISA_TEXT
#undef ISA_TARGET
#undef ISA
#undef ISA_MIN
#undef ISA_MAX
#undef ISA_ROOT
#undef ISA_BITS

#if defined(__x86_64__)
#define ISA_TARGET __attribute__((target("avx2")))
#define ISA(name) name##_avx2
#define ISA_MIN(a, b) __builtin_ia32_minps256(a, b)
#define ISA_MAX(a, b) __builtin_ia32_maxps256(a, b)
#define ISA_ROOT(from, to) (to) = __builtin_ia32_sqrtps256(from)
#define ISA_BITS(from, to) (to) = __builtin_ia32_movmskps256((v8f)(from))
#include ISA_TEXT
#undef ISA_TARGET
#undef ISA
#undef ISA_MIN
#undef ISA_MAX
#undef ISA_ROOT
#undef ISA_BITS
#endif
