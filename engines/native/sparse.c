/* sparse.c - packs layers behind a ReLU: three quarters of their inputs are zero, and are not multiplied. */
#include "pack.h"
#include "../core/status.h"
#include <string.h>

int ek_columns_gather(const ek_columns *c) {
  ek_active *list = c->active;
  int n = 0, runs = 0, sum = 0, offset = 0;
  /* No branch: which inputs are zero cannot be foretold. */
  for (int i = 0; i < c->n_in; i++, offset += c->input_bytes) {
    uint32_t value = (uint8_t)c->in[c->places[i]];
    ek_active *a = &list[n / 2];
    a->pair = n % 2 ? a->pair | value << 8 : value;
    a->first = n % 2 ? a->first : offset;
    a->second = offset;
    n += value != 0;
  }
  int pairs = (n + 1) / 2;
  if (n % 2)
    list[n / 2].pair &= 255; /* its second value is whatever came last: a zero */
  for (int i = 0; i < pairs; i++) {
    int both = (int)(list[i].pair & 255) + (int)(list[i].pair >> 8);
    list[i].pair |= list[i].pair << 16;
    if (sum + both > EK_LANE_LIMIT) { /* weights are at most 127 in magnitude */
      c->ends[runs++] = i;
      sum = 0;
    }
    sum += both;
  }
  c->ends[runs++] = pairs;
  return runs;
}

int ek_push_columns(ek_engine *e, const ek_pack *j, const ek_dot *d, const ek_kernels *kernels) {
  int in_c = j->layer->in.c, n_in = j->n_taps * in_c;
  int chunks = (8 * j->n_blocks + EK_CHUNK - 1) / EK_CHUNK;
  int8_t *weights = ek_pool(e, (int64_t)chunks * n_in * EK_CHUNK);
  int32_t *places = ek_pool(e, 4 * (int64_t)n_in), *off = ek_pool(e, 4 * (int64_t)j->n_blocks);
  int32_t *bias = ek_pool(e, 4 * (int64_t)chunks * EK_CHUNK), *mult = ek_pool(e, 4 * (int64_t)chunks * EK_CHUNK);
  ek_active *active = ek_pool(e, (int64_t)sizeof *active * (n_in / 2 + 1));
  int32_t *ends = ek_pool(e, 4 * ((int64_t)n_in + 1));
  ek_columns *c = ek_pool(e, sizeof *c);
  if (!weights || !places || !off || !bias || !mult || !active || !ends || !c)
    return EK_E_MEMORY;
  for (int i = 0; i < n_in; i++)
    places[i] = j->taps[i / in_c].offset + i % in_c;
  memcpy(off, j->block_off, 4 * (size_t)j->n_blocks);
  for (int r = 0; r < 8 * j->n_blocks; r++) {
    int o = j->channel[r];
    if (o < 0)
      continue;
    memcpy(bias + r, j->layer->bias + 4 * (int64_t)o, 4);
    memcpy(mult + r, j->layer->mult + 4 * (int64_t)o, 4);
    for (int i = 0; i < n_in; i++)
      weights[(int64_t)i * chunks * EK_CHUNK + r] =
          (int8_t)j->layer->weight[ek_pack_index(j, o, &j->taps[i / in_c], i % in_c)];
  }
  *c = (ek_columns){.in = d->in, .out = d->out, .n_in = n_in, .n_blocks = j->n_blocks, .places = places};
  c->weights = weights, c->bias = bias, c->mult = mult, c->out_off = off;
  c->input_bytes = chunks * EK_CHUNK, c->shift = j->layer->shift, c->relu = j->layer->relu;
  c->active = active, c->ends = ends;
  return ek_push(e, kernels->columns_int8, c);
}
