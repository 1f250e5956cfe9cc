/* avx512.c - INT8 dot products on x86-64 with AVX-512 VNNI: vpdpbusd adds the products of 4 activations and the weights
 * of 8 outputs to 32-bit sums, which no 16-bit sum in between can limit. 256 bits wide: the packing of the weights is
 * the one of AVX2, and no core lowers its clock for it. Everything else is done by the AVX2 kernels.
 *
 * With EK_EMULATE_VNNI the instruction is a function in plain C, so that the tests run this file on any AVX2 CPU. */
#include "engine.h"

#if defined(__x86_64__)
#include "avx2.h"
#include "drive.h"
#include <string.h>

#ifdef EK_EMULATE_VNNI
#include "vnni_emulated.h"
#define VNNI TARGET
#else
#define VNNI __attribute__((target("avx2,fma,avx512f,avx512vl,avx512vnni")))
#define dpbusd _mm256_dpbusd_epi32
#endif

/* The first factor of vpdpbusd is unsigned: a sign of the activation moves to the weight. */
VNNI static inline __attribute__((always_inline)) void tile(const ek_dot *d, const ek_group *g, const walk *at, int P,
                                                            int B, int negative) {
  __m256i acc[4][4];
  const int8_t *w = g->weights;
#pragma GCC unroll 4
  for (int p = 0; p < P; p++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
      acc[p][b] = _mm256_load_si256((const __m256i *)((const int32_t *)g->bias + 8 * b));
  for (int k = 0; k < g->n_places; k++, w += 32 * B)
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      int32_t four;
      memcpy(&four, (const int8_t *)d->in + at[p].in + g->places[k], 4);
      __m256i x = _mm256_set1_epi32(four), magnitude = negative ? _mm256_abs_epi8(x) : x;
#pragma GCC unroll 4
      for (int b = 0; b < B; b++) {
        __m256i v = _mm256_load_si256((const __m256i *)(w + 32 * b));
        acc[p][b] = dpbusd(acc[p][b], magnitude, negative ? _mm256_sign_epi8(v, x) : v);
      }
    }
#pragma GCC unroll 4
  for (int p = 0; p < P; p++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
      _mm_storel_epi64((__m128i *)((int8_t *)d->out + at[p].out + g->out_off[b]),
                       requantize(acc[p][b], g->mult + 8 * b, d->shift, d->relu));
}

#define TILES(name, P, B, negative)                                                                                    \
  VNNI static __attribute__((noinline)) void name(const ek_dot *d, const ek_group *g, const walk *at) {                \
    tile(d, g, at, P, B, negative);                                                                                    \
  }
TILES(p1b1, 1, 1, 0)
TILES(p1b2, 1, 2, 0)
TILES(p1b4, 1, 4, 0)
TILES(p4b1, 4, 1, 0)
TILES(p4b2, 4, 2, 0)
TILES(n_p1b1, 1, 1, 1)
TILES(n_p1b2, 1, 2, 1)
TILES(n_p1b4, 1, 4, 1)
TILES(n_p4b1, 4, 1, 1)
TILES(n_p4b2, 4, 2, 1)

void ek_avx512_dot_int8(const void *args) {
  static const tile_fn one[2][5] = {{0, p1b1, p1b2, 0, p1b4}, {0, n_p1b1, n_p1b2, 0, n_p1b4}};
  static const tile_fn four[2][5] = {{0, p4b1, p4b2, 0, 0}, {0, n_p4b1, n_p4b2, 0, 0}};
  const ek_dot *d = args;
  run_tiles(d, one[d->negative], four[d->negative]);
}
#endif
