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

/* [observed][value + 128]; four copies, so that runs of one value do not wait for their own store. */
typedef struct {
  uint32_t n[4][2][256];
} counts;

/* Eight pixels. Most bytes of a mask are all background or all robot: then no bit needs to be looked at. */
static inline void count8(uint64_t v, uint32_t bits, counts *c) {
#define COUNT(i, bit) c->n[(i) % 4][bit][(v >> (8 * (i))) & 255]++
#define COUNT8(bit)                                                                                                    \
  COUNT(0, bit), COUNT(1, bit), COUNT(2, bit), COUNT(3, bit), COUNT(4, bit), COUNT(5, bit), COUNT(6, bit), COUNT(7, bit)
  if (bits == 0) {
    COUNT8(0);
  } else if (bits == 255) {
    COUNT8(1);
  } else {
    for (int i = 0; i < 8; i++)
      COUNT(i, (bits >> (7 - i)) & 1);
  }
#undef COUNT8
#undef COUNT
}

static void count_row(const int8_t *logits, const uint8_t *mask, int width, counts *c) {
  int x = 0;
  for (; x + 8 <= width; x += 8) {
    uint32_t bits = mask[x / 8];
    uint64_t v;
    memcpy(&v, logits + x, 8);
    v ^= UINT64_C(0x8080808080808080); /* value + 128 */
    count8(v, bits, c);
  }
  for (; x < width; x++)
    c->n[x % 4][(mask[x / 8] >> (7 - x % 8)) & 1][logits[x] + 128]++;
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
    uint32_t off = c.n[0][0][i] + c.n[1][0][i] + c.n[2][0][i] + c.n[3][0][i];
    uint32_t on = c.n[0][1][i] + c.n[1][1][i] + c.n[2][1][i] + c.n[3][1][i];
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

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

typedef struct {
  v8f nll, squared;
  v8i intersection, union_; /* minus the counts: a comparison yields -1 */
} partial;

#define SCORE_TARGET
#define SCORE(name) name##_base
#include "score_fp32.h"
#undef SCORE_TARGET
#undef SCORE

#if defined(__x86_64__)
#define SCORE_TARGET __attribute__((target("avx2")))
#define SCORE(name) name##_avx2
#include "score_fp32.h"
#endif

int ek_engine_score(const ek_engine *e, const uint8_t *masks, ek_score *score) {
  if (!e || !masks || !score)
    return EK_E_ARGUMENT;
  ek_score s = {.n_pixels = (int32_t)ek_elements(e->logits.shape)};
  if (e->info.precision == EK_PRECISION_INT8)
    score_int8(e, masks, &s);
#if defined(__x86_64__)
  else if (e->info.isa == EK_ISA_AVX2)
    picture_fp32_avx2(e, masks, &s);
#endif
  else
    picture_fp32_base(e, masks, &s);
  *score = s;
  return EK_OK;
}
