/* avx2_scatter.c - 3x3 convolutions of sparse INT8 maps on x86-64 with AVX2. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include "drive_scatter.h"

/* The sums of the 3 x 3 output pixels that see the current input pixel, row by row. */
typedef struct {
  __m256i at[9];
} window;

INLINE void add_pair(window *s, __m128i pairs, const int16_t *w) {
  __m256i x = _mm256_broadcastd_epi32(pairs);
#pragma GCC unroll 9
  for (int i = 0; i < 9; i++)
    s->at[i] = _mm256_add_epi32(s->at[i], _mm256_madd_epi16(x, _mm256_load_si256((const __m256i *)(w + 16 * i))));
}

/* The products of up to 8 channels of one input pixel. */
INLINE void add_group(window *s, const ek_pairing *pairings, const int8_t *x, const int16_t *w) {
  __m128i bytes = _mm_loadl_epi64((const __m128i *)x);
  uint32_t zero = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128()));
  const ek_pairing *p = &pairings[~zero & 255];
  __m128i pairs = _mm_shuffle_epi8(_mm_cvtepi8_epi16(bytes), _mm_load_si128((const __m128i *)p->control));
  if (p->n == 0)
    return;
  add_pair(s, pairs, w + p->offset[0]);
  if (p->n == 1)
    return;
  add_pair(s, _mm_srli_si128(pairs, 4), w + p->offset[1]);
  if (p->n == 2)
    return;
  add_pair(s, _mm_srli_si128(pairs, 8), w + p->offset[2]);
  if (p->n == 3)
    return;
  add_pair(s, _mm_srli_si128(pairs, 12), w + p->offset[3]);
}

/* One input row into three rows of sums, of which the last begins at the bias. */
INLINE void scatter_row(const ek_scatter *c, const int8_t *x, const int16_t *w, const int32_t *bias,
                        int32_t *const rows[3], int groups) {
  window s;
  __m256i start = _mm256_load_si256((const __m256i *)bias);
#define LOAD(row, column) _mm256_load_si256((const __m256i *)(rows[row] + 8 * (column)))
#define STORE(row, column, value) _mm256_store_si256((__m256i *)(rows[row] + 8 * (column)), value)
  for (int i = 0; i < 2; i++)
    s.at[i] = LOAD(0, i), s.at[3 + i] = LOAD(1, i), s.at[6 + i] = start;
  int width = c->in.shape.w;
#pragma GCC unroll 3 /* so that the window moves by names, not by copies */
  for (int i = 0; i < width; i++, x += c->in.pixel) {
    s.at[2] = LOAD(0, i + 2), s.at[5] = LOAD(1, i + 2), s.at[8] = start;
#pragma GCC unroll 2
    for (int g = 0; g < groups; g++)
      add_group(&s, c->pairings, x + 8 * g, w + g * EK_PAIRS * EK_PAIR_WEIGHTS);
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++) {
      STORE(r, i, s.at[3 * r]);
      s.at[3 * r] = s.at[3 * r + 1], s.at[3 * r + 1] = s.at[3 * r + 2];
    }
  }
  for (int r = 0; r < 3; r++)
    STORE(r, width, s.at[3 * r]), STORE(r, width + 1, s.at[3 * r + 1]);
#undef LOAD
#undef STORE
}

TARGET static void scatter_row_8(const ek_scatter *c, const int8_t *x, const int16_t *w, const int32_t *bias,
                                 int32_t *const rows[3]) {
  scatter_row(c, x, w, bias, rows, 1);
}

TARGET static void scatter_row_16(const ek_scatter *c, const int8_t *x, const int16_t *w, const int32_t *bias,
                                  int32_t *const rows[3]) {
  scatter_row(c, x, w, bias, rows, 2);
}

TARGET static void finish_row(const ek_scatter *c, int block, int y, const int32_t *sums) {
  int8_t *out = (int8_t *)c->out.data + (int64_t)y * c->out.row + 8 * block;
  __m256i mult = _mm256_load_si256((const __m256i *)(c->mult + 8 * block));
  int width = c->out.shape.w, pixel = c->out.pixel, shift = c->shift, relu = c->relu;
  for (int i = 0; i < width; i++, out += pixel)
    _mm_storel_epi64((__m128i *)out,
                     requantize_by(_mm256_load_si256((const __m256i *)(sums + 8 * i)), mult, shift, relu));
}

void ek_avx2_scatter_int8(const void *args) {
  const ek_scatter *c = args;
  scatter_run(c, c->in_groups == 1 ? scatter_row_8 : scatter_row_16, finish_row);
}
#endif
