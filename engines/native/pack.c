/* pack.c - turns a linear, conv or convt layer into dot products over lists of input places, and its weights into the
 * order in which the kernels read them. A transposed convolution becomes stride^2 ordinary ones, one per phase of the
 * output grid: nothing is ever multiplied by an inserted zero. */
#include "engine.h"
#include "../core/status.h"
#include <stdlib.h>
#include <string.h>

/* One spatial position that an output pixel sees. */
typedef struct {
  int32_t offset; /* elements from the input origin of the output pixel */
  int ky, kx;     /* of the kernel */
  int position;   /* linear: y * w + x of the input */
} tap;

typedef struct {
  const ek_layer *layer;
  tap *taps;
  int n_taps;
  int *channel;       /* (8 * n_blocks) original output channel of a packed one, -1: padding */
  int32_t *block_off; /* (n_blocks) element offset of a block from the output pixel */
  int n_blocks;
  int blocks_per_group;
  int negative;
} job;

/* 127 * 258 = 32766 is the largest sum of products that a 16-bit lane can hold. */
enum { LANE_LIMIT = 258, OPEN_BINS = 32, LANES = 64 };

static int64_t index_of(const job *j, int o, const tap *t, int c) {
  const ek_layer *l = j->layer;
  int64_t i = l->kind == EK_LINEAR ? (int64_t)c * l->in.h * l->in.w + t->position : c;
  return ek_weight_index(l, o, i, t->ky, t->kx);
}

/* ---- INT8: units of four input channels, grouped so that 16-bit sums are exact
 * ---------------------------------------- */

typedef struct {
  int count;
  int32_t unit[4];
  int16_t up[LANES], down[LANES]; /* sums of the positive and of the negative weights of each 16-bit lane */
} bin;

typedef struct {
  int32_t *list[4]; /* units of the runs of 1, 2, 3 and 4 */
  int n[4];
} order;

static void close_bin(order *o, const bin *b) {
  int which = b->count - 1;
  memcpy(o->list[which] + o->n[which], b->unit, sizeof(int32_t) * (size_t)b->count);
  o->n[which] += b->count;
}

/* The four weights that packed output channel `row` gives to unit u. */
static void unit_weights(const job *j, int row, int u, int8_t w[4]) {
  int per_tap = (j->layer->in.c + 3) / 4, o = j->channel[row];
  const tap *t = &j->taps[u / per_tap];
  for (int i = 0; i < 4; i++) {
    int c = 4 * (u % per_tap) + i;
    w[i] = o < 0 || c >= j->layer->in.c ? 0 : (int8_t)j->layer->weight[index_of(j, o, t, c)];
  }
}

static void lane_sums(const int8_t *w, int lanes, bin *b) {
  for (int i = 0; i < lanes; i++) {
    int a = w[2 * i], c = w[2 * i + 1];
    b->up[i] = (int16_t)((a > 0 ? a : 0) + (c > 0 ? c : 0));
    b->down[i] = (int16_t)((a < 0 ? -a : 0) + (c < 0 ? -c : 0));
  }
}

static int fits(const bin *b, const bin *one, int lanes, int negative) {
  for (int i = 0; i < lanes; i++) {
    int up = b->up[i] + one->up[i], down = b->down[i] + one->down[i];
    if (negative ? up + down > LANE_LIMIT : up > LANE_LIMIT || down > LANE_LIMIT)
      return 0;
  }
  return 1;
}

/* First fit: each unit joins the first open bin that stays exact. weights: (units, rows, 4). */
static void group_units(const int8_t *weights, int n_units, int rows, int negative, bin *open, order *o) {
  int n_open = 0, lanes = 2 * rows;
  for (int u = 0; u < n_units; u++) {
    bin one = {.count = 1, .unit = {u}};
    lane_sums(weights + (int64_t)u * rows * 4, lanes, &one);
    int k = 0;
    while (k < n_open && !fits(&open[k], &one, lanes, negative))
      k++;
    if (k == n_open) {
      if (n_open == OPEN_BINS) {
        close_bin(o, &open[0]);
        memmove(open, open + 1, sizeof(bin) * (OPEN_BINS - 1));
        n_open--;
      }
      open[n_open++] = one;
      continue;
    }
    open[k].unit[open[k].count++] = u;
    for (int i = 0; i < lanes; i++)
      open[k].up[i] += one.up[i], open[k].down[i] += one.down[i];
    if (open[k].count == 4) {
      close_bin(o, &open[k]);
      memmove(open + k, open + k + 1, sizeof(bin) * (size_t)(n_open - k - 1));
      n_open--;
    }
  }
  for (int k = 0; k < n_open; k++)
    close_bin(o, &open[k]);
}

typedef struct {
  int8_t *canonical; /* (units, rows, 4) of one group */
  bin *open;
  order order;
} scratch;

static void pack_group_int8(const job *j, int first, ek_group *g, int8_t *weights, int32_t *places, scratch *s) {
  int rows = 8 * g->blocks, per_tap = (j->layer->in.c + 3) / 4;
  for (int u = 0; u < g->n_places; u++)
    for (int r = 0; r < rows; r++)
      unit_weights(j, 8 * first + r, u, s->canonical + ((int64_t)u * rows + r) * 4);
  memset(s->order.n, 0, sizeof s->order.n);
  group_units(s->canonical, g->n_places, rows, j->negative, s->open, &s->order);
  for (int which = 3, k = 0; which >= 0; which--) {
    g->runs[which] = s->order.n[which] / (which + 1);
    for (int i = 0; i < s->order.n[which]; i++, k++) {
      int32_t u = s->order.list[which][i];
      places[k] = j->taps[u / per_tap].offset + 4 * (u % per_tap);
      memcpy(weights + (int64_t)k * rows * 4, s->canonical + (int64_t)u * rows * 4, (size_t)rows * 4);
    }
  }
  g->weights = weights;
  g->places = places;
}

static int pack_int8(ek_engine *e, const job *j, ek_group *groups, int n_groups) {
  int64_t units = (int64_t)j->n_taps * ((j->layer->in.c + 3) / 4);
  int8_t *weights = ek_pool(e, units * j->n_blocks * 32);
  int32_t *places = ek_pool(e, units * n_groups * 4);
  scratch s = {malloc((size_t)units * 128 + 1), malloc(sizeof(bin) * OPEN_BINS), {{0}, {0}}};
  int32_t *lists = malloc((size_t)units * 16 + 1);
  int ok = weights && places && s.canonical && s.open && lists;
  for (int i = 0; ok && i < 4; i++)
    s.order.list[i] = lists + units * i;
  for (int g = 0, first = 0; ok && g < n_groups; first += groups[g++].blocks) {
    groups[g].n_places = (int32_t)units;
    pack_group_int8(j, first, &groups[g], weights + units * first * 32, places + units * g, &s);
  }
  free(lists);
  free(s.open);
  free(s.canonical);
  return ok ? EK_OK : EK_E_MEMORY;
}

/* ---- FP32
 * ------------------------------------------------------------------------------------------------------------- */

static int pack_fp32(ek_engine *e, const job *j, ek_group *groups, int n_groups) {
  int in_c = j->layer->in.c;
  int64_t n = (int64_t)j->n_taps * in_c;
  float *weights = ek_pool(e, n * j->n_blocks * 32);
  int32_t *places = ek_pool(e, n * 4);
  if (!weights || !places)
    return EK_E_MEMORY;
  for (int64_t k = 0; k < n; k++)
    places[k] = j->taps[k / in_c].offset + (int32_t)(k % in_c);
  for (int g = 0, first = 0; g < n_groups; first += groups[g++].blocks) {
    float *w = weights + n * first * 8;
    int rows = 8 * groups[g].blocks;
    for (int64_t k = 0; k < n; k++)
      for (int r = 0; r < rows; r++) {
        int o = j->channel[8 * first + r];
        if (o >= 0)
          memcpy(w + k * rows + r, j->layer->weight + 4 * index_of(j, o, &j->taps[k / in_c], (int)(k % in_c)), 4);
      }
    groups[g].weights = w;
    groups[g].places = places;
    groups[g].n_places = (int32_t)n;
  }
  return EK_OK;
}

/* ---- common
 * ----------------------------------------------------------------------------------------------------------- */

static int make_groups(ek_engine *e, const job *j, ek_group **groups, int *n_groups) {
  int int8 = e->info.precision == EK_PRECISION_INT8;
  ek_group *g = *groups = ek_pool(e, (int64_t)sizeof(ek_group) * j->n_blocks);
  uint8_t *bias = ek_pool(e, (int64_t)j->n_blocks * 32), *mult = ek_pool(e, int8 ? (int64_t)j->n_blocks * 32 : 0);
  if (!g || !bias || !mult)
    return EK_E_MEMORY;
  for (int r = 0; r < 8 * j->n_blocks; r++) {
    if (j->channel[r] < 0)
      continue;
    memcpy(bias + 4 * r, j->layer->bias + 4 * (int64_t)j->channel[r], 4);
    if (int8)
      memcpy(mult + 4 * r, j->layer->mult + 4 * (int64_t)j->channel[r], 4);
  }
  int n = 0;
  for (int b = 0; b < j->n_blocks; b += g[n++].blocks) {
    int take = j->blocks_per_group;
    while (take > j->n_blocks - b)
      take /= 2;
    g[n].blocks = take;
    g[n].bias = bias + 32 * (int64_t)b;
    g[n].mult = (const int32_t *)(mult + 32 * (int64_t)b);
    for (int i = 0; i < take; i++)
      g[n].out_off[i] = j->block_off[b + i];
  }
  *n_groups = n;
  return EK_OK;
}

/* ---- INT8 behind a ReLU: weights by input
 * ---------------------------------------------------------------------------------- */

int ek_columns_gather(const ek_columns *c) {
  ek_active *list = c->active;
  int n = 0, runs = 0, sum = 0;
  for (int i = 0; i < c->n_in; i++) { /* no branch: which inputs are zero cannot be foretold */
    uint32_t value = (uint8_t)c->in[c->places[i]];
    ek_active *a = &list[n / 2];
    a->pair = n % 2 ? a->pair | value << 8 : value;
    a->first = n % 2 ? a->first : i;
    a->second = i;
    n += value != 0;
  }
  int pairs = (n + 1) / 2;
  if (n % 2)
    list[n / 2].pair &= 255; /* its second value is whatever came last: a zero */
  for (int i = 0; i < pairs; i++) {
    int both = (int)(list[i].pair & 255) + (int)(list[i].pair >> 8);
    list[i].pair |= list[i].pair << 16;
    if (sum + both > LANE_LIMIT) { /* weights are at most 127 in magnitude */
      c->ends[runs++] = i;
      sum = 0;
    }
    sum += both;
  }
  c->ends[runs++] = pairs;
  return runs;
}

static int push_columns(ek_engine *e, const job *j, const ek_dot *d, const ek_kernels *kernels) {
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
      weights[((int64_t)(r / EK_CHUNK) * n_in + i) * EK_CHUNK + r % EK_CHUNK] =
          (int8_t)j->layer->weight[index_of(j, o, &j->taps[i / in_c], i % in_c)];
  }
  *c = (ek_columns){.in = d->in, .out = d->out, .n_in = n_in, .n_blocks = j->n_blocks, .places = places};
  c->weights = weights, c->bias = bias, c->mult = mult, c->out_off = off;
  c->shift = j->layer->shift, c->relu = j->layer->relu, c->active = active, c->ends = ends;
  return ek_push(e, kernels->columns_int8, c);
}

static int push_dot(ek_engine *e, job *j, ek_dot d, const ek_kernels *kernels) {
  int int8 = e->info.precision == EK_PRECISION_INT8, n_groups = 0;
  ek_group *groups = NULL;
  if (int8 && j->layer->kind == EK_LINEAR && !j->negative)
    return push_columns(e, j, &d, kernels);
  j->blocks_per_group = d.rows * d.cols == 1 ? 4 : 2;
  int status = make_groups(e, j, &groups, &n_groups);
  if (!status)
    status = int8 ? pack_int8(e, j, groups, n_groups) : pack_fp32(e, j, groups, n_groups);
  ek_dot *kept = status ? NULL : ek_pool(e, sizeof *kept);
  if (!kept)
    return status ? status : EK_E_MEMORY;
  d.n_groups = n_groups;
  d.groups = groups;
  d.shift = j->layer->shift;
  d.relu = j->layer->relu;
  d.negative = j->negative;
  *kept = d;
  return ek_push(e, int8 ? kernels->dot_int8 : kernels->dot_fp32, kept);
}

/* Floor division for a possibly negative numerator that the divisor divides exactly or not. */
static int floor_div(int a, int b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* The taps of output phase (py, px): those kernel places that hit an input pixel there. */
static void convt_taps(job *j, const ek_map *in, int py, int px) {
  const ek_layer *l = j->layer;
  int s = l->stride;
  j->n_taps = 0;
  for (int ky = 0; ky < l->kernel; ky++)
    for (int kx = 0; kx < l->kernel; kx++) {
      int y = py + l->pad - ky, x = px + l->pad - kx, dy = floor_div(y, s), dx = floor_div(x, s);
      if (dy * s == y && dx * s == x)
        j->taps[j->n_taps++] = (tap){dy * in->row + dx * in->pixel, ky, kx, 0};
    }
}

static int push_phases(ek_engine *e, job *j, const ek_map *in, const ek_map *out, const ek_kernels *kernels) {
  const ek_layer *l = j->layer;
  int s = l->stride, bytes = e->info.precision == EK_PRECISION_INT8 ? 1 : 4;
  for (int py = 0; py < s && py < l->out.h; py++)
    for (int px = 0; px < s && px < l->out.w; px++) {
      convt_taps(j, in, py, px);
      char *origin = (char *)out->data + (int64_t)bytes * (py * out->row + px * out->pixel);
      ek_dot d = {.in = in->data, .out = origin, .in_pixel = in->pixel, .in_row = in->row};
      d.out_pixel = s * out->pixel;
      d.out_row = s * out->row;
      d.rows = (l->out.h - py + s - 1) / s;
      d.cols = (l->out.w - px + s - 1) / s;
      int status = push_dot(e, j, d, kernels);
      if (status)
        return status;
    }
  return EK_OK;
}

static void window_taps(job *j, const ek_map *in) {
  const ek_layer *l = j->layer;
  int linear = l->kind == EK_LINEAR, h = linear ? l->in.h : l->kernel, w = linear ? l->in.w : l->kernel;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      tap t = {(y - l->pad) * in->row + (x - l->pad) * in->pixel, y, x, 0};
      if (linear)
        t = (tap){y * in->row + x * in->pixel, 0, 0, y * l->in.w + x};
      j->taps[j->n_taps++] = t;
    }
}

/* Which original channel each packed one is, and where its block goes. */
static void place_outputs(job *j, const ek_map *out) {
  ek_shape s = out->shape;
  int linear = j->layer->kind == EK_LINEAR, h = linear ? s.h : 1, w = linear ? s.w : 1, b = 0;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < s.c; c += 8, b++) {
        j->block_off[b] = y * out->row + x * out->pixel + c;
        for (int i = 0; i < 8; i++)
          j->channel[8 * b + i] = c + i < s.c ? ((c + i) * h + y) * w + x : -1;
      }
  j->n_blocks = b;
}

int ek_plan_dot(ek_engine *e, const ek_model *m, int layer, const ek_map *in, const ek_map *out, int negative,
                const ek_kernels *kernels) {
  const ek_layer *l = &m->layers[layer];
  int linear = l->kind == EK_LINEAR;
  int64_t taps = linear ? (int64_t)l->in.h * l->in.w : (int64_t)l->kernel * l->kernel;
  int64_t blocks = (out->shape.c + 7) / 8 * (linear ? (int64_t)out->shape.h * out->shape.w : 1);
  job j = {.layer = l, .negative = negative};
  j.taps = malloc(sizeof(tap) * (size_t)taps);
  j.channel = malloc(sizeof(int) * 8 * (size_t)blocks);
  j.block_off = malloc(sizeof(int32_t) * (size_t)blocks);
  int status = j.taps && j.channel && j.block_off ? EK_OK : EK_E_MEMORY;
  if (!status) {
    place_outputs(&j, out);
    if (l->kind == EK_CONVT) {
      status = push_phases(e, &j, in, out, kernels);
    } else {
      window_taps(&j, in);
      ek_dot d = {.in = in->data, .out = out->data, .in_pixel = in->pixel, .in_row = in->row};
      d.out_pixel = out->pixel;
      d.out_row = out->row;
      d.rows = linear ? 1 : l->out.h;
      d.cols = linear ? 1 : l->out.w;
      status = push_dot(e, &j, d, kernels);
    }
  }
  free(j.block_off);
  free(j.channel);
  free(j.taps);
  return status;
}
