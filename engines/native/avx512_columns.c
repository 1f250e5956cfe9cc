/* avx512_columns.c - INT8 linear layers behind a ReLU on x86-64 with AVX-512 and VNNI: only the weights of inputs that
 * are not zero are read. The sums of some outputs stay in registers while all those rows of weights pass, four
 * together: interleaving their bytes makes each lane's four products one vpdpbusd. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx512.h"
#include <string.h>

/* Registers of sums, 16 outputs each: four to a line of weights. */
enum { LINE = 64, WIDE = 16, LINES = WIDE / 4 };

/* Adds four rows of a line of weights. Of every 16 outputs the first four are in sums 0, the next in sums 1 ... */
INLINE512 void add_line(__m512i sums[4], __m512i values, const int8_t *const w[4], int64_t at) {
  __m512i a = _mm512_loadu_si512(w[0] + at), b = _mm512_loadu_si512(w[1] + at), c = _mm512_loadu_si512(w[2] + at),
          d = _mm512_loadu_si512(w[3] + at);
  __m512i low[2] = {_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d)};
  __m512i high[2] = {_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d)};
  add_bytes(&sums[0], values, _mm512_unpacklo_epi16(low[0], low[1]));
  add_bytes(&sums[1], values, _mm512_unpackhi_epi16(low[0], low[1]));
  add_bytes(&sums[2], values, _mm512_unpacklo_epi16(high[0], high[1]));
  add_bytes(&sums[3], values, _mm512_unpackhi_epi16(high[0], high[1]));
}

/* The outputs of a line, 8 a block, from its sums, which are brought into their order. */
INLINE512 void finish_line(const ek_columns *c, int lane, const __m512i s[4]) {
  const __m512i even = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), odd = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  __m512i a[2] = {_mm512_permutex2var_epi64(s[0], even, s[1]), _mm512_permutex2var_epi64(s[2], even, s[3])};
  __m512i b[2] = {_mm512_permutex2var_epi64(s[0], odd, s[1]), _mm512_permutex2var_epi64(s[2], odd, s[3])};
  __m512i in_order[4] = {_mm512_shuffle_i64x2(a[0], a[1], 0x44), _mm512_shuffle_i64x2(b[0], b[1], 0x44),
                         _mm512_shuffle_i64x2(a[0], a[1], 0xEE), _mm512_shuffle_i64x2(b[0], b[1], 0xEE)};
  const int32_t *bias = (const int32_t *)c->bias + lane, *mult = c->mult + lane, *off = c->out_off + lane / 8;
  int8_t *out = c->out;
  int shift = c->shift, relu = c->relu, blocks = c->n_blocks - lane / 8;
#pragma GCC unroll 4
  for (int k = 0; k < 4; k++) {
    __m512i sum = _mm512_add_epi32(in_order[k], _mm512_loadu_si512(bias + 16 * k));
    __m128i y = requantize512(sum, _mm512_loadu_si512(mult + 16 * k), shift, relu);
    if (2 * k < blocks)
      _mm_storel_epi64((__m128i *)(out + off[2 * k]), y);
    if (2 * k + 1 < blocks)
      _mm_storel_epi64((__m128i *)(out + off[2 * k + 1]), _mm_unpackhi_epi64(y, y));
  }
}

/* So many lines of outputs. Rows come from far away: the lines that follow are asked for. */
INLINE512 void add_lines(const ek_columns *c, int n, int lane, int lines) {
  __m512i sums[WIDE];
  const int8_t *values = c->list->values, *weights = (const int8_t *)c->weights + lane;
  const int32_t *index = c->list->index;
#pragma GCC unroll 16
  for (int k = 0; k < 4 * lines; k++)
    sums[k] = _mm512_setzero_si512();
  for (int i = 0; i < n; i += 4) {
    const int8_t *w[4];
    int32_t four;
    memcpy(&four, values + i, 4);
    __m512i v = _mm512_set1_epi32(four);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
      w[k] = weights + (int64_t)index[i + k] * c->row;
#pragma GCC unroll 4
    for (int k = 0; k < lines; k++) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++)
        _mm_prefetch((const char *)w[r] + LINE * (lines + k), _MM_HINT_T0);
      add_line(sums + 4 * k, v, w, LINE * k);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < lines; k++)
    finish_line(c, lane + LINE * k, sums + 4 * k);
}

TARGET512 void ek_avx512_columns_int8(const void *args) {
  const ek_columns *c = args;
  const ek_list *list = c->list;
  ek_avx2_gather_int8(&c->inputs, c->in, c->list);
  int n = list->n ? 2 * list->ends[list->n - 1] : 0, lane = 0;
  for (; n % 4; n++) /* there is room for them */
    ((int8_t *)list->values)[n] = 0, list->index[n] = list->index[0];
  for (; lane + LINES * LINE <= c->row; lane += LINES * LINE)
    add_lines(c, n, lane, LINES);
  for (; lane < c->row; lane += LINE)
    add_lines(c, n, lane, 1);
}
#endif
