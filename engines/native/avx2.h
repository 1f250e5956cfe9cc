/* avx2.h - what the AVX2 kernels share. */
#ifndef EK_NATIVE_AVX2_H
#define EK_NATIVE_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include "engine.h"

#define TARGET __attribute__((target("avx2,fma,popcnt")))
#define INLINE static inline __attribute__((always_inline)) TARGET

void ek_avx2_columns_fp32(const void *args);
void ek_avx2_columns_int8(const void *args);
void ek_avx2_gather_int8(const ek_inputs *inputs, const void *x, ek_list *list);
void ek_avx2_joints_int8(const void *args);
void ek_avx2_narrow_fp32(const void *args);
void ek_avx2_narrow_int8(const void *args);
void ek_avx2_scatter_int8(const void *args);
void ek_avx2_stamp_fp32(const void *args);
void ek_avx2_stamp_int8(const void *args);
void ek_avx2_follow_linear(void *layer, int y, const ek_change *changes, int n);
void ek_avx2_follow_window(void *layer, int y, const ek_change *changes, int n);
void ek_avx2_follow_finish(const ek_requant *requant, const int32_t *sums, int pixels, int8_t *out);
void ek_avx512_columns_int8(const void *args);
void ek_avx512_dot_fp32(const void *args);
void ek_avx512_dot_int8(const void *args);

extern const ek_upconv_loops ek_avx2_upconv_fp32, ek_avx2_upconv_int8, ek_avx512_upconv_int8;

/* The upper half of each 64-bit lane in its lower one, too. */
INLINE __m256i upper(__m256i x) {
  return _mm256_shuffle_epi32(x, 0xF5);
}

/* (acc * mult + 2^(shift-1)) >> shift of 8 channels, clipped. The low 32 bits of a logical 64-bit shift by at most 32
 * are those of the arithmetic one, and the loader has proved that the value fits into them. Nearly every layer shifts
 * by 32, which only selects the upper halves. */
INLINE __m128i requantize_by(__m256i acc, __m256i m, int by, int relu) {
  __m256i round = _mm256_set1_epi64x(INT64_C(1) << (by - 1));
  __m256i even = _mm256_add_epi64(_mm256_mul_epi32(acc, m), round), y;
  __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(upper(acc), upper(m)), round);
  if (by == 32) {
    y = _mm256_blend_epi32(upper(even), odd, 0xAA);
  } else {
    __m128i shift = _mm_cvtsi32_si128(by);
    odd = _mm256_slli_epi64(_mm256_srl_epi64(odd, shift), 32);
    y = _mm256_blend_epi32(_mm256_srl_epi64(even, shift), odd, 0xAA);
  }
  __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
  return _mm_max_epi8(_mm_packs_epi16(words, words), _mm_set1_epi8(relu ? 0 : -127));
}

INLINE __m128i requantize(__m256i acc, const int32_t *mult, int by, int relu) {
  return requantize_by(acc, _mm256_loadu_si256((const __m256i *)mult), by, relu);
}

/* Adds 8 16-bit sums to those in memory. */
INLINE void add_wide(__m256i *to, __m128i sums) {
  _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), _mm256_cvtepi16_epi32(sums)));
}

#endif
