/* follow_sums.c - linear layers and windows (conv, convt) that follow their input: each keeps all its sums, as int32.
 */
#include "drive_follow.h"
#include "pack.h"
#include "../core/status.h"
#include <string.h>

/* With so many changes following takes half as long again as computing anew, which loses the sums. */
static const double LINEAR_SHARE = 0.2, WINDOW_SHARE = 0.15;

/* ---- linear
 * ----------------------------------------------------------------------------------------------------------- */

static void linear_restart(void *layer) {
  const ek_follow_linear *l = layer;
  memcpy(l->sums, l->columns->bias, 4 * (size_t)l->columns->row);
}

static void linear_finish(void *layer) {
  const ek_follow_linear *l = layer;
  ek_finish_columns(l->columns, l->sums, l->kernels->follow_finish);
}

int ek_plan_follow_linear(ek_engine *e, const ek_columns *c, const ek_map *in, const ek_kernels *kernels) {
  ek_follow_linear *l = ek_pool(e, sizeof *l);
  if (!l)
    return EK_E_MEMORY;
  *l = (ek_follow_linear){.columns = c, .in = in->shape, .kernels = kernels};
  l->sums = ek_pool(e, 4 * (int64_t)c->row);
  return l->sums ? ek_plan_follow(e, in, LINEAR_SHARE,
                                  (ek_follow_fns){linear_restart, kernels->follow_linear, linear_finish}, l)
                 : EK_E_MEMORY;
}

/* ---- windows: each input pixel stamps the kernel, as in sparse.c
 * ------------------------------------------------------ */

enum { MAX_SUM_BYTES = 1 << 24 };

static void window_restart(void *layer) {
  const ek_follow_window *w = layer;
  for (int y = 0; y < w->dirty.rows; y++)
    for (int i = 0; i + w->lanes <= w->row_sums; i += w->lanes)
      memcpy(w->sums + (int64_t)y * w->row_sums + i, w->bias, 4 * (size_t)w->lanes);
  for (int y = 0; y < w->out.shape.h; y++)
    ek_mark(&w->dirty, y + w->pad, 1, w->pad, w->pad + w->out.shape.w);
}

static void window_finish(void *layer) {
  const ek_follow_window *w = layer;
  for (int y = 0; y < w->out.shape.h; y++) {
    const uint64_t *bits = w->dirty.bits + (int64_t)(y + w->pad) * w->dirty.words;
    const int32_t *sums = w->sums + (int64_t)(y + w->pad) * w->row_sums;
    int8_t *out = (int8_t *)w->out.data + (int64_t)y * w->out.row;
    for (int begin, end = 0; ek_next_run(bits, w->dirty.words, &begin, &end);) {
      int from = begin > w->pad ? begin : w->pad, to = w->pad + w->out.shape.w < end ? w->pad + w->out.shape.w : end;
      if (from < to)
        w->kernels->follow_finish(&w->requant, sums + (int64_t)from * w->lanes, to - from,
                                  out + (from - w->pad) * w->out.pixel);
    }
  }
  ek_clear_marks(&w->dirty);
}

static void fill_window(const ek_layer *l, const ek_follow_window *w, int16_t *weights) {
  int turned = l->kind == EK_CONV ? l->kernel - 1 : 0;
  for (int c = 0; c < l->in.c; c++)
    for (int ky = 0; ky < l->kernel; ky++)
      for (int kx = 0; kx < l->kernel; kx++)
        for (int o = 0; o < l->out.c; o++) {
          int64_t lane = (int64_t)(c / 2 * l->kernel + ky) * w->row_lanes + kx * w->lanes + o;
          int64_t from = ek_weight_index(l, o, c, turned ? turned - ky : ky, turned ? turned - kx : kx);
          weights[2 * lane + c % 2] = (int8_t)l->weight[from];
        }
}

int ek_plan_follow_window(ek_engine *e, const ek_layer *l, const ek_map *in, const ek_map *out,
                          const ek_kernels *kernels) {
  int k = l->kernel, s = l->stride, reach = k > s ? k : s;
  int rows = (l->in.h - 1) * s + reach, columns = (l->in.w - 1) * s + reach, lanes = (l->out.c + 7) / 8 * 8;
  int row_lanes = k * lanes;
  int64_t row_sums = (int64_t)columns * lanes, weight_bytes = (l->in.c + 1) / 2 * (int64_t)k * row_lanes * 4;
  if (4 * rows * row_sums > MAX_SUM_BYTES || weight_bytes > MAX_SUM_BYTES)
    return EK_OK; /* computed anew for every frame */
  ek_follow_window *w = ek_pool(e, sizeof *w);
  int16_t *weights = ek_pool(e, weight_bytes);
  int32_t *bias = ek_pool(e, 4 * (int64_t)lanes), *mult = ek_pool(e, 4 * (int64_t)lanes);
  if (!w || !weights || !bias || !mult)
    return EK_E_MEMORY;
  memcpy(bias, l->bias, 4 * (size_t)l->out.c);
  memcpy(mult, l->mult, 4 * (size_t)l->out.c);
  *w = (ek_follow_window){.out = *out, .weights = weights, .bias = bias, .kernel = k, .stride = s, .lanes = lanes};
  w->requant = (ek_requant){mult, lanes, l->shift, l->relu, out->pixel};
  w->pad = l->kind == EK_CONV ? k - 1 - l->pad : l->pad;
  w->row_lanes = row_lanes, w->row_sums = (int32_t)row_sums, w->kernels = kernels;
  w->sums = ek_pool(e, 4 * rows * row_sums + 64);
  if (!w->sums || ek_make_marks(e, rows, columns, &w->dirty))
    return EK_E_MEMORY;
  fill_window(l, w, weights);
  return ek_plan_follow(e, in, WINDOW_SHARE, (ek_follow_fns){window_restart, kernels->follow_window, window_finish}, w);
}

/* ---- what every instruction set can run
 * ------------------------------------------------------------------------------- */

typedef int32_t sums_8 __attribute__((vector_size(32)));
typedef int8_t bytes_8 __attribute__((vector_size(8)));

static inline void add_linear(int32_t *sums, const ek_rows *r, int lanes) {
  for (int i = 0; i < lanes; i += 8) {
    sums_8 sum;
    memcpy(&sum, sums + i, sizeof sum);
    for (int k = 0; k < r->n; k++) {
      bytes_8 w;
      memcpy(&w, r->weights[k] + i, sizeof w);
      sum += __builtin_convertvector(w, sums_8) * r->by[k];
    }
    memcpy(sums + i, &sum, sizeof sum);
  }
}

static inline void add_window(const ek_follow_window *w, int32_t *row, const int16_t *weights, uint32_t by) {
  int32_t a = (int16_t)by, b = (int16_t)(by >> 16);
  for (int ky = 0; ky < w->kernel; ky++, row += w->row_sums)
    for (int i = 0; i < w->row_lanes; i += 8, weights += 16) {
      sums_8 sum, two;
      memcpy(&sum, row + i, sizeof sum);
      memcpy(&two, weights, sizeof two); /* two int16 in each lane */
      sum += (two << 16 >> 16) * a + (two >> 16) * b;
      memcpy(row + i, &sum, sizeof sum);
    }
}

FOLLOW(ek_follow_linear_add, ek_follow_window_add, , add_linear, add_window)

void ek_follow_finish(const ek_requant *r, const int32_t *sums, int pixels, int8_t *out) {
  int64_t round = INT64_C(1) << (r->shift - 1), low = r->relu ? 0 : -127;
  for (int x = 0; x < pixels; x++, sums += r->lanes, out += r->out_pixel)
    for (int i = 0; i < r->lanes; i++) {
      int64_t y = ((int64_t)sums[i] * r->mult[i] + round) >> r->shift;
      out[i] = (int8_t)(y > 127 ? 127 : y < low ? low : y);
    }
}
