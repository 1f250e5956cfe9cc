/* sparse.c - packs layers behind a ReLU: most of their inputs are zero, and are not multiplied. */
#include "pack.h"
#include "../core/status.h"
#include <string.h>

/* With fewer channels than this a stamp's sums are moved more than added to. */
enum { MIN_STAMP_CHANNELS = 17 };

void ek_list_runs(const ek_inputs *in, int n, int sum, ek_list *list) {
  int8_t *values = list->values;
  int pairs = (n + 1) / 2, runs = 0, reach = 0;
  values[n] = 0;
  list->index[n] = n ? list->index[n - 1] : 0;
  for (int k = 0; sum > EK_LANE_LIMIT && k < pairs; k++) {
    /* The largest sum of the pair's products. */
    int largest = values[2 * k] * in->largest[list->index[2 * k]];
    largest += values[2 * k + 1] * in->largest[list->index[2 * k + 1]];
    if (reach + largest > INT16_MAX) {
      list->ends[runs++] = k;
      reach = 0;
    }
    reach += largest;
  }
  if (pairs)
    list->ends[runs++] = pairs;
  list->n = runs;
}

void ek_gather_int8(const ek_inputs *in, const void *from, ek_list *list) {
  const int8_t *x = from;
  int8_t *values = list->values;
  int n = 0, sum = 0;
  /* No branch: which inputs are zero cannot be foretold. */
  for (int i = 0; i < in->n; i++) {
    int8_t value = x[in->places[i]];
    values[n] = value;
    list->index[n] = i;
    sum += value;
    n += value != 0;
  }
  ek_list_runs(in, n, sum, list);
}

void ek_gather_fp32(const ek_inputs *in, const void *from, ek_list *list) {
  const float *x = from;
  float *values = list->values;
  int n = 0;
  for (int i = 0; i < in->n; i++) {
    float value = x[in->places[i]];
    values[n] = value;
    list->index[n] = i;
    n += value != 0;
  }
  list->n = n;
}

/* The inputs that each mask of 8 names, in order. */
typedef const uint8_t (*order_table)[8];

static order_table make_order(ek_engine *e) {
  uint8_t(*order)[8] = ek_pool(e, 256 * 8);
  for (int mask = 0; order && mask < 256; mask++)
    for (int i = 0, n = 0; i < 8; i++)
      if (mask >> i & 1)
        order[mask][n++] = (uint8_t)i;
  return (order_table)order;
}

static int make_inputs(ek_engine *e, int n, ek_inputs *in) {
  in->n = n;
  in->places = ek_pool(e, 4 * (int64_t)n);
  in->largest = ek_pool(e, n);
  return in->places && in->largest ? EK_OK : EK_E_MEMORY;
}

/* Input i, known in ascending order, is at place `at`. */
static int place_input(ek_engine *e, ek_inputs *in, int i, int32_t at) {
  ((int32_t *)in->places)[i] = at;
  if (i == 0 && !(in->order = make_order(e)))
    return EK_E_MEMORY;
  if (at != i)
    in->order = NULL;
  return EK_OK;
}

/* So many lists, each with room for all inputs. */
static ek_list *make_lists(ek_engine *e, const ek_inputs *in, int count) {
  int int8 = e->info.precision == EK_PRECISION_INT8;
  int64_t room = in->n + 8;
  ek_list *lists = ek_pool(e, (int64_t)sizeof *lists * count);
  for (int i = 0; lists && i < count; i++) {
    lists[i].values = ek_pool(e, int8 ? room : 4 * room);
    lists[i].index = ek_pool(e, 4 * room);
    lists[i].ends = ek_pool(e, int8 ? 2 * room : 0);
    if (!lists[i].values || !lists[i].index || !lists[i].ends)
      return NULL;
  }
  return lists;
}

/* Puts one weight where `index` says, counted in weights, and keeps the largest of its input. */
static void put_weight(const ek_layer *l, int64_t from, int int8, void *weights, int64_t index,
                       const uint8_t *largest) {
  if (!int8) {
    memcpy((float *)weights + index, l->weight + 4 * from, 4);
    return;
  }
  int w = (int8_t)l->weight[from], size = w < 0 ? -w : w;
  ((int8_t *)weights)[index] = (int8_t)w;
  if (*largest < size)
    *(uint8_t *)largest = (uint8_t)size;
}

static void fill_columns(const ek_pack *j, int int8, const ek_columns *c, void *weights, int32_t *bias, int32_t *mult) {
  int in_c = j->layer->in.c, n = c->inputs.n;

  for (int r = 0; r < 8 * j->n_blocks; r++) {
    int o = j->channel[r];
    if (o < 0)
      continue;
    memcpy(bias + r, j->layer->bias + 4 * (int64_t)o, 4);
    if (int8)
      memcpy(mult + r, j->layer->mult + 4 * (int64_t)o, 4);
    for (int i = 0; i < n; i++)
      put_weight(j->layer, ek_pack_index(j, o, &j->taps[i / in_c], i % in_c), int8, weights, (int64_t)i * c->row + r,
                 c->inputs.largest + i);
  }
}

void ek_finish_columns(const ek_columns *c, const int32_t *sums, ek_finish_fn finish) {
  for (int b = 0, end; b < c->n_blocks; b = end) {
    for (end = b + 1; end < c->n_blocks && c->out_off[end] == c->out_off[end - 1] + 8;)
      end++;
    ek_requant requant = {c->mult + 8 * b, 8 * (end - b), c->shift, c->relu, 0};
    finish(&requant, sums + 8 * b, 1, (int8_t *)c->out + c->out_off[b]);
  }
}

int ek_push_columns(ek_engine *e, const ek_pack *j, const ek_dot *d, const ek_kernels *kernels) {
  int int8 = e->info.precision == EK_PRECISION_INT8, bytes = int8 ? 1 : 4, n = j->n_taps * j->layer->in.c;
  ek_columns *c = ek_pool(e, sizeof *c);
  if (!c || make_inputs(e, n, &c->inputs))
    return EK_E_MEMORY;
  c->row = (8 * j->n_blocks + EK_CHUNK - 1) / EK_CHUNK * EK_CHUNK;
  void *weights = ek_pool(e, (int64_t)n * c->row * bytes), *bias = ek_pool(e, 4 * (int64_t)c->row);
  void *mult = ek_pool(e, 4 * (int64_t)c->row), *off = ek_pool(e, 4 * (int64_t)j->n_blocks);
  c->sums = ek_pool(e, 4 * (int64_t)c->row);
  c->list = make_lists(e, &c->inputs, 1);
  if (!weights || !bias || !mult || !off || !c->sums || !c->list)
    return EK_E_MEMORY;
  for (int i = 0, in_c = j->layer->in.c; i < n; i++)
    if (place_input(e, &c->inputs, i, j->taps[i / in_c].offset + i % in_c))
      return EK_E_MEMORY;
  memcpy(off, j->block_off, 4 * (size_t)j->n_blocks);
  c->in = d->in, c->out = d->out, c->n_blocks = j->n_blocks;
  c->weights = weights, c->bias = bias, c->mult = mult, c->out_off = off;
  c->shift = j->layer->shift, c->relu = j->layer->relu;
  fill_columns(j, int8, c, weights, bias, mult);
  if (int8 && j->layer->in_max > 127)
    return ek_push(e, kernels->joints_int8, c);
  if (int8 && ek_plan_follow_linear(e, c, j->in, kernels))
    return EK_E_MEMORY;
  return ek_push(e, int8 ? kernels->columns_int8 : kernels->columns_fp32, c);
}

/* ---- stamps
 * ----------------------------------------------------------------------------------------------------------- */

int ek_stamp_pays(const ek_layer *l, int negative) {
  int window = l->kind == EK_CONVT || (l->kind == EK_CONV && l->pad < l->kernel);
  return window && !negative && l->kernel > 1 && l->in.c >= MIN_STAMP_CHANNELS;
}

/* Where the weights hold a lane for channel c. */
static int64_t stamp_index(const ek_stamp *s, int int8, int lane, int c) {
  int begin = 0, width = ek_piece(int8, s->all_lanes);
  while (lane >= begin + width) {
    begin += width;
    width = ek_piece(int8, s->all_lanes - begin);
  }
  return (int64_t)begin * s->inputs.n + (int64_t)c * width + lane - begin;
}

/* One place of the kernel; that of a convolution is turned round. */
static void fill_stamp(const ek_layer *l, int int8, const ek_stamp *s, void *weights, int ky, int kx) {
  int turned = l->kind == EK_CONV ? l->kernel - 1 : 0;
  for (int o = 0; o < l->out.c; o++)
    for (int c = 0; c < l->in.c; c++) {
      int64_t from = ek_weight_index(l, o, c, turned ? turned - ky : ky, turned ? turned - kx : kx);
      put_weight(l, from, int8, weights, stamp_index(s, int8, ky * s->row_lanes + kx * s->lanes + o, c),
                 s->inputs.largest + c);
    }
}

static void shape_stamp(const ek_layer *l, const ek_map *in, const ek_map *out, int int8, ek_stamp *s) {
  int k = l->kernel;
  s->in = *in, s->out = *out;
  s->kernel = k, s->stride = l->stride, s->pad = l->kind == EK_CONV ? k - 1 - l->pad : l->pad;
  s->shift = l->shift, s->relu = l->relu;
  s->lanes = (l->out.c + 7) / 8 * 8;
  s->row_lanes = (k * s->lanes + EK_HALF - 1) / EK_HALF * EK_HALF;
  s->all_lanes = int8 ? k * s->row_lanes : (k * s->row_lanes + 31) / 32 * 32;
  s->ring = k > s->stride ? k : s->stride;
  int columns = (l->in.w - 1) * s->stride + s->ring;
  s->row_sums = (columns * s->lanes + 31) / 16 * 16; /* a row of places may end 8 lanes further */
}

int ek_push_stamp(ek_engine *e, const ek_layer *l, const ek_map *in, const ek_map *out,
                  void (*run)(const void *ek_stamp_args)) {
  int int8 = e->info.precision == EK_PRECISION_INT8, bytes = int8 ? 1 : 4;
  ek_stamp *s = ek_pool(e, sizeof *s);
  if (!s || make_inputs(e, l->in.c, &s->inputs))
    return EK_E_MEMORY;
  shape_stamp(l, in, out, int8, s);
  void *weights = ek_pool(e, (int64_t)s->all_lanes * l->in.c * bytes);
  char *fresh = ek_pool(e, 4 * (int64_t)s->row_sums);
  int32_t *mult = ek_pool(e, 4 * (int64_t)s->lanes);
  s->sums = ek_pool(e, 4 * ((int64_t)s->ring + 1) * s->row_sums);
  s->lists = make_lists(e, &s->inputs, l->in.w);
  if (!weights || !fresh || !mult || !s->sums || !s->lists)
    return EK_E_MEMORY;
  for (int i = 0; i + s->lanes <= s->row_sums; i += s->lanes)
    memcpy(fresh + 4 * (int64_t)i, l->bias, 4 * (size_t)l->out.c);
  if (int8)
    memcpy(mult, l->mult, 4 * (size_t)l->out.c);
  for (int c = 0; c < l->in.c; c++)
    if (place_input(e, &s->inputs, c, c))
      return EK_E_MEMORY;
  for (int place = 0; place < l->kernel * l->kernel; place++)
    fill_stamp(l, int8, s, weights, place / l->kernel, place % l->kernel);
  s->weights = weights, s->fresh = fresh, s->mult = mult;
  return ek_push(e, run, s);
}
