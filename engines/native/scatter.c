/* scatter.c - packs 3x3 convolutions behind a ReLU: three quarters of their inputs are zero, and are not multiplied. */
#include "pack.h"
#include "../core/status.h"
#include <string.h>

/* Beyond 16 channels the weights of all pairs leave the first cache. */
enum { MAX_CHANNELS = 16 };

/* With more non-zero inputs than this share of them the dense kernel is faster. */
static const double DENSE_SHARE = 0.45;

int ek_scatter_pays(const ek_layer *l, int negative) {
  return l->kind == EK_CONV && l->kernel == 3 && l->pad <= 2 && !negative && l->in.c <= MAX_CHANNELS;
}

int ek_scatter_is_dense(const ek_scatter *c) {
  const ek_map *in = &c->in;
  int64_t row_words = in->shape.w * in->pixel / 8; /* the padding channels are zero */
  int64_t zeros = 0;
  for (int y = 0; y < in->shape.h; y++) {
    const int8_t *x = (const int8_t *)in->data + (int64_t)y * in->row;
    int32_t row_zeros = 0;
    for (int64_t i = 0; i < 8 * row_words; i++)
      row_zeros += x[i] == 0;
    zeros += row_zeros;
  }
  return in->shape.h * row_words * 8 - zeros > c->dense_above;
}

/* Pairs (0, 1), (0, 2) ... (6, 7). */
static int pair_index(int a, int b) {
  return a * 7 - a * (a - 1) / 2 + b - a - 1;
}

static void put_pair(ek_pairing *p, int first, int second) {
  /* A channel without a partner takes a neighbour's weights, times zero. */
  int a = first >= 0 ? first : second ^ 1, b = second >= 0 ? second : first ^ 1, k = p->n++;
  p->offset[k] = (uint16_t)(pair_index(a, b) * EK_PAIR_WEIGHTS);
  for (int i = 0; i < 2; i++) {
    p->control[4 * k + i] = first >= 0 ? (uint8_t)(2 * first + i) : 255;
    p->control[4 * k + 2 + i] = second >= 0 ? (uint8_t)(2 * second + i) : 255;
  }
}

static const ek_pairing *pairings(ek_engine *e) {
  ek_pairing *all = ek_pool(e, 256 * (int64_t)sizeof *all);
  for (int mask = 0; all && mask < 256; mask++) {
    ek_pairing *p = &all[mask];
    memset(p->control, 255, sizeof p->control);
    int waiting = -1;
    for (int c = 0; c < 8; c++) {
      if (!(mask >> c & 1))
        continue;
      if (waiting >= 0)
        put_pair(p, waiting, c);
      waiting = waiting >= 0 ? -1 : c;
    }
    if (waiting >= 0) /* the smaller channel of a pair comes first */
      put_pair(p, waiting & 1 ? -1 : waiting, waiting & 1 ? waiting : -1);
  }
  return all;
}

static int16_t weight_of(const ek_layer *l, int o, int c, int place) {
  if (o >= l->out.c || c >= l->in.c)
    return 0;
  return (int8_t)l->weight[ek_weight_index(l, o, c, 2 - place / 3, 2 - place % 3)];
}

static void pack_pair(const ek_layer *l, int block, int a, int b, int16_t *w) {
  for (int place = 0; place < 9; place++)
    for (int i = 0; i < 8; i++, w += 2) {
      w[0] = weight_of(l, 8 * block + i, a, place);
      w[1] = weight_of(l, 8 * block + i, b, place);
    }
}

int ek_push_scatter(ek_engine *e, const ek_layer *l, const ek_map *in, const ek_map *out, const ek_dot *dense,
                    const ek_kernels *kernels) {
  int groups = (l->in.c + 7) / 8, blocks = (l->out.c + 7) / 8;
  int16_t *weights = ek_pool(e, (int64_t)blocks * groups * EK_PAIRS * EK_PAIR_WEIGHTS * 2);
  int32_t *bias = ek_pool(e, 32 * (int64_t)blocks), *mult = ek_pool(e, 32 * (int64_t)blocks);
  ek_scatter *c = ek_pool(e, sizeof *c);
  if (!weights || !bias || !mult || !c)
    return EK_E_MEMORY;
  memcpy(bias, l->bias, 4 * (size_t)l->out.c);
  memcpy(mult, l->mult, 4 * (size_t)l->out.c);
  int16_t *w = weights;
  for (int block = 0; block < blocks; block++)
    for (int g = 0; g < groups; g++)
      for (int a = 8 * g; a < 8 * g + 7; a++)
        for (int b = a + 1; b < 8 * g + 8; b++, w += EK_PAIR_WEIGHTS)
          pack_pair(l, block, a, b, w);
  *c = (ek_scatter){.in = *in, .out = *out, .in_groups = groups, .out_blocks = blocks};
  c->weights = weights, c->bias = bias, c->mult = mult, c->run_dense = kernels->dot_int8, c->dense = dense;
  c->pad = l->pad, c->shift = l->shift, c->relu = l->relu;
  c->dense_above = (int32_t)(DENSE_SHARE * (double)ek_elements(l->in));
  c->pairings = pairings(e);
  c->sums = ek_pool(e, 3 * 32 * ((int64_t)l->in.w + 2));
  return c->pairings && c->sums ? ek_push(e, kernels->scatter_int8, c) : EK_E_MEMORY;
}
