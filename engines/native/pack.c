/* pack.c - turns a linear, conv or convt layer into dot products over lists of input places, and its weights into the
 * order in which the kernels read them. A transposed convolution becomes stride^2 ordinary ones, one per phase of the
 * output grid: nothing is ever multiplied by an inserted zero. */
#include "pack.h"
#include "../core/status.h"
#include <stdlib.h>
#include <string.h>

enum { OPEN_BINS = 32, LANES = 64 };

int64_t ek_pack_index(const ek_pack *j, int o, const ek_place *t, int c) {
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
static void unit_weights(const ek_pack *j, int row, int u, int8_t w[4]) {
  int per_tap = (j->layer->in.c + 3) / 4, o = j->channel[row];
  const ek_place *t = &j->taps[u / per_tap];
  for (int i = 0; i < 4; i++) {
    int c = 4 * (u % per_tap) + i;
    w[i] = o < 0 || c >= j->layer->in.c ? 0 : (int8_t)j->layer->weight[ek_pack_index(j, o, t, c)];
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
    if (negative ? up + down > EK_LANE_LIMIT : up > EK_LANE_LIMIT || down > EK_LANE_LIMIT)
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

static void pack_group_int8(const ek_pack *j, int first, ek_group *g, int8_t *weights, int32_t *places, scratch *s) {
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

static int pack_int8(ek_engine *e, const ek_pack *j, ek_group *groups, int n_groups) {
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

static int pack_fp32(ek_engine *e, const ek_pack *j, ek_group *groups, int n_groups) {
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
          memcpy(w + k * rows + r, j->layer->weight + 4 * ek_pack_index(j, o, &j->taps[k / in_c], (int)(k % in_c)), 4);
      }
    groups[g].weights = w;
    groups[g].places = places;
    groups[g].n_places = (int32_t)n;
  }
  return EK_OK;
}

/* ---- common
 * ----------------------------------------------------------------------------------------------------------- */

static int make_groups(ek_engine *e, const ek_pack *j, ek_group **groups, int *n_groups) {
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

static int push_dot(ek_engine *e, ek_pack *j, ek_dot d, const ek_kernels *kernels) {
  int int8 = e->info.precision == EK_PRECISION_INT8, n_groups = 0;
  ek_group *groups = NULL;
  if (j->layer->kind == EK_LINEAR && (!j->negative || (int8 && j->layer->in_max > 127)))
    return ek_push_columns(e, j, &d, kernels);
  j->blocks_per_group = d.rows * d.cols == 1 ? 4 : kernels->dot_blocks;
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
  if (int8 && kernels->scatter_int8 && ek_scatter_pays(j->layer, j->negative))
    return ek_push_scatter(e, j->layer, j->in, j->out, kept, kernels);
  return ek_push(e, int8 ? kernels->dot_int8 : kernels->dot_fp32, kept);
}

/* Floor division for a possibly negative numerator that the divisor divides exactly or not. */
static int floor_div(int a, int b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* The taps of output phase (py, px): those kernel places that hit an input pixel there. */
static void convt_taps(ek_pack *j, const ek_map *in, int py, int px) {
  const ek_layer *l = j->layer;
  int s = l->stride;
  j->n_taps = 0;
  for (int ky = 0; ky < l->kernel; ky++)
    for (int kx = 0; kx < l->kernel; kx++) {
      int y = py + l->pad - ky, x = px + l->pad - kx, dy = floor_div(y, s), dx = floor_div(x, s);
      if (dy * s == y && dx * s == x)
        j->taps[j->n_taps++] = (ek_place){dy * in->row + dx * in->pixel, ky, kx, 0};
    }
}

static int push_phases(ek_engine *e, ek_pack *j, const ek_map *in, const ek_map *out, const ek_kernels *kernels) {
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

static void window_taps(ek_pack *j, const ek_map *in) {
  const ek_layer *l = j->layer;
  int linear = l->kind == EK_LINEAR, h = linear ? l->in.h : l->kernel, w = linear ? l->in.w : l->kernel;
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      ek_place t = {(y - l->pad) * in->row + (x - l->pad) * in->pixel, y, x, 0};
      if (linear)
        t = (ek_place){y * in->row + x * in->pixel, 0, 0, y * l->in.w + x};
      j->taps[j->n_taps++] = t;
    }
}

/* Which original channel each packed one is, and where its block goes. */
static void place_outputs(ek_pack *j, const ek_map *out) {
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
  int int8 = m->precision == EK_PRECISION_INT8;
  void (*stamp)(const void *) = int8 ? kernels->stamp_int8 : kernels->stamp_fp32;
  if (int8 && !linear && !negative && l->pad < l->kernel && ek_plan_follow_window(e, l, in, out, kernels))
    return EK_E_MEMORY;
  if (stamp && ek_stamp_pays(l, negative))
    return ek_push_stamp(e, l, in, out, stamp);
  int64_t taps = linear ? (int64_t)l->in.h * l->in.w : (int64_t)l->kernel * l->kernel;
  int64_t blocks = (out->shape.c + 7) / 8 * (linear ? (int64_t)out->shape.h * out->shape.w : 1);
  ek_pack j = {.layer = l, .in = in, .out = out, .negative = negative};
  j.taps = malloc(sizeof(ek_place) * (size_t)taps);
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
