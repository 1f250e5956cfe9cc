/* dot_pairs.h - layout "pairs", for the DSP extension: a word holds two inputs' weights of two rows, in 16-bit lanes.
 *
 * packed: a lane is 256 w1 + w0. SMLAD of the word sums 256 A1 + A0, of its low bytes (SXTB16) A0, and A1 = (both - A0)
 * / 256: exact while |A1| < 2^23, which the exporter proves for every row. fine: a lane's bytes are w0 and w1
 * themselves, for inputs in 16 bits and for rows that the proof fails on.
 */
typedef int16_t ek_in;
#define ek_dot_plain ek_dot_fine /* of weights that are not packed */
#define EK_CHUNK 2
#define EK_ADD_CHUNK EK_PACKED(0)

#if defined(EK_DSP)
#include <arm_acle.h>

EK_INLINE uint32_t ek_word(const void *p) {
  uint32_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

/* The odd bytes; ACLE has no SXTB16 with a rotation. */
EK_INLINE int32_t ek_high(uint32_t v) {
  int32_t r;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v));
  return r;
}

/* Two inputs of four rows. */
#define EK_PACKED(i)                                                                                                   \
  {                                                                                                                    \
    int32_t v = (int32_t)ek_word(x + 2 * (i)), p = (int32_t)ek_word(w + 8 * (i)),                                      \
            q = (int32_t)ek_word(w + 8 * (i) + 4);                                                                     \
    a0 = __smlad(v, __sxtb16((uint32_t)p), a0), a1 = __smlad(v, p, a1);                                                \
    a2 = __smlad(v, __sxtb16((uint32_t)q), a2), a3 = __smlad(v, q, a3);                                                \
  }
#define EK_FINE(i)                                                                                                     \
  {                                                                                                                    \
    int32_t v = (int32_t)ek_word(x + 2 * (i));                                                                         \
    uint32_t p = ek_word(w + 8 * (i)), q = ek_word(w + 8 * (i) + 4);                                                   \
    a0 = __smlad(v, __sxtb16(p), a0), a1 = __smlad(v, ek_high(p), a1);                                                 \
    a2 = __smlad(v, __sxtb16(q), a2), a3 = __smlad(v, ek_high(q), a3);                                                 \
  }
#else
#define EK_ROWS(i, high)                                                                                               \
  for (int k = 2 * (i); k < 2 * (i) + 2; k++) {                                                                        \
    const int8_t *u = w + 8 * (k / 2) + 2 * (k % 2);                                                                   \
    int32_t v = x[k];                                                                                                  \
    a0 += v * u[0], a1 += v * (u[1] + high(u[0])), a2 += v * u[4], a3 += v * (u[5] + high(u[4]));                      \
  }
#define EK_BORROWED(low) ((low) < 0)
#define EK_OWN(low) 0
#define EK_PACKED(i) EK_ROWS(i, EK_BORROWED)
#define EK_FINE(i) EK_ROWS(i, EK_OWN)
#endif

/* Adds to four sums n inputs, a multiple of four; returns the weights that follow. */
EK_INLINE const int8_t *ek_dot(int32_t *sum, const ek_in *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  const ek_in *end = x + (n & ~7);
  for (; x != end; x += 8, w += 32) {
    EK_PACKED(0) EK_PACKED(1) EK_PACKED(2) EK_PACKED(3)
  }
  if (n & 4) {
    EK_PACKED(0) EK_PACKED(1) w += 16;
  }
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

/* The same of inputs that may have 16 bits, and weights that are not packed. */
EK_INLINE const int8_t *ek_dot_fine(int32_t *sum, const int16_t *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (const int16_t *end = x + n; x != end; x += 4, w += 16) {
    EK_FINE(0) EK_FINE(1)
  }
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

/* Sums of packed rows become those of each. */
EK_INLINE void ek_settle(int32_t *sum) {
#if defined(EK_DSP)
  sum[1] = (int32_t)((uint32_t)sum[1] - (uint32_t)sum[0]) >> 8;
  sum[3] = (int32_t)((uint32_t)sum[3] - (uint32_t)sum[2]) >> 8;
#else
  (void)sum;
#endif
}

/* n inputs in 16 bits, for SMLAD. */
EK_INLINE const ek_in *ek_widened(const int8_t *x, int n, ek_in *scratch) {
  for (int i = 0; i < n; i++)
    scratch[i] = x[i];
  return scratch;
}
