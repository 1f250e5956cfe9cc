/* score.c - compares the prediction with an observed mask.
 *
 * With l the logit, p = sigmoid(l) and y the observed pixel: the negative log-likelihood is softplus(l) - y l, the
 * squared error p^2 + y (1 - 2 p). INT8 logits take 255 values, so pixels are only counted, per value and per y, and
 * everything follows from the counts: exact, and the same on every machine. */
#include "engine.h"
#include "../core/status.h"
#include <math.h>
#include <string.h>

void ek_score_prepare(ek_engine *e) {
  for (int i = 0; i < 256; i++) {
    double l = (i - 128) * (double)e->logit_scale, p = 1 / (1 + exp(-l));
    e->softplus[i] = (l > 0 ? l : 0) + log1p(exp(-fabs(l)));
    e->square[i] = p * p;
    e->cross[i] = 1 - 2 * p;
  }
}

/* ---- INT8
 * ------------------------------------------------------------------------------------------------------------- */

/* [value + 128][observed]; four copies, so that runs of one value do not wait for their own store. */
typedef struct {
  uint32_t n[4][256][2];
} counts;

static void count_row(const int8_t *logits, const uint8_t *mask, int width, counts *c) {
  int x = 0;
  for (; x + 8 <= width; x += 8) {
    uint32_t bits = mask[x / 8];
    uint64_t v;
    memcpy(&v, logits + x, 8);
    v ^= UINT64_C(0x8080808080808080); /* value + 128 */
#define COUNT(i) c->n[(i) % 4][(v >> (8 * (i))) & 255][(bits >> (7 - (i))) & 1]++
    COUNT(0);
    COUNT(1);
    COUNT(2);
    COUNT(3);
    COUNT(4);
    COUNT(5);
    COUNT(6);
    COUNT(7);
#undef COUNT
  }
  for (; x < width; x++)
    c->n[x % 4][logits[x] + 128][(mask[x / 8] >> (7 - x % 8)) & 1]++;
}

static void score_int8(const ek_engine *e, const uint8_t *masks, ek_score *s) {
  counts c;
  memset(&c, 0, sizeof c);
  const int8_t *logits = e->logits.data;
  int width = e->info.width, rows = e->info.n_views * e->info.height, row_bytes = (width + 7) / 8;
  for (int y = 0; y < rows; y++)
    count_row(logits + (int64_t)y * width, masks + (int64_t)y * row_bytes, width, &c);
  int64_t weighted = 0;
  for (int i = 0; i < 256; i++) {
    uint32_t off = c.n[0][i][0] + c.n[1][i][0] + c.n[2][i][0] + c.n[3][i][0];
    uint32_t on = c.n[0][i][1] + c.n[1][i][1] + c.n[2][i][1] + c.n[3][i][1];
    s->nll += (double)(off + on) * e->softplus[i];
    s->squared_err += (double)(off + on) * e->square[i] + (double)on * e->cross[i];
    weighted += (int64_t)on * (i - 128);
    s->intersection += i > 128 ? (int32_t)on : 0;
    s->union_ += (int32_t)on + (i > 128 ? (int32_t)off : 0);
  }
  s->nll -= (double)weighted * (double)e->logit_scale;
}

/* ---- FP32
 * ------------------------------------------------------------------------------------------------------------- */

/* Vectors of the compiler, so that one text serves every instruction set with the same bits (no contraction). */
typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

#define INLINE static inline __attribute__((always_inline))

/* exp(-a) for a in [0, 87]: 2^n by the exponent bits, the rest by a Taylor polynomial to r^6, |r| <= ln 2 / 2: 2e-7. */
INLINE void exp_negative(const v8f *a, v8f *out) {
  v8f t = *a * -1.44269504f;
  v8i n = __builtin_convertvector(t - 0.5f, v8i);
  v8f nf = __builtin_convertvector(n, v8f);
  v8f r = (*a * -1.0f - nf * 0.693359375f) - nf * -2.12194440e-4f;
  v8f p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  *out = p * (v8f)((n + 127) << 23);
}

/* log(1 + e) for e in [0, 1] = 2 artanh(z), z = e / (2 + e) <= 1/3: odd series to z^13, error below 1e-8. */
INLINE void log1p_unit(const v8f *e, v8f *out) {
  v8f z = *e / (*e + 2.0f), t = z * z;
  v8f p = t * (1.0f / 13) + 1.0f / 11;
  p = p * t + 1.0f / 9;
  p = p * t + 1.0f / 7;
  p = p * t + 1.0f / 5;
  p = p * t + 1.0f / 3;
  p = p * t + 1.0f;
  *out = 2.0f * z * p;
}

typedef struct {
  v8f nll, squared;
  int32_t intersection, union_;
} partial;

/* Eight pixels; live: all-ones for those inside the row, observed: for those that show the robot. */
INLINE void score8(const v8f *logit, const v8i *live, const v8i *observed, partial *s) {
  v8f l = *logit, zero = {0}, e, tail;
  v8i positive = l > zero;
  v8f a = (v8f)((v8i)l & 0x7fffffff);
  v8i big = a > zero + 87.0f;
  a = (v8f)((~big & (v8i)a) | (big & (v8i)(zero + 87.0f)));
  exp_negative(&a, &e);
  log1p_unit(&e, &tail);
  v8f inverse = 1.0f / (e + 1.0f);
  v8f p = (v8f)((positive & (v8i)inverse) | (~positive & (v8i)(e * inverse)));
  v8f nll = (v8f)(positive & (v8i)l) + tail - (v8f)(*observed & (v8i)l);
  v8f miss = p - (v8f)(*observed & (v8i)(zero + 1.0f));
  s->nll += (v8f)(*live & (v8i)nll);
  s->squared += (v8f)(*live & (v8i)(miss * miss));
}

/* Number of pixels with a positive logit that are observed, and that are either. */
INLINE void overlap8(const float *logits, int n, uint32_t bits, partial *s) {
  uint32_t positive = 0;
  for (int i = 0; i < n; i++)
    positive |= (uint32_t)(logits[i] > 0) << (7 - i);
  s->intersection += __builtin_popcount(positive & bits);
  s->union_ += __builtin_popcount(positive | bits);
}

INLINE void row_fp32(const float *logits, const uint8_t *mask, int width, partial *s) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  for (int x = 0; x < width; x += 8) {
    int n = width - x < 8 ? width - x : 8;
    uint32_t bits = mask[x / 8] & (0xff00u >> n);
    v8f l = {0};
    if (n == 8)
      memcpy(&l, logits + x, sizeof l);
    else
      memcpy(&l, logits + x, sizeof(float) * (size_t)n);
    v8i live = lane < n, observed = ((zero + (int32_t)bits) & bit) != 0;
    score8(&l, &live, &observed, s);
    overlap8(logits + x, n, bits, s);
  }
}

/* Rows are summed in float (at most 4096 pixels), pictures in double. */
INLINE void picture_fp32(const ek_engine *e, const uint8_t *masks, ek_score *out) {
  const float *logits = e->logits.data;
  int width = e->info.width, rows = e->info.n_views * e->info.height, row_bytes = (width + 7) / 8;
  for (int y = 0; y < rows; y++) {
    partial s;
    memset(&s, 0, sizeof s);
    row_fp32(logits + (int64_t)y * width, masks + (int64_t)y * row_bytes, width, &s);
    for (int i = 0; i < 8; i++) {
      out->nll += s.nll[i];
      out->squared_err += s.squared[i];
    }
    out->intersection += s.intersection;
    out->union_ += s.union_;
  }
}

static void score_fp32_base(const ek_engine *e, const uint8_t *masks, ek_score *s) {
  picture_fp32(e, masks, s);
}

#if defined(__x86_64__)
__attribute__((target("avx2,popcnt"))) static void score_fp32_avx2(const ek_engine *e, const uint8_t *masks,
                                                                   ek_score *s) {
  picture_fp32(e, masks, s);
}
#endif

int ek_engine_score(const ek_engine *e, const uint8_t *masks, ek_score *score) {
  if (!e || !masks || !score)
    return EK_E_ARGUMENT;
  ek_score s = {.n_pixels = (int32_t)ek_elements(e->logits.shape)};
  if (e->info.precision == EK_PRECISION_INT8)
    score_int8(e, masks, &s);
#if defined(__x86_64__)
  else if (e->info.isa == EK_ISA_AVX2)
    score_fp32_avx2(e, masks, &s);
#endif
  else
    score_fp32_base(e, masks, &s);
  *score = s;
  return EK_OK;
}
