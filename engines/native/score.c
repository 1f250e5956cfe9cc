/* score.c - compares the prediction with an observed mask, block by block.
 *
 * With l the logit, p = sigmoid(l) and y the observed pixel: the negative log-likelihood is softplus(l) - y l, the
 * squared error (p - y)^2, the prediction's entropy softplus(l) - l p. INT8 logits take 255 values: a table holds all
 * that one pixel adds, in fixed point, so the sums are exact, and the same in any order and on every machine. */
#include "../core/status.h"
#include "../splat/score.h"
#include "engine.h"
#include <math.h>
#include <string.h>

/* ---- INT8
 * ------------------------------------------------------------------------------------------------------------- */

/* Fields of the two words of a pixel, wide enough for the sums of a block: 64 pixels.
 * word 0: nll (50 bits), intersection (7), predicted (7); word 1: squared error (31), entropy (26), observed (7). */
enum { NLL_BITS = 50, ENTROPY_AT = 31, SQUARE_Q = 24, ENTROPY_Q = 20, COUNT_AT = 57, COUNT_MASK = 127 };
#define NLL_MASK ((UINT64_C(1) << NLL_BITS) - 1)
#define SQUARE_MASK ((UINT64_C(1) << ENTROPY_AT) - 1)
#define ENTROPY_MASK ((UINT64_C(1) << (COUNT_AT - ENTROPY_AT)) - 1)

static ek_pixels pixel(double l, int observed, double nll_unit) {
  double p = 1 / (1 + exp(-l)), softplus = (l > 0 ? l : 0) + log1p(exp(-fabs(l)));
  uint64_t nll = (uint64_t)rint((softplus - observed * l) * nll_unit), predicted = l > 0;
  uint64_t square = (uint64_t)rint(ldexp((p - observed) * (p - observed), SQUARE_Q));
  uint64_t entropy = (uint64_t)rint(ldexp(fmax(softplus - l * p, 0), ENTROPY_Q));
  return (ek_pixels){nll | (predicted & (uint64_t)observed) << NLL_BITS | predicted << COUNT_AT,
                     square | entropy << ENTROPY_AT | (uint64_t)observed << COUNT_AT};
}

static int prepare_int8(ek_engine *e) {
  int64_t blocks = (int64_t)e->block_rows * e->block_columns;
  e->pixels = ek_pool(e, 512 * (int64_t)sizeof *e->pixels);
  e->sums = ek_pool(e, blocks * (int64_t)sizeof *e->sums);
  ek_observed *observed = ek_pool(e, 256 * (int64_t)sizeof *observed);
  e->places = ek_pool(e, e->block_columns * (int64_t)sizeof *e->places);
  if (!e->pixels || !e->sums || !e->places || !observed)
    return EK_E_MEMORY;
  for (int i = 0; i < 256 * 8; i++)
    observed[i / 8][i % 8] = i / 8 << i % 8 & 128 ? 2 * 256 : 0;
  e->observed = (const ek_observed *)observed;
  int exponent;
  frexp(128 * (double)e->logit_scale + 1, &exponent); /* the largest nll is below 2^exponent */
  e->nll_unit = ldexp(1, NLL_BITS - 6 - 1 - exponent);
  for (int i = 0; i < 512; i++)
    e->pixels[i] = pixel((i % 256 - 128) * (double)e->logit_scale, i / 256, e->nll_unit);
  return EK_OK;
}

typedef uint8_t eight_bytes __attribute__((vector_size(8)));

/* The last pixels of a row, fewer than eight: a word that ends with them is read, not what is behind the row. */
static uint64_t last_bytes(const int8_t *logits, int width) {
  uint64_t word = 0;
  if (width < 8) {
    memcpy(&word, logits, (size_t)width);
    return word;
  }
  memcpy(&word, logits + width - 8, 8);
  return word >> 8 * (8 - width % 8); /* every host is little-endian */
}

static inline ek_observed places_of(const ek_engine *e, uint64_t logits, uint8_t mask) {
  eight_bytes bytes;
  logits ^= UINT64_C(0x8080808080808080); /* counted from -128 */
  memcpy(&bytes, &logits, 8);
  return 2 * __builtin_convertvector(bytes, ek_observed) + e->observed[mask];
}

/* Where the pixels of a row lie in the table, in 8 bytes: what an address can be counted in. No branch: where a mask's
 * edge lies cannot be foretold. */
static void find_pixels(const ek_engine *e, const int8_t *logits, const uint8_t *mask, ek_observed *at) {
  int width = e->info.width, whole = width / 8;
  for (int i = 0; i < whole; i++) {
    uint64_t word;
    memcpy(&word, logits + 8 * i, 8);
    at[i] = places_of(e, word, mask[i]);
  }
  if (width % 8)
    at[whole] = places_of(e, last_bytes(logits, width), mask[whole]);
}

static inline ek_pixels pixel_at(const ek_pixels *pixels, uint16_t at) {
  return *(const ek_pixels *)((const char *)pixels + 8 * (size_t)at);
}

/* Adds the pixels of a row to the sums of its blocks. */
static void add_row(const ek_engine *e, ek_pixels *sums) {
  const uint16_t *at = (const uint16_t *)e->places;
  const ek_pixels *pixels = e->pixels;
  int width = e->info.width, whole = width / 8;
  for (int i = 0; i < whole; i++, at += 8) {
    uint64_t four[2]; /* loads bound this loop: one for four places */
    memcpy(four, at, sizeof four);
    ek_pixels a = sums[i], b = {0, 0};
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
      a += pixel_at(pixels, (uint16_t)(four[0] >> 16 * k));
      b += pixel_at(pixels, (uint16_t)(four[1] >> 16 * k));
    }
    sums[i] = a + b;
  }
  if (width % 8) {
    ek_pixels last = sums[whole];
    for (int k = 0; k < width % 8; k++)
      last += pixel_at(pixels, at[k]);
    sums[whole] = last;
  }
}

static void score_int8(const ek_engine *e, const uint8_t *masks) {
  const int8_t *logits = e->logits.data;
  int width = e->info.width, height = e->info.height, rows = e->info.n_views * height, columns = e->block_columns;
  memset(e->sums, 0, sizeof *e->sums * (size_t)e->block_rows * (size_t)columns);
  for (int y = 0; y < rows; y++, logits += width, masks += columns) {
    int block_row = y / height * (e->block_rows / e->info.n_views) + y % height / EK_BLOCK;
    find_pixels(e, logits, masks, e->places);
    add_row(e, e->sums + (int64_t)block_row * columns);
  }
}

static void block_int8(const ek_engine *e, int64_t i, ek_block_score *b) {
  uint64_t first = e->sums[i][0], second = e->sums[i][1];
  b->nll = (double)(first & NLL_MASK) / e->nll_unit;
  b->intersection = (int32_t)(first >> NLL_BITS & COUNT_MASK);
  b->predicted = (int32_t)(first >> COUNT_AT);
  b->squared_err = ldexp((double)(second & SQUARE_MASK), -SQUARE_Q);
  b->entropy = ldexp((double)(second >> ENTROPY_AT & ENTROPY_MASK), -ENTROPY_Q);
  b->observed = (int32_t)(second >> COUNT_AT);
}

static void total_int8(const ek_engine *e, ek_score *s) {
  for (int row = 0; row < e->block_rows; row++) {
    const ek_pixels *sums = e->sums + (int64_t)row * e->block_columns;
    uint64_t nll = 0, square = 0, entropy = 0, counts[3] = {0, 0, 0};
    for (int i = 0; i < e->block_columns; i++) {
      uint64_t first = sums[i][0], second = sums[i][1];
      nll += first & NLL_MASK;
      square += second & SQUARE_MASK;
      entropy += second >> ENTROPY_AT & ENTROPY_MASK;
      counts[0] += first >> NLL_BITS & COUNT_MASK, counts[1] += first >> COUNT_AT, counts[2] += second >> COUNT_AT;
    }
    s->nll += (double)nll / e->nll_unit;
    s->squared_err += ldexp((double)square, -SQUARE_Q);
    s->entropy += ldexp((double)entropy, -ENTROPY_Q);
    s->intersection += (int32_t)counts[0];
    s->union_ += (int32_t)(counts[1] + counts[2] - counts[0]);
  }
}

/* ---- FP32
 * ------------------------------------------------------------------------------------------------------------- */

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

/* Of one column of a block. */
typedef struct {
  v8f nll, squared, entropy;
  v8i intersection, predicted, observed; /* minus the counts: a comparison yields -1 */
} partial;

static int prepare_fp32(ek_engine *e) {
  e->blocks = ek_pool(e, (int64_t)e->block_rows * e->block_columns * (int64_t)sizeof *e->blocks);
  e->partials = ek_pool(e, e->block_columns * (int64_t)sizeof(partial));
  return e->blocks && e->partials ? EK_OK : EK_E_MEMORY;
}

static void finish_blocks(const partial *p, int n, ek_block_score *b) {
  for (int k = 0; k < n; k++, p++, b++) {
    *b = (ek_block_score){0};
    for (int i = 0; i < 8; i++) {
      b->nll += p->nll[i], b->squared_err += p->squared[i], b->entropy += p->entropy[i];
      b->intersection -= p->intersection[i], b->predicted -= p->predicted[i], b->observed -= p->observed[i];
    }
  }
}

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

void ek_score_picture(const ek_engine *e, const uint8_t *masks, int scalar) {
#if defined(__x86_64__)
  if (!scalar) {
    picture_fp32_avx2(e, masks);
    return;
  }
#endif
  (void)scalar;
  picture_fp32_base(e, masks);
}

static void score_fp32(const ek_engine *e, const uint8_t *masks) {
  if (e->body)
    ek_body_score(e->body, masks, e->blocks);
  else
    ek_score_picture(e, masks, e->info.isa == EK_ISA_SCALAR);
}

static void total_fp32(const ek_engine *e, ek_score *s) {
  for (int64_t i = 0; i < (int64_t)e->block_rows * e->block_columns; i++) {
    const ek_block_score *b = &e->blocks[i];
    s->nll += b->nll, s->squared_err += b->squared_err, s->entropy += b->entropy;
    s->intersection += b->intersection, s->union_ += b->predicted + b->observed - b->intersection;
  }
}

/* ---- both
 * ------------------------------------------------------------------------------------------------------------- */

int ek_score_prepare(ek_engine *e) {
  e->block_rows = e->info.n_views * ((e->info.height + EK_BLOCK - 1) / EK_BLOCK);
  e->block_columns = (e->info.width + EK_BLOCK - 1) / EK_BLOCK;
  return e->info.precision == EK_PRECISION_INT8 ? prepare_int8(e) : prepare_fp32(e);
}

int ek_engine_score(const ek_engine *e, const uint8_t *masks, ek_score *score) {
  if (!e || !masks || !score)
    return EK_E_ARGUMENT;
  ek_score s = {.n_pixels = (int32_t)(e->info.n_views * e->info.height * e->info.width)};
  int int8 = e->info.precision == EK_PRECISION_INT8, status = EK_OK;
  if (e->device)
    status = e->device->score(e, masks);
  else if (int8)
    score_int8(e, masks);
  else
    score_fp32(e, masks);
  if (status)
    return status;
  if (int8)
    total_int8(e, &s);
  else
    total_fp32(e, &s);
  *score = s;
  return EK_OK;
}

int ek_engine_blocks(const ek_engine *e, ek_block_score *blocks) {
  if (!e || !blocks)
    return EK_E_ARGUMENT;
  for (int64_t i = 0; i < (int64_t)e->block_rows * e->block_columns; i++)
    if (e->info.precision == EK_PRECISION_INT8)
      block_int8(e, i, &blocks[i]);
    else
      blocks[i] = e->blocks[i];
  return EK_OK;
}
