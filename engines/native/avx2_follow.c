/* avx2_follow.c - layers that follow their input, on x86-64 with AVX2. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include "drive_follow.h"

/* The weights of a and b side by side times what they changed by. */
INLINE void add_pair(int32_t *to, const int8_t *a, const int8_t *b, uint32_t by, int lanes) {
  __m256i times = _mm256_set1_epi32((int)by);
  for (int i = 0; i < lanes; i += 8) {
    __m128i bytes =
        _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(a + i)), _mm_loadl_epi64((const __m128i *)(b + i)));
    __m256i *sums = (__m256i *)(to + i), products = _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), times);
    _mm256_storeu_si256(sums, _mm256_add_epi32(_mm256_loadu_si256(sums), products));
  }
}

FOLLOW(ek_avx2_follow_linear, ek_avx2_follow_window, TARGET, add_pair)

TARGET void ek_avx2_follow_finish(const ek_requant *r, const int32_t *sums, int pixels, int8_t *out) {
  int lanes = r->lanes, shift = r->shift, relu = r->relu;
  for (int x = 0; x < pixels; x++, out += r->out_pixel)
    for (int i = 0; i < lanes; i += 8, sums += 8)
      _mm_storel_epi64((__m128i *)(out + i),
                       requantize(_mm256_loadu_si256((const __m256i *)sums), r->mult + i, shift, relu));
}
#endif
