/* avx512.c - dense products on x86-64 with AVX-512 and VNNI: vpdpbusd adds the products of 4 activations and the
 * weights of 16 outputs to 32-bit sums, which no 16-bit sum in between can limit. The packing of the weights is the one
 * of AVX2: two of its blocks of 8 outputs fill a register. */
#include "engine.h"

#if defined(__x86_64__)
#include "avx512.h"
#include "drive.h"
#include <string.h>

/* One block of 8 outputs in half a register. */
INLINE512 __m512i load_weights(const int8_t *w, int blocks) {
  return blocks == 1 ? _mm512_castsi256_si512(_mm256_load_si256((const __m256i *)w)) : _mm512_loadu_si512(w);
}

/* The first factor of vpdpbusd is unsigned: a sign of the activation moves to the weight. */
INLINE512 void add_products(__m512i *sum, __m512i x, __m512i w, int negative) {
  if (negative) {
    w = _mm512_mask_sub_epi8(w, _mm512_movepi8_mask(x), _mm512_setzero_si512(), w);
    x = _mm512_abs_epi8(x);
  }
  add_bytes(sum, x, w);
}

/* The outputs of P pixels, two blocks in each of N registers. */
INLINE512 void store_int8(const ek_dot *d, const ek_group *g, const walk *at, __m512i acc[8][2], int P, int N) {
  int shift = d->shift, relu = d->relu; /* read before the stores, which might be to anywhere */
#pragma GCC unroll 2
  for (int b = 0; b < N; b++) {
    __m512i mult = _mm512_loadu_si512(g->mult + 16 * b);
    int8_t *first = (int8_t *)d->out + g->out_off[2 * b], *second = (int8_t *)d->out + g->out_off[2 * b + 1];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
      __m128i y = requantize512(acc[p][b], mult, shift, relu);
      _mm_storel_epi64((__m128i *)(first + at[p].out), y);
      _mm_storel_epi64((__m128i *)(second + at[p].out), _mm_unpackhi_epi64(y, y));
    }
  }
}

/* Those of one block, in half a register: two pixels together. */
INLINE512 void store_halves(const ek_dot *d, const ek_group *g, const walk *at, __m512i acc[8][2], int P) {
  int shift = d->shift, relu = d->relu;
  int8_t *out = (int8_t *)d->out + g->out_off[0];
  __m256i half = _mm256_load_si256((const __m256i *)g->mult);
  __m512i mult = _mm512_inserti64x4(_mm512_castsi256_si512(half), half, 1);
#pragma GCC unroll 4
  for (int p = 0; p < P; p += 2) {
    int q = p + 1 < P ? p + 1 : p;
    __m512i both = _mm512_inserti64x4(acc[p][0], _mm512_castsi512_si256(acc[q][0]), 1);
    __m128i y = requantize512(both, mult, shift, relu);
    _mm_storel_epi64((__m128i *)(out + at[p].out), y);
    if (q > p)
      _mm_storel_epi64((__m128i *)(out + at[q].out), _mm_unpackhi_epi64(y, y));
  }
}

/* P pixels, B blocks of outputs in N registers. */
INLINE512 void tile_int8(const ek_dot *d, const ek_group *g, const walk *at, int P, int B, int negative) {
  __m512i acc[8][2];
  const int N = (B + 1) / 2;
  const int8_t *x[8], *w = g->weights;
#pragma GCC unroll 8
  for (int p = 0; p < P; p++) {
    x[p] = (const int8_t *)d->in + at[p].in;
#pragma GCC unroll 2
    for (int b = 0; b < N; b++)
      acc[p][b] = load_weights((const int8_t *)g->bias + 64 * b, B);
  }
  for (int k = 0; k < g->n_places; k++, w += 32 * B) {
    __m512i v[2];
    int32_t place = g->places[k];
#pragma GCC unroll 2
    for (int b = 0; b < N; b++)
      v[b] = load_weights(w + 64 * b, B);
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
      int32_t four;
      memcpy(&four, x[p] + place, 4);
#pragma GCC unroll 2
      for (int b = 0; b < N; b++)
        add_products(&acc[p][b], _mm512_set1_epi32(four), v[b], negative);
    }
  }
  if (B == 1)
    store_halves(d, g, at, acc, P);
  else
    store_int8(d, g, at, acc, P, N);
}

#define TILES(name, tile, P, B, ...)                                                                                   \
  TARGET512 static __attribute__((noinline)) void name(const ek_dot *d, const ek_group *g, const walk *at) {           \
    tile(d, g, at, P, B, ##__VA_ARGS__);                                                                               \
  }
#define ALL_TILES(name, tile, ...)                                                                                     \
  TILES(name##_p1b1, tile, 1, 1, ##__VA_ARGS__)                                                                        \
  TILES(name##_p1b2, tile, 1, 2, ##__VA_ARGS__)                                                                        \
  TILES(name##_p1b4, tile, 1, 4, ##__VA_ARGS__)                                                                        \
  TILES(name##_p4b1, tile, 4, 1, ##__VA_ARGS__)                                                                        \
  TILES(name##_p4b2, tile, 4, 2, ##__VA_ARGS__)                                                                        \
  TILES(name##_p4b4, tile, 4, 4, ##__VA_ARGS__)                                                                        \
  TILES(name##_p8b1, tile, 8, 1, ##__VA_ARGS__)                                                                        \
  TILES(name##_p8b2, tile, 8, 2, ##__VA_ARGS__)                                                                        \
  TILES(name##_p8b4, tile, 8, 4, ##__VA_ARGS__)                                                                        \
  static const tiles name[3] = {{8, {0, name##_p8b1, name##_p8b2, 0, name##_p8b4}},                                    \
                                {4, {0, name##_p4b1, name##_p4b2, 0, name##_p4b4}},                                    \
                                {1, {0, name##_p1b1, name##_p1b2, 0, name##_p1b4}}};

ALL_TILES(i8, tile_int8, 0)
ALL_TILES(i8n, tile_int8, 1)

void ek_avx512_dot_int8(const void *args) {
  const ek_dot *d = args;
  run_tiles(d, d->negative ? i8n : i8);
}

INLINE512 __m512 load_floats(const void *w, int blocks) {
  return _mm512_castsi512_ps(load_weights(w, blocks));
}

INLINE512 void tile_fp32(const ek_dot *d, const ek_group *g, const walk *at, int P, int B) {
  __m512 acc[8][2];
  const int N = (B + 1) / 2;
  const float *x[8], *w = g->weights;
#pragma GCC unroll 8
  for (int p = 0; p < P; p++) {
    x[p] = (const float *)d->in + at[p].in;
#pragma GCC unroll 2
    for (int b = 0; b < N; b++)
      acc[p][b] = load_floats((const float *)g->bias + 16 * b, B);
  }
  for (int k = 0; k < g->n_places; k++, w += 8 * B) {
    int32_t place = g->places[k];
#pragma GCC unroll 2
    for (int b = 0; b < N; b++) {
      __m512 v = load_floats(w + 16 * b, B);
#pragma GCC unroll 8
      for (int p = 0; p < P; p++)
        acc[p][b] = _mm512_fmadd_ps(_mm512_set1_ps(x[p][place]), v, acc[p][b]);
    }
  }
  __m512 low = _mm512_set1_ps(d->relu ? 0.0f : -__builtin_inff());
#pragma GCC unroll 2
  for (int b = 0; b < N; b++) {
    float *out = (float *)d->out + g->out_off[2 * b], *second = (float *)d->out + g->out_off[2 * b + (B > 1)];
#pragma GCC unroll 8
    for (int p = 0; p < P; p++) {
      __m512i y = _mm512_castps_si512(_mm512_max_ps(acc[p][b], low));
      _mm256_storeu_si256((__m256i *)(out + at[p].out), _mm512_castsi512_si256(y));
      if (B > 1)
        _mm256_storeu_si256((__m256i *)(second + at[p].out), _mm512_extracti64x4_epi64(y, 1));
    }
  }
}

ALL_TILES(f, tile_fp32)

void ek_avx512_dot_fp32(const void *args) {
  run_tiles(args, f);
}
#endif
