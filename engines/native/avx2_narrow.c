/* avx2_narrow.c - the 1x1 convolution that ends a network, on x86-64 with AVX2: eight pixels at a time. A row's last
 * eight may overlap those before; a map narrower than eight pixels is done one by one. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include <string.h>

/* Pixels 0 1 | 2 3, 4 5 | 6 7 ... of two pairwise sums are in the order 0 1 4 5 2 3 6 7. */
INLINE __m256i in_order(__m256i sums) {
  return _mm256_permute4x64_epi64(sums, 0xD8);
}

/* The sums of four pixels: two a pixel, which are one below each other. */
INLINE __m256i four_int8(const int8_t *x, __m256i w, int negative) {
  __m256i v = _mm256_loadu_si256((const __m256i *)x);
  __m256i magnitude = negative ? _mm256_abs_epi8(v) : v, signed_w = negative ? _mm256_sign_epi8(w, v) : w;
  return _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_w), _mm256_set1_epi16(1));
}

typedef struct {
  __m256i w, bias, mult;
  int shift, relu;
} plane_int8;

INLINE void row_int8(const ek_narrow *n, const plane_int8 *p, const int8_t *x, int8_t *out, int negative) {
  int width = n->out.shape.w;
  for (int i = 0; i < width; i += 8) {
    int at = i + 8 <= width ? i : width - 8;
    const int8_t *from = x + 8 * (ptrdiff_t)at;
    __m256i sums = _mm256_hadd_epi32(four_int8(from, p->w, negative), four_int8(from + 32, p->w, negative));
    __m256i acc = _mm256_add_epi32(in_order(sums), p->bias);
    _mm_storel_epi64((__m128i *)(out + at), requantize_by(acc, p->mult, p->shift, p->relu));
  }
}

/* A map too narrow for eight pixels. */
INLINE void short_row_int8(const ek_narrow *n, const plane_int8 *p, const int8_t *x, int8_t *out) {
  int8_t room[64] = {0}, eight[8];
  memcpy(room, x, 8 * (size_t)n->out.shape.w);
  __m256i sums = _mm256_hadd_epi32(four_int8(room, p->w, 1), four_int8(room + 32, p->w, 1));
  __m256i acc = _mm256_add_epi32(in_order(sums), p->bias);
  _mm_storel_epi64((__m128i *)eight, requantize_by(acc, p->mult, p->shift, p->relu));
  memcpy(out, eight, (size_t)n->out.shape.w);
}

TARGET void ek_avx2_narrow_int8(const void *args) {
  const ek_narrow *n = args;
  for (int o = 0; o < n->out.shape.c; o++) {
    int64_t eight;
    memcpy(&eight, (const int8_t *)n->weights + 8 * o, 8);
    plane_int8 p = {_mm256_set1_epi64x(eight), _mm256_set1_epi32(((const int32_t *)n->bias)[o]),
                    _mm256_set1_epi32(n->mult[o]), n->shift, n->relu};
    for (int y = 0; y < n->out.shape.h; y++) {
      const int8_t *x = (const int8_t *)n->in.data + (int64_t)y * n->in.row;
      int8_t *out = (int8_t *)n->out.data + (int64_t)o * n->out.channel + (int64_t)y * n->out.row;
      if (n->out.shape.w < 8)
        short_row_int8(n, &p, x, out);
      else if (n->negative)
        row_int8(n, &p, x, out, 1);
      else
        row_int8(n, &p, x, out, 0);
    }
  }
}

/* The products of two pixels, halves added to halves: four sums of the first below four of the second. */
INLINE __m256 two_fp32(const float *x, __m256 w) {
  __m256 a = _mm256_mul_ps(_mm256_loadu_ps(x), w), b = _mm256_mul_ps(_mm256_loadu_ps(x + 8), w);
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}

INLINE __m256 eight_fp32(const float *x, __m256 w) {
  __m256 a = _mm256_hadd_ps(two_fp32(x, w), two_fp32(x + 16, w));      /* 0 0 2 2 | 1 1 3 3 */
  __m256 b = _mm256_hadd_ps(two_fp32(x + 32, w), two_fp32(x + 48, w)); /* 4 4 6 6 | 5 5 7 7 */
  return _mm256_permutevar8x32_ps(_mm256_hadd_ps(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

TARGET static void row_fp32(const ek_narrow *n, int o, const float *x, float *out) {
  __m256 w = _mm256_loadu_ps((const float *)n->weights + 8 * o), bias = _mm256_set1_ps(((const float *)n->bias)[o]);
  __m256 low = _mm256_set1_ps(n->relu ? 0.0f : -__builtin_inff());
  int width = n->out.shape.w;
  float room[64] = {0}, eight[8];
  if (width < 8) {
    memcpy(room, x, 32 * (size_t)width);
    _mm256_storeu_ps(eight, _mm256_max_ps(_mm256_add_ps(eight_fp32(room, w), bias), low));
    memcpy(out, eight, 4 * (size_t)width);
    return;
  }
  for (int i = 0; i < width; i += 8) {
    int at = i + 8 <= width ? i : width - 8;
    _mm256_storeu_ps(out + at, _mm256_max_ps(_mm256_add_ps(eight_fp32(x + 8 * (ptrdiff_t)at, w), bias), low));
  }
}

void ek_avx2_narrow_fp32(const void *args) {
  const ek_narrow *n = args;
  for (int o = 0; o < n->out.shape.c; o++)
    for (int y = 0; y < n->out.shape.h; y++)
      row_fp32(n, o, (const float *)n->in.data + (int64_t)y * n->in.row,
               (float *)n->out.data + (int64_t)o * n->out.channel + (int64_t)y * n->out.row);
}
#endif
