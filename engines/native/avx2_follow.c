/* avx2_follow.c - layers that follow their input, on x86-64 with AVX2. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include "drive_follow.h"
#include "pack.h"

/* What two inputs have changed by, side by side in each 32 bits. */
INLINE __m256i pair_of(const int32_t *by) {
  return _mm256_set1_epi32((int)((uint32_t)by[1] << 16 | (uint16_t)by[0]));
}

/* Two rows at a time: 8 lanes of both side by side. */
INLINE void add_any(int32_t *to, const ek_rows *r, int lanes) {
  for (int i = 0; i < lanes; i += 8) {
    __m256i *sums = (__m256i *)(to + i), sum = _mm256_load_si256(sums);
    for (int k = 0; k < r->n; k += 2) {
      __m128i a = _mm_loadl_epi64((const __m128i *)(r->weights[k] + i)),
              b = _mm_loadl_epi64((const __m128i *)(r->weights[k + 1] + i));
      __m256i words = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, pair_of(r->by + k)));
    }
    _mm256_store_si256(sums, sum);
  }
}

/* N pairs of rows whose sums fit into 16 bits: by magnitude, the weights with the sign. */
INLINE void add_small(int32_t *to, const ek_rows *r, int lanes, int N) {
  __m256i size[4], sign[4];
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    __m256i by = pair_of(r->by + 2 * k), limit = _mm256_set1_epi16(1);
    sign[k] = _mm256_max_epi16(_mm256_min_epi16(by, limit), _mm256_sub_epi16(_mm256_setzero_si256(), limit));
    by = _mm256_abs_epi16(by);
    size[k] = _mm256_packus_epi16(by, by);
    sign[k] = _mm256_packs_epi16(sign[k], sign[k]);
  }
  for (int i = 0; i < lanes; i += 32) {
    __m256i low = _mm256_setzero_si256(), high = low, *sums = (__m256i *)(to + i);
#pragma GCC unroll 4
    for (int k = 0; k < N; k++) {
      __m256i a = _mm256_load_si256((const __m256i *)(r->weights[2 * k] + i)),
              b = _mm256_load_si256((const __m256i *)(r->weights[2 * k + 1] + i));
      __m256i first = _mm256_sign_epi8(_mm256_unpacklo_epi8(a, b), sign[k]),
              second = _mm256_sign_epi8(_mm256_unpackhi_epi8(a, b), sign[k]);
      low = _mm256_add_epi16(low, _mm256_maddubs_epi16(size[k], first));
      high = _mm256_add_epi16(high, _mm256_maddubs_epi16(size[k], second));
    }
    add_wide(sums, _mm256_castsi256_si128(low));
    add_wide(sums + 1, _mm256_castsi256_si128(high));
    add_wide(sums + 2, _mm256_extracti128_si256(low, 1));
    add_wide(sums + 3, _mm256_extracti128_si256(high, 1));
  }
}

INLINE void add_linear(int32_t *sums, const ek_rows *r, int lanes) {
  int reach = 0;
  for (int k = 0; k < r->n; k++)
    reach += r->by[k] < 0 ? -r->by[k] : r->by[k];
  if (reach > EK_LANE_LIMIT)
    add_any(sums, r, lanes);
  else if (r->n == 8)
    add_small(sums, r, lanes, 4);
  else if (r->n == 6)
    add_small(sums, r, lanes, 3);
  else if (r->n == 4)
    add_small(sums, r, lanes, 2);
  else
    add_small(sums, r, lanes, 1);
}

INLINE void add_places(int32_t *row, const int16_t *weights, __m256i by, int rows, int row_sums, int lanes) {
  const __m256i *w = (const __m256i *)weights;
#pragma GCC unroll 3
  for (int ky = 0; ky < rows; ky++, row += row_sums)
#pragma GCC unroll 6
    for (int i = 0; i < lanes; i += 8) {
      __m256i *sums = (__m256i *)(row + i);
      *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(by, *w++));
    }
}

/* The windows of 3x3 places with 8 or 16 channels have loops of their own. */
INLINE void add_window(const ek_follow_window *w, int32_t *row, const int16_t *weights, uint32_t change) {
  __m256i by = _mm256_set1_epi32((int)change);
  if (w->kernel == 3 && w->row_lanes == 24)
    add_places(row, weights, by, 3, w->row_sums, 24);
  else if (w->kernel == 3 && w->row_lanes == 48)
    add_places(row, weights, by, 3, w->row_sums, 48);
  else
    add_places(row, weights, by, w->kernel, w->row_sums, w->row_lanes);
}

FOLLOW(ek_avx2_follow_linear, ek_avx2_follow_window, TARGET, add_linear, add_window)

TARGET void ek_avx2_follow_finish(const ek_requant *r, const int32_t *sums, int pixels, int8_t *out) {
  int lanes = r->lanes, shift = r->shift, relu = r->relu;
  for (int x = 0; x < pixels; x++, out += r->out_pixel)
    for (int i = 0; i < lanes; i += 8, sums += 8)
      _mm_storel_epi64((__m128i *)(out + i),
                       requantize(_mm256_loadu_si256((const __m256i *)sums), r->mult + i, shift, relu));
}
#endif
