/* step.c - one training step of a decoder's last layers: loss of a batch and its exact derivative in three passes.
 *
 * In torch such a step spends four fifths of its time in convolutions of 8 channels, the pixel shuffle and the loss,
 * each far too small for what it calls. Here the code is spread over the maps of all pictures (each weight is read
 * once), then every picture is one sweep forwards and backwards over maps that stay in the cache, then the weights of
 * the spread get their derivative, where a slope is not zero. Each pass is shared among threads in parts that do not
 * depend on their number, and sums over parts are added in their order. */
#include "tail.h"

#include <math.h>
#include <string.h>

enum {
  LANES = EK_TAIL_LANES,
  BLOCK = EK_TAIL_BLOCK,
  PARTS = EK_TAIL_PARTS,
  PRODUCTS = 64,
  ROWS = 4,
  PICTURES = EK_TAIL_PICTURES
};

typedef float v8f __attribute__((vector_size(32)));
typedef float loose_v8f __attribute__((vector_size(32), aligned(4)));
typedef int32_t v8i __attribute__((vector_size(32)));
#define SPREAD(s) ((v8f){s, s, s, s, s, s, s, s})
#define ERROR_FLOOR 1e-4 /* of a picture's squared error per pixel, in its logarithm: 40 dB */
#define CHOOSE(which, a, b) ((v8f)(((which) & (v8i)(a)) | (~(which) & (v8i)(b))))

static float *cell(const ek_map *m, int row, int column) {
  return m->data + ((size_t)(row + 1) * (size_t)(m->columns + 2) + (size_t)column + 1) * (size_t)m->padded;
}

#define TAIL_TARGET
#define TAIL(name) name##_base
#define TAIL_FMA(a, b, c) ((a) * (b) + (c))
#include "kernels.h"
#undef TAIL_TARGET
#undef TAIL
#undef TAIL_FMA

#if defined(__x86_64__)
#define TAIL_TARGET __attribute__((target("avx2,fma")))
#define TAIL(name) name##_avx2
#define TAIL_FMA(a, b, c) __builtin_ia32_vfmaddps256(a, b, c)
#include "kernels.h"
#define RUN(tail, name, ...) ((tail)->isa == EK_ISA_SCALAR ? name##_base(__VA_ARGS__) : name##_avx2(__VA_ARGS__))
#else
#define RUN(tail, name, ...) name##_base(__VA_ARGS__)
#endif

typedef struct {
  ek_tail *tail;
  ek_tail_batch *batch;
} job;

/* The cells of a part of the map. */
static void cells_of(const ek_tail *t, int part, int *from, int *to) {
  int n = t->shape[0].rows * t->shape[0].columns;
  *from = (int)((int64_t)n * part / PARTS), *to = (int)((int64_t)n * (part + 1) / PARTS);
}

static void spread_part(void *context, int part, int worker) {
  (void)worker;
  const job *j = context;
  int from, to;
  cells_of(j->tail, part, &from, &to);
  RUN(j->tail, spread, j->tail, j->batch, from, to);
}

static void gather_part(void *context, int part, int worker) {
  (void)worker;
  const job *j = context;
  int from, to;
  cells_of(j->tail, part, &from, &to);
  RUN(j->tail, gather, j->tail, j->batch, from, to, part);
}

/* The logits' loss and slope. Slopes are per pixel, not yet divided by their number. */
static void measure(const ek_tail *t, ek_tail_desk *d, const float *picture, ek_tail_sums *sums) {
  const ek_tail_layout *l = &t->layout;
  const ek_map *last = &d->maps[l->n_convs], *slope = &d->slopes[l->n_convs];
  int n = last->columns * last->padded;
  for (int64_t i = 0; i < (int64_t)last->rows * n; i++)
    d->target[i] = picture[t->pixel[i]];
  double squared = 0;
  for (int y = 0; y < last->rows; y++)
    for (int at = 0; at < n; at += PRODUCTS * LANES) {
      int length = n - at < PRODUCTS * LANES ? n - at : PRODUCTS * LANES;
      size_t from = (size_t)y * (size_t)n + (size_t)at;
      sums->loss += RUN(t, differ, l, cell(last, y, 0) + at, d->target + from, t->inside + from, cell(slope, y, 0) + at,
                        d->bend + from, length, &sums->excess, &squared);
    }
  double mean = squared / ((double)l->n_views * l->height * l->width) + ERROR_FLOOR;
  sums->logs += log(mean);
  float pull = (float)(2 * l->log_squared / mean);
  for (int y = 0; y < last->rows; y++) {
    float *g = cell(slope, y, 0);
    const float *bend = d->bend + (size_t)y * (size_t)n;
    for (int i = 0; i < n; i++)
      g[i] += pull * bend[i];
  }
}

/* The depths' error and slope; `weight`: a slope's size for an error of a metre. */
static void measure_depth(const ek_tail *t, ek_tail_desk *d, const float *truth, float weight, ek_tail_sums *sums) {
  const ek_tail_layout *l = &t->layout;
  const ek_map *last = &d->maps[l->n_convs], *slope = &d->slopes[l->n_convs];
  int half = last->channels / 2;
  float middle = (float)l->depth_middle_m, unit = (float)l->depth_unit_m;
  for (int c = 0; c < last->rows * last->columns; c++) {
    const float *z = cell(last, c / last->columns, c % last->columns);
    float *g = cell(slope, c / last->columns, c % last->columns);
    const int64_t *pixel = t->pixel + (size_t)c * (size_t)last->padded;
    for (int k = half; k < last->channels; k++) {
      float should = truth ? truth[pixel[k]] : INFINITY;
      float deep = t->deep[(size_t)c * (size_t)last->padded + (size_t)k];
      float miss = isfinite(should) && deep > 0 ? middle + unit * z[k] - should : 0;
      sums->depth += fabs((double)miss);
      g[k] = miss > 0 ? weight * unit : miss < 0 ? -weight * unit : 0;
    }
  }
}

/* The slope of a ReLU's output: none where it gave 0, and what holds values down, large ones above all. */
static void through_relu(const ek_tail *t, const ek_map *m, const ek_map *slope, ek_tail_sums *sums) {
  double cells = (double)m->rows * m->columns * m->channels, beyond = 0, active = 0;
  double pixels = (double)t->layout.n_views * t->layout.height * t->layout.width;
  /* Slopes are in units of the logits' mean: a mean over cells weighs pixels / cells times as much. */
  float limit = (float)t->layout.feature_limit, pull = (float)(2 * t->layout.range_weight * pixels / cells);
  float steady = (float)(t->layout.activity_weight * pixels / cells);
  for (int y = 0; y < m->rows; y++) {
    const float *x = cell(m, y, 0);
    float *g = cell(slope, y, 0), largest = 0, sum = 0;
    for (int i = 0; i < m->columns * m->padded; i++) {
      g[i] = x[i] > 0 ? g[i] + steady : 0;
      sum += x[i];
      largest = x[i] > largest ? x[i] : largest;
    }
    active += (double)sum;
    for (int i = 0; largest > limit && i < m->columns * m->padded; i++) {
      float over = x[i] > limit ? x[i] - limit : 0;
      g[i] += pull * over;
      beyond += (double)over * (double)over;
    }
  }
  sums->beyond += beyond / cells, sums->active += active / cells;
}

static void add_bias(const ek_map *slope, float *dbias) {
  for (int y = 0; y < slope->rows; y++) {
    const float *g = cell(slope, y, 0);
    for (int x = 0; x < slope->columns; x++, g += slope->padded)
      for (int o = 0; o < slope->padded; o++)
        dbias[o] += g[o];
  }
}

/* One picture, from its first map to that map's slopes. */
static void picture(const ek_tail *t, const ek_tail_batch *b, ek_tail_desk *d, int s, ek_tail_sums *sums) {
  const ek_tail_layout *l = &t->layout;
  int last = l->n_convs;
  int64_t pixels = (int64_t)l->n_views * l->height * l->width;
  d->maps[0] = t->first[s], d->slopes[0] = t->dfirst[s];
  for (int k = 0; k < last; k++) {
    const ek_map *added = l->residual && k % 2 ? &d->maps[k - 1] : NULL;
    RUN(t, convolve, &d->maps[k], t->forward[k], t->bias[k], added, &d->maps[k + 1], k + 1 < last);
  }
  measure(t, d, b->targets + s * pixels, sums);
  if (l->depth)
    measure_depth(t, d, s < b->n_depth ? b->depth + s * pixels : NULL,
                  (float)(l->depth_weight * b->n / (b->n_depth ? b->n_depth : 1)), sums);
  for (int k = last - 1; k >= 0; k--) {
    const ek_map *added = l->residual && k % 2 == 0 && k + 1 < last ? &d->slopes[k + 2] : NULL;
    RUN(t, correlate, &d->maps[k], &d->slopes[k + 1], sums->dweights[k]);
    add_bias(&d->slopes[k + 1], sums->dbias[k]);
    RUN(t, convolve, &d->slopes[k + 1], t->backward[k], NULL, added, &d->slopes[k], 0);
    through_relu(t, &d->maps[k], &d->slopes[k], sums);
  }
}

static void pictures_part(void *context, int part, int worker) {
  const job *j = context;
  for (int s = part; s < j->batch->n; s += PARTS)
    picture(j->tail, j->batch, &j->tail->desks[worker], s, &j->tail->sums[part]);
}

void ek_tail_sweep(ek_tail *t, ek_tail_batch *b) {
  int code = t->layout.code;
  size_t size = (size_t)t->room * (size_t)code;
  memset(t->dcode, 0, sizeof(float) * size * PARTS);
  memcpy(t->rows, b->code, sizeof(float) * (size_t)b->n * (size_t)code);
  for (int s = 0; s < b->n; s++)
    for (int k = 0; k < code; k++)
      t->columns[(size_t)k * (size_t)t->room + (size_t)s] = b->code[(size_t)s * (size_t)code + (size_t)k];
  job j = {t, b};
  ek_team_run(t->team, spread_part, &j, PARTS);
  ek_team_run(t->team, pictures_part, &j, PARTS);
  ek_team_run(t->team, gather_part, &j, PARTS);
  for (size_t i = 0; i < (size_t)b->n * (size_t)code; i++) {
    float sum = 0;
    for (int p = 0; p < PARTS; p++)
      sum += t->dcode[(size_t)p * size + i];
    b->dcode[i] = sum;
  }
}
