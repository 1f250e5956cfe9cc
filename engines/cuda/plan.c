/* plan.c - a decoder becomes the steps that kernels.cu walks.
 *
 * Two things save barriers. Small linear layers at the front are done by every block for itself, out of shared memory;
 * and what follows the last convolution (shuffle, crop, a narrow 1x1 convolution) is only how the scoring reads. */
#include "plan.h"
#include "../core/status.h"
#include "edgekin.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
  ALONE_WEIGHTS = 64 << 10, /* bytes that every block reads by itself: some thousand cycles of one SM */
  ALONE_OUTPUTS = 2048,
  SHARED_WORDS = 10 << 10, /* 40 KiB, which every GPU gives a block without being asked */
  NARROW_CHANNELS = 8
};
#define MAX_WORDS (INT64_C(1) << 28)

static int64_t aligned(int64_t words) {
  return (words + 3) / 4 * 4;
}

int32_t ek_gpu_reserve(ek_gpu_plan *p, int64_t words) {
  int64_t at = p->words, end = at + aligned(words);
  if (p->failed || words < 0 || end > MAX_WORDS) {
    p->failed = 1;
    return 0;
  }
  if (end > p->capacity) {
    int64_t capacity = 2 * p->capacity > end ? 2 * p->capacity : end;
    uint32_t *grown = realloc(p->image, sizeof *grown * (size_t)capacity);
    if (!grown) {
      p->failed = 1;
      return 0;
    }
    p->image = grown, p->capacity = capacity;
  }
  memset(p->image + at, 0, sizeof *p->image * (size_t)(end - at));
  p->words = end;
  return (int32_t)at;
}

int32_t ek_gpu_constants(ek_gpu_plan *p, const void *data, int64_t bytes) {
  int32_t at = ek_gpu_reserve(p, (bytes + 3) / 4);
  if (at)
    memcpy(p->image + at, data, (size_t)bytes);
  return at;
}

int32_t ek_gpu_take(ek_gpu_plan *p, int64_t *from, int64_t words) {
  int64_t at = *from;
  *from += aligned(words);
  if (words < 0 || *from > MAX_WORDS)
    p->failed = 1, *from = at;
  return (int32_t)at;
}

ek_gpu_map ek_gpu_new_map(ek_gpu_plan *p, ek_shape s, int border, int shared) {
  int64_t pixel = (s.c + 3) / 4 * ek_gpu_per_block(p->packing), row = pixel * (s.w + 2 * (int64_t)border);
  int64_t words = row * (s.h + 2 * (int64_t)border);
  if (words > MAX_WORDS)
    p->failed = 1, words = 0;
  int32_t at = ek_gpu_take(p, shared ? &p->shared : &p->arena, words);
  return (ek_gpu_map){(int32_t)(at + border * (row + pixel)), shared, (int32_t)pixel, (int32_t)row, s.c, s.h, s.w};
}

ek_gpu_step *ek_gpu_push(ek_gpu_plan *p, int kind, int64_t items) {
  ek_gpu_step *s = &p->steps[p->head.n_steps++];
  if (items > INT32_MAX / 64)
    p->failed = 1, items = 1;
  *s = (ek_gpu_step){.kind = kind, .after = EK_GPU_GRID, .n = (int32_t)items, .factor = 1};
  return s;
}

static int32_t taps(ek_gpu_plan *p, int size_in, int size_out) {
  int32_t at = ek_gpu_reserve(p, (int64_t)(sizeof(ek_gpu_tap) / 4) * size_out);
  for (int i = 0; at && i < size_out; i++) { /* as ek_resize_taps */
    double source = (i + 0.5) * ((double)size_in / size_out) - 0.5;
    source = source > 0 ? source : 0;
    int first = (int)source;
    first = first < size_in - 1 ? first : size_in - 1;
    double fraction = source - first;
    ek_gpu_tap tap = {first, first + 1 < size_in ? first + 1 : size_in - 1, (int32_t)rint(fraction * 256),
                      ek_upconv_fraction((float)fraction), (float)fraction};
    memcpy(p->image + at + (int64_t)i * (int64_t)(sizeof tap / 4), &tap, sizeof tap);
  }
  return at;
}

/* ---- what the last step takes over ------------------------------------------------------------------------------ */

typedef struct {
  int end; /* layers that are steps of their own */
  int factor;
  const ek_layer *narrow;
} tail;

static tail tail_of(const ek_model *m) {
  tail t = {m->n_layers, 1, NULL};
  if (t.end > 1 && m->layers[t.end - 1].kind == EK_CROP)
    t.end--;
  const ek_layer *last = &m->layers[t.end - 1];
  int narrow = last->kind == EK_CONV && last->kernel == 1 && last->pad == 0 && last->in.c <= NARROW_CHANNELS;
  if (t.end > 1 && last->kind == EK_PIXEL_SHUFFLE)
    t.factor = last->factor, t.end--;
  else if (t.end > 1 && narrow)
    t.narrow = last, t.end--;
  return t;
}

static void push_score(ek_gpu_plan *p, const tail *t, const ek_gpu_map *in) {
  const ek_model *m = p->model;
  int per_block = ek_gpu_per_block(p->type);
  ek_gpu_step *s = ek_gpu_push(p, EK_GPU_SCORE, (int64_t)p->head.n_maps * p->head.tile_rows * p->head.tile_columns);
  s->in = *in, s->factor = t->factor;
  p->head.logits = ek_gpu_take(p, &p->arena, (int64_t)p->head.n_maps * m->height * m->width);
  if (!t->narrow)
    return;
  const ek_layer *l = t->narrow;
  int32_t channel[2 * EK_MAX_VIEWS];
  for (int i = 0; i < l->out.c; i++)
    channel[i] = i;
  s->n_blocks = (l->in.c + 3) / 4, s->relu = l->relu, s->shift = l->shift;
  s->bias = ek_gpu_channels(p, l->bias, channel, l->out.c), s->mult = ek_gpu_channels(p, l->mult, channel, l->out.c);
  s->narrow = ek_gpu_reserve(p, (int64_t)l->out.c * 2 * per_block);
  for (int o = 0; !p->failed && o < l->out.c; o++)
    for (int i = 0; i < l->in.c; i++)
      ek_gpu_put_weight(p, s->narrow + o * 2 * per_block, i, l, ek_weight_index(l, o, i, 0, 0));
}

/* ---- layers ------------------------------------------------------------------------------------------------------ */

static void push_input(ek_gpu_plan *p, const ek_layer *l, const ek_gpu_map *out) {
  ek_gpu_step *s = ek_gpu_push(p, EK_GPU_INPUT, (l->out.c + 3) / 4 * 4);
  s->in.c = l->in.c, s->out = *out, s->sincos = l->kind == EK_SINCOS, s->scale = l->out_scale;
}

static void push_resize(ek_gpu_plan *p, const ek_layer *l, const ek_gpu_map *in, const ek_gpu_map *out) {
  ek_gpu_step *s = ek_gpu_push(p, EK_GPU_RESIZE, (int64_t)(l->out.c + 3) / 4 * l->out.h * l->out.w);
  s->in = *in, s->out = *out;
  s->ty = taps(p, l->in.h, l->out.h), s->tx = taps(p, l->in.w, l->out.w);
}

static void push_move(ek_gpu_plan *p, const ek_layer *l, const ek_gpu_map *in, const ek_gpu_map *out) {
  int kind = l->kind == EK_CROP ? EK_GPU_CROP : l->kind == EK_RESHAPE ? EK_GPU_RESHAPE : EK_GPU_SHUFFLE;
  ek_gpu_step *s = ek_gpu_push(p, kind, (int64_t)(l->out.c + 3) / 4 * l->out.h * l->out.w);
  s->in = *in, s->out = *out, s->factor = l->factor;
}

/* The convolution l of what the layer before enlarges. */
static void push_upconv(ek_gpu_plan *p, const ek_layer *l, const ek_gpu_map *in, const ek_gpu_map *out) {
  int int8 = p->type == EK_GPU_INT8, blocks = (l->out.c + 3) / 4, right = int8 ? ek_upconv_shift(l) : 0;
  ek_gpu_map stamps = *in;
  stamps.c = 9 * 4 * blocks, stamps.shared = 0, stamps.pixel = 9 * blocks * (int8 ? 2 : 4);
  stamps.row = stamps.pixel * in->w;
  stamps.data = ek_gpu_take(p, &p->arena, (int64_t)stamps.row * in->h);
  ek_gpu_push_dot(p, l, in, &stamps, 1);
  p->steps[p->head.n_steps - 1].shift = right;
  ek_gpu_step *s = ek_gpu_push(p, EK_GPU_BLEND, (int64_t)blocks * out->h * out->w);
  s->in = stamps, s->out = *out, s->n_blocks = blocks, s->relu = l->relu;
  s->ty = taps(p, in->h, l->in.h), s->tx = taps(p, in->w, l->in.w);
  s->bias = ek_gpu_reserve(p, 4 * blocks), s->mult = ek_gpu_reserve(p, 4 * blocks);
  for (int o = 0; !p->failed && o < l->out.c; o++) {
    if (!int8) {
      memcpy(p->image + s->bias + o, l->bias + 4 * (int64_t)o, 4);
      continue;
    }
    p->image[s->bias + o] = (uint32_t)ek_upconv_bias(l, right, o);
    p->image[s->mult + o] = (uint32_t)ek_upconv_mult(l, right, o);
  }
}

/* The map that layers up to i write: with the border that the next one reads. */
static ek_gpu_map map_for(ek_gpu_plan *p, ek_shape shape, int next, int end) {
  return ek_gpu_new_map(p, shape, next < end ? ek_border(&p->model->layers[next]) : 0, 0);
}

/* The layers at the front that every block does by itself. */
static int alone_until(const ek_gpu_plan *p, int end) {
  const ek_model *m = p->model;
  int64_t weights = 0, words = m->layers[0].out.c;
  int i = 1;
  for (; i + 1 < end && m->layers[i].kind == EK_LINEAR && m->layers[i + 1].kind == EK_LINEAR; i++) {
    weights += ek_layer_weights(&m->layers[i]) * 4 / ek_gpu_per_word(p->type), words += m->layers[i].out.c + 4;
    if (weights > ALONE_WEIGHTS || m->layers[i].out.c > ALONE_OUTPUTS || words > SHARED_WORDS)
      break;
  }
  return end > 1 && m->layers[1].kind == EK_LINEAR && m->layers[0].out.c <= ALONE_OUTPUTS ? i : 0;
}

/* Pushes layer i, and the one behind it where both are one; returns the next. */
static int push_layer(ek_gpu_plan *p, int i, int end, int alone, ek_gpu_map *map) {
  const ek_layer *l = &p->model->layers[i];
  ek_gpu_map in = *map;
  int n = p->head.n_steps, pair = i + 1 < end;
  p->packing = i == 0 && p->type == EK_GPU_INT8 ? EK_GPU_INT16 : p->type;
  if (i < alone) {
    *map = ek_gpu_new_map(p, l->out, 0, 1);
    if (i == 0)
      push_input(p, l, map);
    else
      ek_gpu_push_dot(p, l, &in, map, 0);
    p->steps[n].alone = 1, p->steps[n].after = EK_GPU_BLOCK;
    return i + 1;
  }
  if (pair && (ek_is_upconv(l, l + 1) || (l->kind == EK_LINEAR && l[1].kind == EK_RESHAPE))) {
    *map = map_for(p, l[1].out, i + 2, end);
    if (l->kind == EK_LINEAR)
      ek_gpu_push_dot(p, l, &in, map, 0);
    else
      push_upconv(p, l + 1, &in, map);
    return i + 2;
  }
  *map = map_for(p, l->out, i + 1, end);
  if (i == 0)
    push_input(p, l, map);
  else if (ek_has_weights(l))
    ek_gpu_push_dot(p, l, &in, map, 0);
  else if (l->kind == EK_RESIZE)
    push_resize(p, l, &in, map);
  else
    push_move(p, l, &in, map);
  return i + 1;
}

int ek_gpu_begin(ek_gpu_plan *p, const ek_model *m, int type) {
  memset(p, 0, sizeof *p);
  p->model = m, p->type = p->packing = type;
  p->arena = EK_GPU_SLOTS;
  int columns = (m->width + EK_BLOCK - 1) / EK_BLOCK, rows = (m->height + EK_BLOCK - 1) / EK_BLOCK;
  p->head = (ek_gpu_program){.version = EK_GPU_VERSION, .type = (uint32_t)type, .n_joints = m->n_joints};
  p->head.n_views = m->n_views, p->head.n_maps = m->n_views + m->n_depth;
  p->head.height = m->height, p->head.width = m->width, p->head.tile_rows = rows, p->head.tile_columns = columns;
  p->head.masks_bytes = m->n_views * m->height * columns;
  p->head.results_bytes = m->n_views * rows * columns * (int32_t)sizeof(ek_gpu_tile);
  /* The head and the steps are written last, when all is known. */
  int64_t head = (int64_t)(sizeof(ek_gpu_program) + sizeof(ek_gpu_step) * (size_t)(m->n_layers + 1)) / 4 + 1;
  ek_gpu_reserve(p, head);
  return p->failed ? EK_E_MEMORY : EK_OK;
}

int ek_gpu_end(ek_gpu_plan *p, uint32_t **image) {
  if (p->failed || p->shared > SHARED_WORDS) {
    free(p->image);
    return p->failed ? EK_E_MEMORY : EK_E_UNSUPPORTED;
  }
  p->head.image_words = (uint32_t)p->words, p->head.arena_words = (uint32_t)p->arena;
  p->head.shared_bytes = 4 * (uint32_t)p->shared;
  memcpy(p->image, &p->head, sizeof p->head);
  if (!p->head.body)
    memcpy((char *)p->image + sizeof p->head, p->steps, sizeof *p->steps * p->head.n_steps);
  *image = p->image;
  return EK_OK;
}

static int plan_decoder(ek_gpu_plan *p, const ek_model *m, int type, const void *pixels, uint32_t **image) {
  int status = ek_gpu_begin(p, m, type);
  tail t = tail_of(m);
  int alone = alone_until(p, t.end);
  ek_gpu_map map = {0};
  for (int i = 0; !status && !p->failed && i < t.end;)
    i = push_layer(p, i, t.end, alone, &map);
  if (!status && !p->failed)
    push_score(p, &t, &map);
  if (type == EK_GPU_INT8)
    p->head.pixels = ek_gpu_constants(p, pixels, 512 * 16);
  return ek_gpu_end(p, image);
}

int ek_gpu_plan_decoder(const ek_model *m, int type, const void *pixels, uint32_t **image) {
  ek_gpu_plan *p = malloc(sizeof *p);
  int status = p ? plan_decoder(p, m, type, pixels, image) : EK_E_MEMORY;
  free(p);
  return status;
}
