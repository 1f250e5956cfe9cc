/* tail.c - the last layers of a compact decoder in training: their memory, and their parameters' order. */
#include "tail.h"

#include <stdlib.h>
#include <string.h>

#include "../core/status.h"

enum { MAX_CHANNELS = 256, MAX_CELLS = 1 << 20, MAX_CODE = 4096, MAX_BATCH = 4096 };

static int padded(int n) {
  return (n + EK_TAIL_LANES - 1) / EK_TAIL_LANES * EK_TAIL_LANES;
}

static int shape_is_wrong(const ek_tail_layout *l) {
  if (l->code < 8 || l->code > MAX_CODE || l->code % EK_TAIL_LANES || l->rows < 1 || l->columns < EK_TAIL_BLOCK ||
      (int64_t)l->rows * l->columns > MAX_CELLS || l->channels < 1 || l->channels > MAX_CHANNELS || l->n_convs < 1 ||
      l->n_convs > EK_TAIL_CONVS || l->n_views < 1 || l->n_views > EK_MAX_VIEWS || l->factor < 1 || l->factor > 16)
    return 1;
  for (int k = 0; k < l->n_convs; k++)
    if (l->out[k] < 1 || l->out[k] > MAX_CHANNELS || (l->residual && k + 1 < l->n_convs && l->out[k] != l->channels))
      return 1;
  int pixels = l->n_views * l->factor * l->factor;
  return (l->residual && l->n_convs % 2 == 0) || (l->depth && pixels % EK_TAIL_LANES) ||
         l->out[l->n_convs - 1] != (l->depth ? 2 * pixels : pixels) || l->height < 1 || l->width < 1 ||
         l->height > l->rows * l->factor || l->width > l->columns * l->factor;
}

static int check(const ek_tail_layout *l) {
  if (!l || shape_is_wrong(l) || !ek_isa_supported(l->isa) || l->n_threads < 1 || l->n_threads > EK_TEAM_MAX)
    return EK_E_ARGUMENT;
  return l->smoothing > 0 && l->smoothing < 0.5 && l->logit_limit > 0 && l->feature_limit > 0 && l->range_weight >= 0 &&
                 l->activity_weight >= 0 && l->log_squared >= 0 && l->depth_weight >= 0
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

static size_t size_of(const ek_map *m) {
  return (size_t)(m->rows + 2) * (size_t)(m->columns + 2) * (size_t)m->padded;
}

static int allocate(ek_tail *t) {
  const ek_tail_layout *l = &t->layout;
  const ek_map *last = &t->shape[l->n_convs];
  size_t cells = (size_t)l->rows * (size_t)l->columns * (size_t)last->padded;
  int ok = (t->team = ek_team_create(l->n_threads)) != NULL && (t->inside = floats(cells)) != NULL &&
           (t->deep = floats(cells)) != NULL && (t->pixel = calloc(cells, sizeof(int64_t))) != NULL;
  for (int k = 0; k < l->n_convs; k++) {
    size_t out = (size_t)t->shape[k + 1].padded, n = 9 * (size_t)t->shape[k].padded * out;
    ok &= (t->forward[k] = floats(n)) != NULL && (t->backward[k] = floats(n)) != NULL;
    ok &= (t->bias[k] = floats(out)) != NULL;
    for (int p = 0; p < EK_TAIL_PARTS; p++)
      ok &= (t->sums[p].dweights[k] = floats(n)) != NULL && (t->sums[p].dbias[k] = floats(out)) != NULL;
  }
  for (int w = 0; w < l->n_threads; w++) {
    ek_tail_desk *d = &t->desks[w];
    ok &= (d->target = floats(cells)) != NULL && (d->bend = floats(cells)) != NULL;
    for (int k = 0; k < t->n_maps; k++) {
      d->maps[k] = d->slopes[k] = t->shape[k];
      if (k) /* the first are every picture's own */
        ok &= (d->maps[k].data = floats(size_of(&t->shape[k]))) != NULL &&
              (d->slopes[k].data = floats(size_of(&t->shape[k]))) != NULL;
    }
  }
  return ok ? EK_OK : EK_E_MEMORY;
}

/* Where a logit or a depth stands in its picture; -1: nowhere. */
static int64_t pixel_of(const ek_tail_layout *l, int row, int column, int channel) {
  int f = l->factor, view = channel / (f * f), y = row * f + channel % (f * f) / f, x = column * f + channel % f;
  if (view >= l->n_views * (l->depth ? 2 : 1) || y >= l->height || x >= l->width)
    return -1;
  return ((int64_t)(view % l->n_views) * l->height + y) * l->width + x;
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
  for (int k = 0; k < t->n_maps; k++) {
    int channels = k ? layout->out[k - 1] : layout->channels;
    t->shape[k] = (ek_map){layout->rows, layout->columns, channels, padded(channels), NULL};
    t->n_parameters += k ? (int64_t)(9 * t->shape[k - 1].channels + 1) * channels : 0;
  }
  *status = allocate(t);
  if (*status) {
    ek_tail_destroy(t);
    return NULL;
  }
  const ek_map *last = &t->shape[layout->n_convs];
  for (int64_t i = 0; i < (int64_t)last->rows * last->columns * last->padded; i++) {
    int cell = (int)(i / last->padded), channel = (int)(i % last->padded);
    int64_t pixel = pixel_of(layout, cell / last->columns, cell % last->columns, channel);
    int logit = channel < layout->n_views * layout->factor * layout->factor;
    t->inside[i] = pixel >= 0 && logit, t->deep[i] = pixel >= 0 && !logit, t->pixel[i] = pixel >= 0 ? pixel : 0;
  }
  return t;
}

static void clear_room(ek_tail *t) {
  for (int s = 0; s < t->room; s++) {
    if (t->first)
      free(t->first[s].data);
    if (t->dfirst)
      free(t->dfirst[s].data);
  }
  free(t->first), free(t->dfirst), free(t->rows), free(t->columns), free(t->dcode);
  t->first = t->dfirst = NULL, t->rows = t->columns = t->dcode = NULL, t->room = 0;
}

/* Space for a batch of n pictures; the first batch makes it. */
static int make_room(ek_tail *t, int n) {
  if (n <= t->room)
    return EK_OK;
  clear_room(t);
  size_t code = (size_t)t->layout.code;
  size_t room = (size_t)((n + EK_TAIL_PICTURES - 1) / EK_TAIL_PICTURES * EK_TAIL_PICTURES);
  t->first = calloc(room, sizeof *t->first), t->dfirst = calloc(room, sizeof *t->dfirst);
  t->rows = floats(room * code), t->columns = floats(room * code), t->dcode = floats(EK_TAIL_PARTS * room * code);
  int ok = t->first && t->dfirst && t->rows && t->columns && t->dcode;
  t->room = (int)room;
  for (int s = 0; ok && s < t->room; s++) {
    t->first[s] = t->dfirst[s] = t->shape[0];
    ok &= (t->first[s].data = floats(size_of(&t->shape[0]))) != NULL;
    ok &= (t->dfirst[s].data = floats(size_of(&t->shape[0]))) != NULL;
  }
  if (!ok)
    clear_room(t);
  return ok ? EK_OK : EK_E_MEMORY;
}

void ek_tail_destroy(ek_tail *t) {
  if (!t)
    return;
  ek_team_destroy(t->team);
  clear_room(t);
  for (int k = 0; k < EK_TAIL_CONVS; k++) {
    free(t->forward[k]), free(t->backward[k]), free(t->bias[k]);
    for (int p = 0; p < EK_TAIL_PARTS; p++)
      free(t->sums[p].dweights[k]), free(t->sums[p].dbias[k]);
  }
  for (int w = 0; w < EK_TEAM_MAX; w++) {
    for (int k = 1; k <= EK_TAIL_CONVS; k++) /* the first are the pictures' */
      free(t->desks[w].maps[k].data), free(t->desks[w].slopes[k].data);
    free(t->desks[w].target), free(t->desks[w].bend);
  }
  free(t->inside), free(t->deep), free(t->pixel), free(t);
}

int64_t ek_tail_n_parameters(const ek_tail *t) {
  return t ? t->n_parameters : EK_E_ARGUMENT;
}

/* Weights (O, I, 3, 3) and bias (O) of every convolution into the kernels' order, for both directions. */
static void pack(ek_tail *t, const float *w) {
  for (int k = 0; k < t->layout.n_convs; k++) {
    int in = t->shape[k].channels, out = t->shape[k + 1].channels;
    for (int o = 0; o < out; o++)
      for (int i = 0; i < in; i++)
        for (int tap = 0; tap < 9; tap++, w++) {
          t->forward[k][((size_t)tap * (size_t)in + (size_t)i) * (size_t)t->shape[k + 1].padded + (size_t)o] = *w;
          t->backward[k][((size_t)(8 - tap) * (size_t)out + (size_t)o) * (size_t)t->shape[k].padded + (size_t)i] = *w;
        }
    memcpy(t->bias[k], w, sizeof(float) * (size_t)out), w += out;
    for (int p = 0; p < EK_TAIL_PARTS; p++) {
      size_t n = 9 * (size_t)t->shape[k].padded * (size_t)t->shape[k + 1].padded;
      memset(t->sums[p].dweights[k], 0, sizeof(float) * n);
      memset(t->sums[p].dbias[k], 0, sizeof(float) * (size_t)t->shape[k + 1].padded);
    }
  }
  for (int p = 0; p < EK_TAIL_PARTS; p++)
    t->sums[p].loss = t->sums[p].excess = t->sums[p].beyond = t->sums[p].active = t->sums[p].logs = t->sums[p].depth =
        0;
}

static void unpack(const ek_tail *t, float share, float *dw) {
  for (int k = 0; k < t->layout.n_convs; k++) {
    int in = t->shape[k].channels, out = t->shape[k + 1].channels;
    for (int o = 0; o < out; o++)
      for (int i = 0; i < in; i++)
        for (int tap = 0; tap < 9; tap++) {
          size_t at = (size_t)(tap * t->shape[k].padded + i) * (size_t)t->shape[k + 1].padded + (size_t)o;
          float sum = 0;
          for (int p = 0; p < EK_TAIL_PARTS; p++)
            sum += t->sums[p].dweights[k][at];
          *dw++ = share * sum;
        }
    for (int o = 0; o < out; o++) {
      float sum = 0;
      for (int p = 0; p < EK_TAIL_PARTS; p++)
        sum += t->sums[p].dbias[k][o];
      *dw++ = share * sum;
    }
  }
}

int ek_tail_learn(ek_tail *t, ek_tail_batch *b) {
  if (!t || !b || !b->spread || !b->bias || !b->convs || !b->code || !b->targets || b->n < 1 || b->n > MAX_BATCH ||
      b->n_depth < 0 || b->n_depth > b->n || (b->n_depth && (!b->depth || !t->layout.depth)) || !b->dspread ||
      !b->dbias || !b->dconvs || !b->dcode)
    return EK_E_ARGUMENT;
  int status = make_room(t, b->n);
  if (status)
    return status;
  const ek_tail_layout *l = &t->layout;
  double pixels = (double)l->n_views * l->height * l->width, n = b->n;
  pack(t, b->convs);
  ek_tail_sweep(t, b);
  unpack(t, (float)(1.0 / (n * pixels)), b->dconvs);
  ek_tail_sums all = {0};
  for (int p = 0; p < EK_TAIL_PARTS; p++) {
    all.loss += t->sums[p].loss, all.excess += t->sums[p].excess, all.beyond += t->sums[p].beyond;
    all.active += t->sums[p].active, all.logs += t->sums[p].logs, all.depth += t->sums[p].depth;
  }
  b->loss = all.loss / (n * pixels);
  b->penalty = l->range_weight * (all.excess / (n * pixels) + all.beyond / n) +
               (l->activity_weight * all.active + l->log_squared * all.logs) / n;
  if (b->n_depth)
    b->penalty += l->depth_weight * all.depth / (b->n_depth * pixels);
  return EK_OK;
}
