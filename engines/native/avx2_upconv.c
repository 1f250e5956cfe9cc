/* avx2_upconv.c - 3x3 convolutions of enlarged maps on x86-64 with AVX2. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include <string.h>
#include "drive_upconv.h"

#define MULTIPLY_ADD(x, w, sum) ((ek_lanes)_mm256_fmadd_ps((__m256)(x), (__m256)(w), (__m256)(sum)))

/* The products of up to 8 channels of a pixel, two at a time; most are zero. */
INLINE void add_group(__m256i sum[9], const int8_t *x, const int16_t *w) {
  __m128i words = _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)x));
  int zero = _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(words, _mm_setzero_si128())));
  int32_t pairs[4];
  _mm_storeu_si128((__m128i *)pairs, words);
  for (unsigned left = ~(unsigned)zero & 15; left; left &= left - 1) {
    int p = __builtin_ctz(left);
    __m256i v = _mm256_set1_epi32(pairs[p]);
    const __m256i *at = (const __m256i *)(w + (ptrdiff_t)p * EK_STAMP * 2);
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
      sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(v, _mm256_load_si256(at + k)));
  }
}

TARGET static void stamp_int8(const ek_upconv *u, int y, int begin, int end) {
  const int8_t *x = (const int8_t *)u->in.data + (int64_t)y * u->in.row + begin * u->in.pixel;
  int16_t *out = (int16_t *)u->stamps[y] + EK_STAMP * begin;
  __m128i shift = _mm_cvtsi32_si128(u->sum_shift);
  __m256i start = _mm256_set1_epi32(1 << u->sum_shift >> 1);
  int channels = u->in.shape.c;
  for (int i = begin; i < end; i++, x += u->in.pixel, out += EK_STAMP) {
    __m256i sum[9];
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++)
      sum[k] = start;
    for (int c = 0; c < channels; c += 8)
      add_group(sum, x + c, (const int16_t *)u->weights + c * EK_STAMP);
#pragma GCC unroll 9
    for (int k = 0; k < 9; k++) {
      __m256i s = _mm256_sra_epi32(sum[k], shift);
      __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
      _mm_store_si128((__m128i *)(out + 8 * k), words);
    }
  }
}

/* What lies between two points of 8 channels: a + (b - a) w, rounded; w in 1/2^15. */
INLINE __m128i between(const int16_t *first, const int16_t *second, __m128i w) {
  __m128i a = _mm_load_si128((const __m128i *)first), b = _mm_load_si128((const __m128i *)second);
  return _mm_add_epi16(a, _mm_mulhrs_epi16(_mm_sub_epi16(b, a), w));
}

INLINE __m128i share(const ek_tap *t) {
  return _mm_set1_epi16((int16_t)ek_upconv_fraction(t->fraction));
}

TARGET static void widen_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w;
  const int16_t *stamps = u->stamps[y];
  int16_t *out = u->rows[y];
  for (int x = begin; x < end; x++) {
    __m128i sum[3];
#pragma GCC unroll 3
    for (int ky = 0; ky < 3; ky++)
      sum[ky] = _mm_setzero_si128();
    for (int kx = first_place(x); kx < end_place(x, width); kx++) {
      const ek_tap *t = &u->tx[x + kx - 1];
      const int16_t *a = stamps + EK_STAMP * t->first + 24 * kx, *b = stamps + EK_STAMP * t->second + 24 * kx;
      __m128i w = share(t);
#pragma GCC unroll 3
      for (int ky = 0; ky < 3; ky++)
        sum[ky] = _mm_add_epi16(sum[ky], between(a + 8 * ky, b + 8 * ky, w));
    }
#pragma GCC unroll 3
    for (int ky = 0; ky < 3; ky++)
      _mm_store_si128((__m128i *)(out + 8 * ((int64_t)ky * width + x)), sum[ky]);
  }
}

TARGET static void blend_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w, places = 0, relu = u->relu, pixel = u->out.pixel;
  int8_t *out = (int8_t *)u->out.data + (int64_t)y * u->out.row + begin * u->out.pixel;
  const int16_t *a[3], *b[3];
  __m128i weights[3];
  __m128i bias = _mm_load_si128(u->bias), mult = _mm_load_si128((const __m128i *)u->mult),
          low = _mm_set1_epi8(relu ? 0 : -127);
  for (int ky = first_place(y); ky < end_place(y, u->out.shape.h); ky++, places++) {
    const ek_tap *t = &u->ty[y + ky - 1];
    a[places] = (const int16_t *)u->rows[t->first] + 8 * (int64_t)ky * width;
    b[places] = (const int16_t *)u->rows[t->second] + 8 * (int64_t)ky * width;
    weights[places] = share(t);
  }
  for (int x = begin; x < end; x++, out += pixel) {
    __m128i sum = _mm_setzero_si128();
    for (int k = 0; k < places; k++)
      sum = _mm_add_epi16(sum, between(a[k] + 8 * x, b[k] + 8 * x, weights[k]));
    __m128i words = _mm_mulhrs_epi16(_mm_adds_epi16(sum, bias), mult);
    _mm_storel_epi64((__m128i *)out, _mm_max_epi8(_mm_packs_epi16(words, words), low));
  }
}

const ek_upconv_loops ek_avx2_upconv_int8 = {stamp_int8, widen_int8, blend_int8};
UPCONV_FP32(ek_avx2_upconv_fp32, TARGET)
#endif
