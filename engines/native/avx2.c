/* avx2.c - inner loops for x86-64 with AVX2 and FMA. INT8 gives the bits of scalar.c; FP32 sums in another order and
 * with fused multiply-adds, so it agrees within rounding.
 *
 * INT8: vpmaddubsw multiplies 4 activations (broadcast) by the weights of 8 outputs. It is exact: activations are
 * 0..127 (or their magnitudes, with the sign moved to the weight by vpsignb), weights are -127..127, and the packer
 * only puts units into one 16-bit sum that cannot overflow it. */
#include "engine.h"

#if defined(__x86_64__)
#include "avx2.h"
#include "drive.h"
#include <string.h>

/* ---- INT8
 * ------------------------------------------------------------------------------------------------------------- */

INLINE __m256i load4(const int8_t *x) {
  int32_t v;
  memcpy(&v, x, 4);
  return _mm256_set1_epi32(v);
}

INLINE __m256i products(__m256i x, __m256i magnitude, const int8_t *w, int negative) {
  __m256i wv = _mm256_load_si256((const __m256i *)w);
  return _mm256_maddubs_epi16(magnitude, negative ? _mm256_sign_epi8(wv, x) : wv);
}

/* n units of one pixel into the accumulators of B blocks. */
INLINE void accumulate(const int8_t *x, const int32_t *places, const int8_t *w, __m256i *acc, int n, int B,
                       int negative) {
  __m256i v[4], m[4];
#pragma GCC unroll 4
  for (int i = 0; i < n; i++) {
    v[i] = load4(x + places[i]);
    m[i] = negative ? _mm256_abs_epi8(v[i]) : v[i];
  }
#pragma GCC unroll 4
  for (int b = 0; b < B; b++) {
    __m256i t = products(v[0], m[0], w + 32 * b, negative);
#pragma GCC unroll 4
    for (int i = 1; i < n; i++)
      t = _mm256_add_epi16(t, products(v[i], m[i], w + 32 * (i * B + b), negative));
    acc[b] = _mm256_add_epi32(acc[b], _mm256_madd_epi16(t, _mm256_set1_epi16(1)));
  }
}

INLINE void tile_int8(const ek_dot *d, const ek_group *g, const walk *at, int P, int B, int negative) {
  __m256i acc[4][4];
  const int8_t *x[4], *w = g->weights;
  const int32_t *places = g->places;
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    x[p] = (const int8_t *)d->in + at[p].in;
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
      acc[p][b] = _mm256_load_si256((const __m256i *)((const int32_t *)g->bias + 8 * b));
  }
#define UNITS(count, n)                                                                                                \
  for (int k = 0; k < (count); k++, places += (n), w += 32 * (n)*B) {                                                  \
    _Pragma("GCC unroll 4") for (int p = 0; p < P; p++) accumulate(x[p], places, w, acc[p], n, B, negative);           \
  }
  UNITS(g->runs[3], 4)
  UNITS(g->runs[2], 3)
  UNITS(g->runs[1], 2)
  UNITS(g->runs[0], 1)
#undef UNITS
  int shift = d->shift, relu = d->relu; /* read before the stores, which might be to anywhere */
#pragma GCC unroll 4
  for (int b = 0; b < B; b++) {
    __m256i mult = _mm256_load_si256((const __m256i *)(g->mult + 8 * b));
    int8_t *out = (int8_t *)d->out + g->out_off[b];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
      _mm_storel_epi64((__m128i *)(out + at[p].out), requantize_by(acc[p][b], mult, shift, relu));
  }
}

/* One specialisation per tile shape, so that every accumulator lives in a register. */
#define TILES(name, tile, P, B, ...)                                                                                   \
  TARGET static __attribute__((noinline)) void name(const ek_dot *d, const ek_group *g, const walk *at) {              \
    tile(d, g, at, P, B, ##__VA_ARGS__);                                                                               \
  }

TILES(i8_p1b1, tile_int8, 1, 1, 0)
TILES(i8_p1b2, tile_int8, 1, 2, 0)
TILES(i8_p1b4, tile_int8, 1, 4, 0)
TILES(i8_p4b1, tile_int8, 4, 1, 0)
TILES(i8_p4b2, tile_int8, 4, 2, 0)
TILES(i8n_p1b1, tile_int8, 1, 1, 1)
TILES(i8n_p1b2, tile_int8, 1, 2, 1)
TILES(i8n_p1b4, tile_int8, 1, 4, 1)
TILES(i8n_p4b1, tile_int8, 4, 1, 1)
TILES(i8n_p4b2, tile_int8, 4, 2, 1)

static void dot_int8(const void *args) {
  static const tiles all[2][2] = {{{4, {0, i8_p4b1, i8_p4b2}}, {1, {0, i8_p1b1, i8_p1b2, 0, i8_p1b4}}},
                                  {{4, {0, i8n_p4b1, i8n_p4b2}}, {1, {0, i8n_p1b1, i8n_p1b2, 0, i8n_p1b4}}}};
  const ek_dot *d = args;
  run_tiles(d, all[d->negative]);
}

/* ---- FP32
 * ------------------------------------------------------------------------------------------------------------- */

INLINE void tile_fp32(const ek_dot *d, const ek_group *g, const walk *at, int P, int B) {
  __m256 acc[4][4];
  const float *x[4], *w = g->weights;
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    x[p] = (const float *)d->in + at[p].in;
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
      acc[p][b] = _mm256_load_ps((const float *)g->bias + 8 * b);
  }
  for (int k = 0; k < g->n_places; k++, w += 8 * B) {
    int32_t place = g->places[k];
    __m256 v[4];
#pragma GCC unroll 4
    for (int p = 0; p < P; p++)
      v[p] = _mm256_broadcast_ss(x[p] + place);
#pragma GCC unroll 4
    for (int b = 0; b < B; b++) {
      __m256 wv = _mm256_load_ps(w + 8 * b);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++)
        acc[p][b] = _mm256_fmadd_ps(v[p], wv, acc[p][b]);
    }
  }
  __m256 low = _mm256_set1_ps(d->relu ? 0.0f : -__builtin_inff());
#pragma GCC unroll 4
  for (int p = 0; p < P; p++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
      _mm256_storeu_ps((float *)d->out + at[p].out + g->out_off[b], _mm256_max_ps(acc[p][b], low));
}

TILES(f_p1b1, tile_fp32, 1, 1)
TILES(f_p1b2, tile_fp32, 1, 2)
TILES(f_p1b4, tile_fp32, 1, 4)
TILES(f_p4b1, tile_fp32, 4, 1)
TILES(f_p4b2, tile_fp32, 4, 2)

static void dot_fp32(const void *args) {
  static const tiles all[2] = {{4, {0, f_p4b1, f_p4b2}}, {1, {0, f_p1b1, f_p1b2, 0, f_p1b4}}};
  run_tiles(args, all);
}

/* ---- resize: rows along x once per input row, then two of them blended for every output row
 * ------------------------------ */

TARGET static void widen_int8(const ek_resize *r, int y, int16_t *row) {
  const int8_t *in = (const int8_t *)r->in.data + (int64_t)y * r->in.row;
  for (int x = 0; x < r->out.shape.w; x++) {
    const int8_t *a = in + (int64_t)r->tx[x].first * r->in.pixel, *b = in + (int64_t)r->tx[x].second * r->in.pixel;
    __m128i wb = _mm_set1_epi16((short)r->tx[x].weight), wa = _mm_set1_epi16((short)(256 - r->tx[x].weight));
    for (int c = 0; c < r->out.pixel; c += 8) {
      __m128i va = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(a + c)));
      __m128i vb = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)(b + c)));
      __m128i sum = _mm_add_epi16(_mm_mullo_epi16(va, wa), _mm_mullo_epi16(vb, wb));
      _mm_store_si128((__m128i *)(row + x * r->out.pixel + c), sum);
    }
  }
}

TARGET static void blend_int8(const ek_resize *r, int y, const int16_t *a, const int16_t *b) {
  int weight = r->ty[y].weight, n = r->out.shape.w * r->out.pixel;
  int8_t *out = (int8_t *)r->out.data + (int64_t)y * r->out.row;
  __m128i w = _mm_set1_epi32((weight << 16) | (256 - weight)), round = _mm_set1_epi32(1 << 15);
  for (int i = 0; i < n; i += 8) {
    __m128i va = _mm_load_si128((const __m128i *)(a + i)), vb = _mm_load_si128((const __m128i *)(b + i));
    __m128i lo = _mm_madd_epi16(_mm_unpacklo_epi16(va, vb), w), hi = _mm_madd_epi16(_mm_unpackhi_epi16(va, vb), w);
    lo = _mm_srai_epi32(_mm_add_epi32(lo, round), 16);
    hi = _mm_srai_epi32(_mm_add_epi32(hi, round), 16);
    __m128i words = _mm_packs_epi32(lo, hi);
    _mm_storel_epi64((__m128i *)(out + i), _mm_packs_epi16(words, words));
  }
}

TARGET static void widen_fp32(const ek_resize *r, int y, float *row) {
  const float *in = (const float *)r->in.data + (int64_t)y * r->in.row;
  for (int x = 0; x < r->out.shape.w; x++) {
    const float *a = in + (int64_t)r->tx[x].first * r->in.pixel, *b = in + (int64_t)r->tx[x].second * r->in.pixel;
    __m256 f = _mm256_set1_ps(r->tx[x].fraction);
    for (int c = 0; c < r->out.pixel; c += 8) {
      __m256 va = _mm256_loadu_ps(a + c), vb = _mm256_loadu_ps(b + c);
      _mm256_storeu_ps(row + x * r->out.pixel + c, _mm256_fmadd_ps(f, _mm256_sub_ps(vb, va), va));
    }
  }
}

TARGET static void blend_fp32(const ek_resize *r, int y, const float *a, const float *b) {
  int n = r->out.shape.w * r->out.pixel;
  float *out = (float *)r->out.data + (int64_t)y * r->out.row;
  __m256 f = _mm256_set1_ps(r->ty[y].fraction);
  for (int i = 0; i < n; i += 8) {
    __m256 va = _mm256_loadu_ps(a + i), vb = _mm256_loadu_ps(b + i);
    _mm256_storeu_ps(out + i, _mm256_fmadd_ps(f, _mm256_sub_ps(vb, va), va));
  }
}

RESIZE(resize_int8, int16_t, widen_int8, blend_int8)
RESIZE(resize_fp32, float, widen_fp32, blend_fp32)

#define SHARED                                                                                                         \
  .columns_fp32 = ek_avx2_columns_fp32, .stamp_fp32 = ek_avx2_stamp_fp32, .resize_fp32 = resize_fp32,                  \
  .resize_int8 = resize_int8, .narrow_fp32 = ek_avx2_narrow_fp32, .narrow_int8 = ek_avx2_narrow_int8,                  \
  .joints_int8 = ek_avx2_joints_int8, .follow_linear = ek_avx2_follow_linear, .follow_window = ek_avx2_follow_window,  \
  .follow_finish = ek_avx2_follow_finish, .upconv_fp32 = &ek_avx2_upconv_fp32

const ek_kernels ek_kernels_avx2 = {SHARED,
                                    .dot_blocks = 2,
                                    .dot_fp32 = dot_fp32,
                                    .columns_int8 = ek_avx2_columns_int8,
                                    .dot_int8 = dot_int8,
                                    .stamp_int8 = ek_avx2_stamp_int8,
                                    .scatter_int8 = ek_avx2_scatter_int8,
                                    .upconv_int8 = &ek_avx2_upconv_int8};
const ek_kernels ek_kernels_avx512 = {SHARED,
                                      .dot_blocks = 4,
                                      .columns_int8 = ek_avx512_columns_int8,
                                      .dot_fp32 = ek_avx512_dot_fp32,
                                      .dot_int8 = ek_avx512_dot_int8,
                                      .upconv_int8 = &ek_avx512_upconv_int8};
#endif
