/* tail.c - the convolutions of a compact decoder in training: loss of a batch and its exact derivative in one pass.
 *
 * A training step of a compact decoder in torch spends four fifths of its time in convolutions of 8 channels, the
 * pixel shuffle and the loss, each far too small for what it calls. Here they are one sweep per sample over maps that
 * stay in the cache, with channels innermost and in whole vectors. */
#include "edgekin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/status.h"

enum { LANES = 8, BLOCK = 5, PRODUCTS = 64, MAX_CONVS = EK_TAIL_CONVS, MAX_CHANNELS = 256, MAX_CELLS = 1 << 20 };

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));
#define SPREAD(s) ((v8f){s, s, s, s, s, s, s, s})
#define ERROR_FLOOR 1e-4 /* of a picture's squared error per pixel, in its logarithm: 40 dB */
#define CHOOSE(which, a, b) ((v8f)(((which) & (v8i)(a)) | (~(which) & (v8i)(b))))

typedef struct {
  int rows, columns, channels, padded;
  float *data;
} map;

struct ek_tail {
  ek_tail_layout layout;
  int isa, n_maps;
  int64_t n_parameters;
  map maps[MAX_CONVS + 1], slopes[MAX_CONVS + 1]; /* input of each convolution, and the logits */
  float *forward[MAX_CONVS], *backward[MAX_CONVS], *bias[MAX_CONVS], *dweights[MAX_CONVS], *dbias[MAX_CONVS];
  float *target, *inside, *bend; /* (cells of the last map without borders, padded) */
  int64_t *pixel;                /* the same: where a logit stands in the picture, 0 where inside is 0 */
};

#define TAIL_TARGET
#define TAIL(name) name##_base
#define TAIL_FMA(a, b, c) ((a) * (b) + (c))
#include "tail.h"
#undef TAIL_TARGET
#undef TAIL
#undef TAIL_FMA

#if defined(__x86_64__)
#define TAIL_TARGET __attribute__((target("avx2,fma")))
#define TAIL(name) name##_avx2
#define TAIL_FMA(a, b, c) __builtin_ia32_vfmaddps256(a, b, c)
#include "tail.h"
#define RUN(tail, name, ...) ((tail)->isa == EK_ISA_SCALAR ? name##_base(__VA_ARGS__) : name##_avx2(__VA_ARGS__))
#else
#define RUN(tail, name, ...) name##_base(__VA_ARGS__)
#endif

static int padded(int channels) {
  return (channels + LANES - 1) / LANES * LANES;
}

static int check(const ek_tail_layout *l) {
  if (!l || l->rows < 1 || l->columns < BLOCK || (int64_t)l->rows * l->columns > MAX_CELLS || l->channels < 1 ||
      l->channels > MAX_CHANNELS || l->n_convs < 1 || l->n_convs > MAX_CONVS || l->n_views < 1 ||
      l->n_views > EK_MAX_VIEWS || l->factor < 1 || l->factor > 16 || !ek_isa_supported(l->isa))
    return EK_E_ARGUMENT;
  for (int k = 0; k < l->n_convs; k++)
    if (l->out[k] < 1 || l->out[k] > MAX_CHANNELS)
      return EK_E_ARGUMENT;
  if (l->out[l->n_convs - 1] != l->n_views * l->factor * l->factor || l->height < 1 || l->width < 1 ||
      l->height > l->rows * l->factor || l->width > l->columns * l->factor)
    return EK_E_ARGUMENT;
  return l->smoothing > 0 && l->smoothing < 0.5 && l->logit_limit > 0 && l->feature_limit > 0 && l->range_weight >= 0 &&
                 l->log_squared >= 0
             ? EK_OK
             : EK_E_ARGUMENT;
}

static float *floats(size_t n) {
  void *out = NULL;
  if (posix_memalign(&out, 64, sizeof(float) * n))
    return NULL;
  memset(out, 0, sizeof(float) * n);
  return out;
}

static int allocate(ek_tail *t) {
  const ek_tail_layout *l = &t->layout;
  int ok = 1;
  for (int k = 0; k < t->n_maps; k++) {
    int channels = k ? l->out[k - 1] : l->channels;
    map m = {l->rows, l->columns, channels, padded(channels), NULL};
    size_t n = (size_t)(l->rows + 2) * (size_t)(l->columns + 2) * (size_t)m.padded;
    t->maps[k] = t->slopes[k] = m;
    ok &= (t->maps[k].data = floats(n)) != NULL, ok &= (t->slopes[k].data = floats(n)) != NULL;
  }
  for (int k = 0; k < l->n_convs; k++) {
    size_t in = (size_t)t->maps[k].padded, out = (size_t)t->maps[k + 1].padded;
    ok &= (t->forward[k] = floats(9 * in * out)) != NULL, ok &= (t->backward[k] = floats(9 * in * out)) != NULL;
    ok &= (t->dweights[k] = floats(9 * in * out)) != NULL, ok &= (t->bias[k] = floats(out)) != NULL;
    ok &= (t->dbias[k] = floats(out)) != NULL;
  }
  size_t cells = (size_t)l->rows * (size_t)l->columns * (size_t)t->maps[l->n_convs].padded;
  ok &= (t->target = floats(cells)) != NULL, ok &= (t->inside = floats(cells)) != NULL;
  ok &= (t->bend = floats(cells)) != NULL;
  ok &= (t->pixel = calloc(cells, sizeof(int64_t))) != NULL;
  return ok ? EK_OK : EK_E_MEMORY;
}

/* Where a logit stands in the target picture; -1: nowhere. */
static int64_t pixel_of(const ek_tail_layout *l, int row, int column, int channel) {
  int f = l->factor, view = channel / (f * f), y = row * f + channel % (f * f) / f, x = column * f + channel % f;
  return view < l->n_views && y < l->height && x < l->width ? ((int64_t)view * l->height + y) * l->width + x : -1;
}

ek_tail *ek_tail_create(const ek_tail_layout *layout, int *status) {
  int ignored;
  status = status ? status : &ignored;
  *status = check(layout);
  ek_tail *t = *status ? NULL : calloc(1, sizeof *t);
  if (!t) {
    *status = *status ? *status : EK_E_MEMORY;
    return NULL;
  }
  t->layout = *layout;
  t->isa = layout->isa == EK_ISA_AUTO ? ek_isa_best() : layout->isa;
  t->n_maps = layout->n_convs + 1;
  *status = allocate(t);
  if (*status) {
    ek_tail_destroy(t);
    return NULL;
  }
  const map *last = &t->maps[layout->n_convs];
  for (int k = 0; k < layout->n_convs; k++)
    t->n_parameters += (int64_t)(9 * t->maps[k].channels + 1) * t->maps[k + 1].channels;
  for (int64_t i = 0; i < (int64_t)last->rows * last->columns * last->padded; i++) {
    int cell = (int)(i / last->padded), channel = (int)(i % last->padded);
    int64_t pixel = pixel_of(layout, cell / last->columns, cell % last->columns, channel);
    t->inside[i] = pixel >= 0, t->pixel[i] = pixel >= 0 ? pixel : 0;
  }
  return t;
}

void ek_tail_destroy(ek_tail *t) {
  if (!t)
    return;
  for (int k = 0; k <= MAX_CONVS; k++)
    free(t->maps[k].data), free(t->slopes[k].data);
  for (int k = 0; k < MAX_CONVS; k++)
    free(t->forward[k]), free(t->backward[k]), free(t->bias[k]), free(t->dweights[k]), free(t->dbias[k]);
  free(t->target), free(t->inside), free(t->bend), free(t->pixel), free(t);
}

int64_t ek_tail_n_parameters(const ek_tail *t) {
  return t ? t->n_parameters : EK_E_ARGUMENT;
}

/* Weights (O, I, 3, 3) and bias (O) of every convolution into the kernels' order, for both directions. */
static void pack(ek_tail *t, const float *w) {
  for (int k = 0; k < t->layout.n_convs; k++) {
    int in = t->maps[k].channels, out = t->maps[k + 1].channels;
    for (int o = 0; o < out; o++)
      for (int i = 0; i < in; i++)
        for (int tap = 0; tap < 9; tap++, w++) {
          t->forward[k][((size_t)tap * (size_t)in + (size_t)i) * (size_t)t->maps[k + 1].padded + (size_t)o] = *w;
          t->backward[k][((size_t)(8 - tap) * (size_t)out + (size_t)o) * (size_t)t->maps[k].padded + (size_t)i] = *w;
        }
    memcpy(t->bias[k], w, sizeof(float) * (size_t)out), w += out;
    memset(t->dweights[k], 0, sizeof(float) * 9 * (size_t)t->maps[k].padded * (size_t)t->maps[k + 1].padded);
    memset(t->dbias[k], 0, sizeof(float) * (size_t)t->maps[k + 1].padded);
  }
}

static void unpack(const ek_tail *t, float *dw) {
  for (int k = 0; k < t->layout.n_convs; k++) {
    int in = t->maps[k].channels, out = t->maps[k + 1].channels;
    for (int o = 0; o < out; o++)
      for (int i = 0; i < in; i++)
        for (int tap = 0; tap < 9; tap++)
          *dw++ = t->dweights[k][(size_t)(tap * t->maps[k].padded + i) * (size_t)t->maps[k + 1].padded + (size_t)o];
    memcpy(dw, t->dbias[k], sizeof(float) * (size_t)out), dw += out;
  }
}

static float *cell(const map *m, int row, int column) {
  return m->data + ((size_t)(row + 1) * (size_t)(m->columns + 2) + (size_t)column + 1) * (size_t)m->padded;
}

/* Planes (channels, rows, columns) to or from the inner part of a map. */
static void from_planes(const float *planes, const map *m) {
  for (int c = 0; c < m->channels; c++)
    for (int y = 0; y < m->rows; y++)
      for (int x = 0; x < m->columns; x++)
        cell(m, y, x)[c] = *planes++;
}

static void to_planes(const map *m, float scale, float *planes) {
  for (int c = 0; c < m->channels; c++)
    for (int y = 0; y < m->rows; y++)
      for (int x = 0; x < m->columns; x++)
        *planes++ = scale * cell(m, y, x)[c];
}

/* The logits' loss and slope; adds to *excess the squares beyond the limit, to *logs the logarithm of the picture's
 * squared error. Slopes are per pixel, not yet divided by their number. */
static double measure(ek_tail *t, const float *picture, double *excess, double *logs) {
  const ek_tail_layout *l = &t->layout;
  const map *last = &t->maps[l->n_convs], *slope = &t->slopes[l->n_convs];
  int n = last->columns * last->padded;
  for (int64_t i = 0; i < (int64_t)last->rows * n; i++)
    t->target[i] = picture[t->pixel[i]];
  double loss = 0, squared = 0;
  for (int y = 0; y < last->rows; y++)
    for (int at = 0; at < n; at += PRODUCTS * LANES) {
      int length = n - at < PRODUCTS * LANES ? n - at : PRODUCTS * LANES;
      size_t from = (size_t)y * (size_t)n + (size_t)at;
      loss += RUN(t, differ, l, cell(last, y, 0) + at, t->target + from, t->inside + from, cell(slope, y, 0) + at,
                  t->bend + from, length, excess, &squared);
    }
  double mean = squared / ((double)l->n_views * l->height * l->width) + ERROR_FLOOR;
  *logs += log(mean);
  float pull = (float)(2 * l->log_squared / mean);
  for (int y = 0; y < last->rows; y++) {
    float *g = cell(slope, y, 0);
    const float *bend = t->bend + (size_t)y * (size_t)n;
    for (int i = 0; i < n; i++)
      g[i] += pull * bend[i];
  }
  return loss;
}

/* The slope of a ReLU's output: none where it gave 0, and what holds large values down. pixels: see below. */
static double through_relu(ek_tail *t, int k, double pixels, int masked) {
  const map *m = &t->maps[k], *slope = &t->slopes[k];
  double cells = (double)m->rows * m->columns * m->channels, beyond = 0;
  /* Slopes are in units of the logits' mean: a mean over cells weighs pixels / cells times as much. */
  float limit = (float)t->layout.feature_limit, pull = (float)(2 * t->layout.range_weight * pixels / cells);
  for (int y = 0; y < m->rows; y++) {
    const float *x = cell(m, y, 0);
    float *g = cell(slope, y, 0), largest = 0;
    for (int i = 0; i < m->columns * m->padded; i++) {
      g[i] = masked && !(x[i] > 0) ? 0 : g[i];
      largest = x[i] > largest ? x[i] : largest;
    }
    for (int i = 0; largest > limit && i < m->columns * m->padded; i++) {
      float over = x[i] > limit ? x[i] - limit : 0;
      g[i] += pull * over;
      beyond += (double)over * (double)over;
    }
  }
  return beyond / cells;
}

static void add_bias(const map *slope, float *dbias) {
  for (int y = 0; y < slope->rows; y++) {
    const float *g = cell(slope, y, 0);
    for (int x = 0; x < slope->columns; x++, g += slope->padded)
      for (int o = 0; o < slope->padded; o++)
        dbias[o] += g[o];
  }
}

int ek_tail_learn(ek_tail *t, const float *parameters, const float *features, const float *targets, int n, double *loss,
                  double *penalty, float *dparameters, float *dfeatures) {
  if (!t || !parameters || !features || !targets || n < 1 || !loss || !penalty || !dparameters || !dfeatures)
    return EK_E_ARGUMENT;
  const ek_tail_layout *l = &t->layout;
  int last = l->n_convs;
  int64_t pixels = (int64_t)l->n_views * l->height * l->width;
  int64_t inputs = (int64_t)l->channels * l->rows * l->columns;
  float share = (float)(1.0 / ((double)n * (double)pixels));
  double excess = 0, beyond = 0, logs = 0, sum = 0;
  pack(t, parameters);
  for (int s = 0; s < n; s++) {
    from_planes(features + s * inputs, &t->maps[0]);
    for (int k = 0; k < last; k++)
      RUN(t, convolve, &t->maps[k], t->forward[k], t->bias[k], &t->maps[k + 1], k + 1 < last);
    sum += measure(t, targets + s * pixels, &excess, &logs);
    for (int k = last - 1; k >= 0; k--) {
      RUN(t, correlate, &t->maps[k], &t->slopes[k + 1], t->dweights[k]);
      add_bias(&t->slopes[k + 1], t->dbias[k]);
      RUN(t, convolve, &t->slopes[k + 1], t->backward[k], NULL, &t->slopes[k], 0);
      beyond += through_relu(t, k, (double)pixels, k > 0);
    }
    to_planes(&t->slopes[0], share, dfeatures + s * inputs);
  }
  unpack(t, dparameters);
  for (int64_t i = 0; i < t->n_parameters; i++)
    dparameters[i] *= share;
  *loss = sum / ((double)n * (double)pixels);
  *penalty = l->range_weight * (excess / ((double)n * (double)pixels) + beyond / n) + l->log_squared * logs / n;
  return EK_OK;
}
