/* avx2_sparse.c - layers behind a ReLU on x86-64 with AVX2: only the weights of inputs that are not zero are read. */
#include "engine.h"
#if defined(__x86_64__)
#include "avx2.h"
#include "drive_sparse.h"

#define MULTIPLY_ADD(x, w, sum) ((ek_lanes)_mm256_fmadd_ps((__m256)(x), (__m256)(w), (__m256)(sum)))

/* Eight inputs at a time, moved to the front by a table. */
TARGET void ek_avx2_gather_int8(const ek_inputs *in, const void *from, ek_list *list) {
  if (!in->order) {
    ek_gather_int8(in, from, list);
    return;
  }
  const int8_t *x = from;
  int n = 0;
  __m128i zero = _mm_setzero_si128(), sum = zero;
  for (int i = 0; i < in->n; i += 8) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(x + i));
    int mask = ~_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, zero)) & 255;
    __m128i order = _mm_loadl_epi64((const __m128i *)in->order[mask]);
    __m256i index = _mm256_add_epi32(_mm256_cvtepu8_epi32(order), _mm256_set1_epi32(i));
    _mm_storel_epi64((__m128i *)((int8_t *)list->values + n), _mm_shuffle_epi8(bytes, order));
    _mm256_storeu_si256((__m256i *)(list->index + n), index);
    sum = _mm_add_epi32(sum, _mm_sad_epu8(bytes, zero));
    n += __builtin_popcount((unsigned)mask);
  }
  ek_list_runs(in, n, _mm_cvtsi128_si32(sum), list);
}

TARGET static void gather_fp32(const ek_inputs *in, const void *from, ek_list *list) {
  if (!in->order) {
    ek_gather_fp32(in, from, list);
    return;
  }
  const float *x = from;
  int n = 0;
  for (int i = 0; i < in->n; i += 8) {
    __m256 v = _mm256_loadu_ps(x + i);
    int mask = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)in->order[mask]));
    _mm256_storeu_ps((float *)list->values + n, _mm256_permutevar8x32_ps(v, order));
    _mm256_storeu_si256((__m256i *)(list->index + n), _mm256_add_epi32(order, _mm256_set1_epi32(i)));
    n += __builtin_popcount((unsigned)mask);
  }
  list->n = n;
}

/* As it is written: the compiler would order a long run of these as if registers were many, and keep sums in memory. */
INLINE void add_in_place(__m256i *sum, __m256i products) {
  __asm__ volatile("vpaddw %1, %0, %0" : "+x"(*sum) : "x"(products));
}

/* Interleaving the bytes of two inputs' weights leaves outputs 0-7 and 16-23 in the low sums and the others in the high
 * ones. */
INLINE void add_pair(const int8_t *first, const int8_t *second, __m256i values, __m256i *low, __m256i *high) {
  __m256i a = _mm256_loadu_si256((const __m256i *)first), b = _mm256_loadu_si256((const __m256i *)second);
  __asm__("" : "+x"(a), "+x"(b)); /* loaded once, though two instructions could have loaded them */
  add_in_place(low, _mm256_maddubs_epi16(values, _mm256_unpacklo_epi8(a, b)));
  add_in_place(high, _mm256_maddubs_epi16(values, _mm256_unpackhi_epi8(a, b)));
}

/* The same for 16 outputs: 0-7 in the low sums. */
INLINE void add_half_pair(const int8_t *first, const int8_t *second, __m256i values, __m128i *low, __m128i *high) {
  __m128i a = _mm_load_si128((const __m128i *)first), b = _mm_load_si128((const __m128i *)second);
  __m128i v = _mm256_castsi256_si128(values);
  *low = _mm_add_epi16(*low, _mm_maddubs_epi16(v, _mm_unpacklo_epi8(a, b)));
  *high = _mm_add_epi16(*high, _mm_maddubs_epi16(v, _mm_unpackhi_epi8(a, b)));
}

/* The 16-bit sums of 16 n outputs. */
typedef struct {
  __m256i low[5], high[5];
  __m128i half_low, half_high; /* of the last 16, where n is odd */
} run_sums;

/* One run; each input has a row of weights. */
INLINE void add_run(const ek_list *list, int pair, int end, const int8_t *w, run_sums *s, int n) {
  const int8_t *values = list->values;
  const int32_t *index = list->index;
#pragma GCC unroll 5
  for (int k = 0; k < n / 2; k++)
    s->low[k] = s->high[k] = _mm256_setzero_si256();
  s->half_low = s->half_high = _mm_setzero_si128();
  for (; pair < end; pair++) {
    const int8_t *first = w + 16 * n * (ptrdiff_t)index[2 * pair],
                 *second = w + 16 * n * (ptrdiff_t)index[2 * pair + 1];
    int16_t two;
    memcpy(&two, values + 2 * pair, 2);
    __m256i v = _mm256_set1_epi16(two);
#pragma GCC unroll 5
    for (int k = 0; k < n / 2; k++)
      add_pair(first + 32 * k, second + 32 * k, v, &s->low[k], &s->high[k]);
    if (n % 2)
      add_half_pair(first + 16 * (n - 1), second + 16 * (n - 1), v, &s->half_low, &s->half_high);
  }
}

/* N pairs times n lanes of whole rows of weights, which come from far away and so in order. */
INLINE void add_rows(const ek_columns *c, int pair, int first_lane, int n, int N) {
  const int8_t *w[8];
  __m256i v[4];
#pragma GCC unroll 4
  for (int k = 0; k < N; k++) {
    const int32_t *index = c->list->index + 2 * (pair + k);
    int16_t two;
    memcpy(&two, (const int8_t *)c->list->values + 2 * (pair + k), 2);
    v[k] = _mm256_set1_epi16(two);
    w[2 * k] = (const int8_t *)c->weights + (int64_t)index[0] * c->row + first_lane;
    w[2 * k + 1] = (const int8_t *)c->weights + (int64_t)index[1] * c->row + first_lane;
  }
  __m256i *sums = (__m256i *)((int32_t *)c->sums + first_lane);
  for (int i = 0; i < n; i += 32, sums += 4) {
    __m256i low = _mm256_setzero_si256(), high = low;
#pragma GCC unroll 4
    for (int k = 0; k < N; k++)
      add_pair(w[2 * k] + i, w[2 * k + 1] + i, v[k], &low, &high);
    add_wide(sums, _mm256_castsi256_si128(low));
    add_wide(sums + 1, _mm256_castsi256_si128(high));
    add_wide(sums + 2, _mm256_extracti128_si256(low, 1));
    add_wide(sums + 3, _mm256_extracti128_si256(high, 1));
  }
}

/* Lanes whose sums stay in the first cache while all rows pass. */
enum { COLUMN_LANES = 4096 };

TARGET static void columns_lanes(const ek_columns *c, int first, int n) {
  for (int run = 0, pair = 0; run < c->list->n; run++)
    while (pair < c->list->ends[run]) {
      int left = c->list->ends[run] - pair, take = left < 4 ? left : 4;
      if (take == 4)
        add_rows(c, pair, first, n, 4);
      else if (take == 3)
        add_rows(c, pair, first, n, 3);
      else if (take == 2)
        add_rows(c, pair, first, n, 2);
      else
        add_rows(c, pair, first, n, 1);
      pair += take;
    }
}

TARGET void ek_avx2_columns_int8(const void *args) {
  const ek_columns *c = args;
  const int32_t *sums = c->sums;
  ek_avx2_gather_int8(&c->inputs, c->in, c->list);
  memcpy(c->sums, c->bias, 4 * (size_t)c->row);
  for (int first = 0; first < c->row; first += COLUMN_LANES)
    columns_lanes(c, first, c->row - first < COLUMN_LANES ? c->row - first : COLUMN_LANES);
  for (int b = 0; b < c->n_blocks; b++)
    _mm_storel_epi64(
        (__m128i *)((int8_t *)c->out + c->out_off[b]),
        requantize(_mm256_load_si256((const __m256i *)(sums + 8 * b)), c->mult + 8 * b, c->shift, c->relu));
}

/* A piece of 16 n lanes. */
INLINE void piece(const ek_stamp *s, const int8_t *w, char *const *sums, int n) {
  int step = 4 * s->stride * s->lanes, width = s->in.shape.w, at = 0;
  for (int x = 0; x < width; x++, at += step) {
    const ek_list *list = &s->lists[x];
    for (int run = 0, pair = 0; run < list->n; pair = list->ends[run++]) {
      run_sums r;
      add_run(list, pair, list->ends[run], w, &r, n);
#pragma GCC unroll 5
      for (int k = 0; k < n / 2; k++) {
        __m256i *first = (__m256i *)(sums[2 * k] + at), *second = (__m256i *)(sums[2 * k + 1] + at);
        add_wide(first, _mm256_castsi256_si128(r.low[k]));
        add_wide(first + 1, _mm256_castsi256_si128(r.high[k]));
        add_wide(second, _mm256_extracti128_si256(r.low[k], 1));
        add_wide(second + 1, _mm256_extracti128_si256(r.high[k], 1));
      }
      if (n % 2) {
        add_wide((__m256i *)(sums[n - 1] + at), r.half_low);
        add_wide((__m256i *)(sums[n - 1] + at) + 1, r.half_high);
      }
    }
  }
}

#define PIECE(n)                                                                                                       \
  TARGET static void piece_##n(const ek_stamp *s, const char *w, char *const *sums) {                                  \
    piece(s, (const int8_t *)w, sums, n);                                                                              \
  }

PIECE(1)
PIECE(2)
PIECE(3)
PIECE(4)
PIECE(5)
PIECE(6)
PIECE(7)
PIECE(8)
PIECE(9)
PIECE(10)

TARGET static void stamp_finish(const ek_stamp *s, const void *row, void *to) {
  const __m256i *sums = row;
  int8_t *out = to;
  int width = s->out.shape.w, blocks = s->lanes / 8, shift = s->shift, relu = s->relu;
  for (int x = 0; x < width; x++, out += s->out.pixel)
    for (int b = 0; b < blocks; b++, sums++)
      _mm_storel_epi64((__m128i *)(out + 8 * b), requantize(_mm256_load_si256(sums), s->mult + 8 * b, shift, relu));
}

void ek_avx2_stamp_int8(const void *args) {
  static const stamp_loops loops = {
      1,
      ek_avx2_gather_int8,
      {0, piece_1, piece_2, piece_3, piece_4, piece_5, piece_6, piece_7, piece_8, piece_9, piece_10},
      stamp_finish};
  run_stamp(args, &loops);
}

JOINTS_INT8(joints_int8, TARGET, ek_avx2_follow_finish)
COLUMNS_FP32(columns_fp32, TARGET, gather_fp32)
STAMP_FP32(stamp_fp32, TARGET, gather_fp32)

void ek_avx2_columns_fp32(const void *args) {
  columns_fp32(args);
}

void ek_avx2_joints_int8(const void *args) {
  joints_int8(args);
}

void ek_avx2_stamp_fp32(const void *args) {
  stamp_fp32(args);
}
#endif
