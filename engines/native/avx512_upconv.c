/* avx512_upconv.c - 3x3 convolutions of enlarged maps on x86-64 with AVX-512 and VNNI, INT8. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx512.h"
#include <string.h>
#include "drive_upconv.h"

/* The 72 sums of a pixel: 64 in whole registers, 8 in half a one. */
enum { WHOLE = 4, TILE = 4 };

/* Adds the products of two channels of P pixels; pairs: theirs, in 16 bits, 8 to a pixel. */
INLINE512 void add_pair(__m512i sum[TILE][WHOLE], __m256i rest[TILE], const int16_t *w, const int16_t *pairs, int P) {
  __m512i whole[WHOLE];
  __m256i last = _mm256_loadu_si256((const __m256i *)(w + 32 * WHOLE));
#pragma GCC unroll 4
  for (int k = 0; k < WHOLE; k++)
    whole[k] = _mm512_loadu_si512(w + 32 * k);
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    int32_t two;
    memcpy(&two, pairs + 8 * p, 4);
    __m512i v = _mm512_set1_epi32(two);
#pragma GCC unroll 4
    for (int k = 0; k < WHOLE; k++)
      add_words(&sum[p][k], v, whole[k]);
    rest[p] = _mm256_add_epi32(rest[p], _mm256_madd_epi16(_mm512_castsi512_si256(v), last));
  }
}

/* The sums of P pixels next to each other. Two channels at a time, zeros, too: a register of products is one
 * instruction, and nothing is mispredicted. */
INLINE512 void stamp_tile(const ek_upconv *u, const int8_t *x, int16_t *out, int P) {
  __m512i sum[TILE][WHOLE], start = _mm512_set1_epi32(1 << u->sum_shift >> 1);
  __m256i rest[TILE];
  const int16_t *w = u->weights;
  int channels = u->in.shape.c, pixel = u->in.pixel;
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    rest[p] = _mm512_castsi512_si256(start);
#pragma GCC unroll 4
    for (int k = 0; k < WHOLE; k++)
      sum[p][k] = start;
  }
  for (int c = 0; c < channels; c += 8) {
    int16_t words[8 * TILE] __attribute__((aligned(16)));
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      __m128i eight = _mm_loadl_epi64((const __m128i *)(x + p * pixel + c)); /* the padding channels are zero */
      _mm_store_si128((__m128i *)(words + 8 * p), _mm_cvtepi8_epi16(eight));
    }
    for (int i = 0; i < 8 && c + i < channels; i += 2, w += EK_STAMP * 2)
      add_pair(sum, rest, w, words + i, P);
  }
  __m128i shift = _mm_cvtsi32_si128(u->sum_shift);
#pragma GCC unroll 4
  for (int p = 0; p < P; p++, out += EK_STAMP) {
#pragma GCC unroll 4
    for (int k = 0; k < WHOLE; k++)
      _mm256_storeu_si256((__m256i *)(out + 16 * k), _mm512_cvtsepi32_epi16(_mm512_sra_epi32(sum[p][k], shift)));
    __m256i last = _mm256_sra_epi32(rest[p], shift);
    _mm_storeu_si128((__m128i *)(out + 16 * WHOLE),
                     _mm_packs_epi32(_mm256_castsi256_si128(last), _mm256_extracti128_si256(last, 1)));
  }
}

TARGET512 static void stamp_int8(const ek_upconv *u, int y, int begin, int end) {
  const int8_t *x = (const int8_t *)u->in.data + (int64_t)y * u->in.row;
  int16_t *out = (int16_t *)u->stamps[y];
  int i = begin;
  for (; i + TILE <= end; i += TILE)
    stamp_tile(u, x + i * u->in.pixel, out + EK_STAMP * i, TILE);
  for (; i < end; i++)
    stamp_tile(u, x + i * u->in.pixel, out + EK_STAMP * i, 1);
}

/* What lies between two points: a + (b - a) w, rounded; w in 1/2^15. */
INLINE512 __m512i between(__m512i a, __m512i b, __m512i w) {
  return _mm512_add_epi16(a, _mm512_mulhrs_epi16(_mm512_sub_epi16(b, a), w));
}

INLINE512 __m512i share(const ek_tap *t) {
  return _mm512_set1_epi16((int16_t)ek_upconv_fraction(t->fraction));
}

/* Where an output column lies between two columns of stamps. */
typedef struct {
  const int16_t *a, *b;
  __m512i share;
} column;

INLINE512 column column_at(const ek_upconv *u, const int16_t *stamps, int x) {
  const ek_tap *t = &u->tx[x];
  return (column){stamps + EK_STAMP * t->first, stamps + EK_STAMP * t->second, share(t)};
}

/* The three ky of one kx of the stamp there. */
INLINE512 __m512i enlarged(const column *c, int kx) {
  const __mmask32 words = 0xFFFFFF;
  __m512i a = _mm512_maskz_loadu_epi16(words, c->a + 24 * kx), b = _mm512_maskz_loadu_epi16(words, c->b + 24 * kx);
  return between(a, b, c->share);
}

INLINE512 void store_column(const __m512i *sum, int16_t *out, int64_t width, int x) {
  __m256i two = _mm512_castsi512_si256(*sum);
  _mm_store_si128((__m128i *)(out + 8 * (int64_t)x), _mm256_castsi256_si128(two));
  _mm_store_si128((__m128i *)(out + 8 * (width + x)), _mm256_extracti128_si256(two, 1));
  _mm_store_si128((__m128i *)(out + 8 * (2 * width + x)), _mm256_castsi256_si128(_mm512_extracti64x4_epi64(*sum, 1)));
}

/* A column at the edge. */
INLINE512 void widen_edge(const ek_upconv *u, const int16_t *stamps, int16_t *out, int x) {
  __m512i sum = _mm512_set1_epi16(0);
  for (int kx = first_place(x); kx < end_place(x, u->out.shape.w); kx++) {
    column at = column_at(u, stamps, x + kx - 1);
    sum = _mm512_add_epi16(sum, enlarged(&at, kx));
  }
  store_column(&sum, out, u->out.shape.w, x);
}

TARGET512 static void widen_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w, x = begin, last = end < width ? end : width - 1;
  const int16_t *stamps = u->stamps[y];
  int16_t *out = u->rows[y];
  if (x == 0)
    widen_edge(u, stamps, out, x++);
  if (x < last) {
    column left = column_at(u, stamps, x - 1), here = column_at(u, stamps, x);
#pragma GCC unroll 3 /* so that columns move by names, not by copies */
    for (; x < last; x++) {
      column right = column_at(u, stamps, x + 1);
      __m512i sum = _mm512_add_epi16(_mm512_add_epi16(enlarged(&left, 0), enlarged(&here, 1)), enlarged(&right, 2));
      store_column(&sum, out, width, x);
      left = here, here = right;
    }
  }
  if (x < end)
    widen_edge(u, stamps, out, x);
}

/* The rows above and below those of each ky. */
typedef struct {
  const int16_t *a[3], *b[3];
  __m512i weights[3], bias, mult;
  __m256i low;
} blend;

/* Pixels x to x + 3, or those of them that a mask of their words names. */
INLINE512 __m256i blend_four(const blend *r, int x, uint32_t mask, int places) {
  __m512i sum = _mm512_set1_epi16(0);
#pragma GCC unroll 3
  for (int k = 0; k < places; k++) {
    __m512i a = _mm512_maskz_loadu_epi16(mask, r->a[k] + 8 * x), b = _mm512_maskz_loadu_epi16(mask, r->b[k] + 8 * x);
    sum = _mm512_add_epi16(sum, between(a, b, r->weights[k]));
  }
  __m512i words = _mm512_mulhrs_epi16(_mm512_adds_epi16(sum, r->bias), r->mult);
  return _mm256_max_epi8(_mm512_cvtsepi16_epi8(words), r->low);
}

INLINE512 void blend_row(const blend *r, int8_t *out, int pixel, int begin, int end, int places) {
  int x = begin;
  if (pixel == 8)
    for (; x + 4 <= end; x += 4)
      _mm256_storeu_si256((__m256i *)(out + 8 * x), blend_four(r, x, ~0u, places));
  for (; x < end; x++)
    _mm_storel_epi64((__m128i *)(out + x * pixel), _mm256_castsi256_si128(blend_four(r, x, 0xFF, places)));
}

TARGET512 static void blend_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w, places = 0;
  int8_t *out = (int8_t *)u->out.data + (int64_t)y * u->out.row;
  blend r;
  r.bias = _mm512_broadcast_i32x4(_mm_load_si128(u->bias));
  r.mult = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)u->mult));
  r.low = _mm256_set1_epi8(u->relu ? 0 : -127);
  for (int ky = first_place(y); ky < end_place(y, u->out.shape.h); ky++, places++) {
    const ek_tap *t = &u->ty[y + ky - 1];
    r.a[places] = (const int16_t *)u->rows[t->first] + 8 * (int64_t)ky * width;
    r.b[places] = (const int16_t *)u->rows[t->second] + 8 * (int64_t)ky * width;
    r.weights[places] = share(t);
  }
  if (places == 3)
    blend_row(&r, out, u->out.pixel, begin, end, 3);
  else
    blend_row(&r, out, u->out.pixel, begin, end, places);
}

const ek_upconv_loops ek_avx512_upconv_int8 = {stamp_int8, widen_int8, blend_int8};
#endif
