/* common.h - what the kernels share: how a layer is described, and how its sums become outputs.
 *
 * C99, freestanding: no malloc, no libc, no float. The exporter (edgekin.compile.mcu) puts these texts, the weights and
 * the calls into one source. Maps are laid out (height, width, channels): a pixel's channels are neighbours.
 *
 * A weighted layer's rows (its outputs) go in blocks of four. How the weights of a block lie is the layout: dot_rows.h
 * (plain C), dot_pairs.h (DSP extension), dot_wide.h (MVE). Every layout has a path in plain C, so that one source
 * gives the same bits on every core and on the host.
 */
#include <stddef.h>
#include <stdint.h>

#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define EK_MVE 1
#include <arm_mve.h>
#elif defined(__ARM_FEATURE_DSP)
#define EK_DSP 1
#endif

/* EK_APART: a function that is not inlined, for loops that want all registers. */
#if defined(__GNUC__)
#define EK_INLINE static inline __attribute__((always_inline))
#define EK_APART static __attribute__((noinline))
#define EK_ALIGNED __attribute__((aligned(8)))
#else
#define EK_INLINE static inline
#define EK_APART static
#define EK_ALIGNED
#endif

/* A kernel of which every layer has a copy, made for its numbers. Not for MVE: gcc 12 doubles sums in such copies. */
#if defined(EK_MVE)
#define EK_COPIED static
#else
#define EK_COPIED EK_INLINE
#endif

/* The largest magnitude of an int8 number here: -128 never occurs. */
#define EK_MOST 127

typedef struct {
  int32_t bias[4], multiplier[4];
} ek_block;

/* The weights of a layer. */
typedef struct {
  const int8_t *weights;  /* blocks of four rows, as the layout has them */
  const ek_block *blocks; /* ceil(rows / 4) */
  const uint16_t *chunks; /* what is left out: linear_sparse.h and linear_runs.h */
  int32_t rows, length;   /* outputs; inputs of a segment, a whole number of steps of the kernel */
  uint8_t left;           /* sums are shifted left so far before they are multiplied */
  int8_t least;           /* of the outputs: 0 with a ReLU, else -127 */
} ek_weights;

/* round(a m / 2^32), half up. */
EK_INLINE int32_t ek_scaled(int32_t a, int32_t m) {
#if defined(EK_DSP) || (defined(EK_MVE) && defined(__ARM_FEATURE_DSP))
  int32_t out;
  __asm__("smmulr %0, %1, %2" : "=r"(out) : "r"(a), "r"(m));
  return out;
#else
  return (int32_t)(((int64_t)a * m + INT64_C(0x80000000)) >> 32);
#endif
}

EK_INLINE int32_t ek_clipped(int32_t v, int32_t least) {
#if defined(__ARM_FEATURE_SAT)
  __asm__("ssat %0, #8, %1" : "=r"(v) : "r"(v));
#else
  v = v < EK_MOST ? v : EK_MOST;
#endif
  return v > least ? v : least;
}

/* Four sums become up to n outputs. */
EK_INLINE void ek_requantize(const ek_weights *l, const ek_block *b, const int32_t *sum, int8_t *out, int n) {
  int32_t left = l->left, least = l->least;
#if defined(EK_MVE)
  if (n >= 4) {
    int32x4_t v = vshlq_r_s32(vaddq_s32(vldrwq_s32(sum), vldrwq_s32(b->bias)), left);
    v = vrmulhq_s32(v, vldrwq_s32(b->multiplier));
    vstrbq_s32(out, vmaxq_s32(vminq_s32(v, vdupq_n_s32(EK_MOST)), vdupq_n_s32(least)));
    return;
  }
#endif
  for (int i = 0; i < (n < 4 ? n : 4); i++)
    out[i] = (int8_t)ek_clipped(ek_scaled((int32_t)((uint32_t)(sum[i] + b->bias[i]) << left), b->multiplier[i]), least);
}
