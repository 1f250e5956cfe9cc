/* dot.c - packs the weights of linear layers and convolutions: four outputs of a block side by side for every word of
 * the input, so that neighbouring threads read neighbouring 16 bytes. */
#include "half.h"
#include "plan.h"
#include "../core/status.h"
#include <stdlib.h>
#include <string.h>

enum {
  MIN_LANES = 4, /* threads that share an item: a block of four outputs is folded into four of them */
  MAX_LANES = 32,
  ENOUGH_THREADS = 1 << 16 /* more do not run at once on any GPU that this is for */
};

/* Where one place of the kernel (or one pixel that a linear layer reads) lies. */
typedef struct {
  int32_t offset; /* words from the input pixel of output pixel (0, 0) */
  int32_t ky, kx;
  int64_t pixel; /* linear: its index in the picture */
} tap;

typedef struct {
  ek_gpu_plan *plan;
  const ek_layer *layer;
  const ek_gpu_map *in, *out;
  int stamp;
  tap *taps;
  int n_taps, words;         /* words of a pixel that hold channels */
  int32_t *channel;          /* (4 n_blocks) of the layer, -1: none */
  int32_t *offset, n_blocks; /* (n_blocks) */
  ek_gpu_phase *phases;
  int n_phases;
} pack;

void ek_gpu_put_weight(ek_gpu_plan *p, int64_t at, int64_t element, const ek_layer *l, int64_t index) {
  char *words = (char *)(p->image + at);
  float value;
  uint16_t half;
  switch (p->packing) {
  case EK_GPU_INT16:
    half = (uint16_t)(int8_t)l->weight[index];
    memcpy(words + 2 * element, &half, 2);
    break;
  case EK_GPU_INT8:
    words[element] = (char)l->weight[index];
    break;
  case EK_GPU_FP16:
    memcpy(&value, l->weight + 4 * index, 4);
    half = ek_half_of(value);
    memcpy(words + 2 * element, &half, 2);
    break;
  default:
    memcpy(words + 4 * element, l->weight + 4 * index, 4);
  }
}

int32_t ek_gpu_channels(ek_gpu_plan *p, const uint8_t *values, const int32_t *channel, int n) {
  int32_t at = ek_gpu_reserve(p, n);
  for (int i = 0; at && values && i < n; i++)
    if (channel[i] >= 0)
      memcpy(p->image + at + i, values + 4 * (int64_t)channel[i], 4);
  return at;
}

/* Floor division for a possibly negative numerator. */
static int floor_div(int a, int b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

/* The places of the kernel that output phase (py, px) of a transposed convolution sees. */
static void phase_taps(pack *k, int py, int px) {
  const ek_layer *l = k->layer;
  int s = l->stride;
  k->n_taps = 0;
  for (int ky = 0; ky < l->kernel; ky++)
    for (int kx = 0; kx < l->kernel; kx++) {
      int y = py + l->pad - ky, x = px + l->pad - kx, dy = floor_div(y, s), dx = floor_div(x, s);
      if (dy * s == y && dx * s == x)
        k->taps[k->n_taps++] = (tap){dy * k->in->row + dx * k->in->pixel, ky, kx, 0};
    }
}

static void window_taps(pack *k) {
  const ek_layer *l = k->layer;
  int linear = l->kind == EK_LINEAR, h = linear ? l->in.h : l->kernel, w = linear ? l->in.w : l->kernel;
  int pad = linear ? 0 : l->pad;
  k->n_taps = 0;
  if (k->stamp) {
    k->taps[k->n_taps++] = (tap){0}; /* the place of the kernel is that of the output */
    return;
  }
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++)
      k->taps[k->n_taps++] = (tap){(y - pad) * k->in->row + (x - pad) * k->in->pixel, y, x, (int64_t)y * l->in.w + x};
}

/* Which channel each packed output is, and where its block goes. */
static void place_outputs(pack *k) {
  const ek_gpu_map *o = k->out;
  const ek_layer *l = k->layer;
  int linear = l->kind == EK_LINEAR, h = linear ? o->h : 1, w = linear ? o->w : 1, b = 0;
  int per_block = ek_gpu_per_block(k->plan->type);
  for (int place = 0; k->stamp && place < 9; place++)
    for (int c = 0; c < l->out.c; c += 4, b++) {
      k->offset[b] = b * (per_block == 1 ? 2 : 4);
      for (int i = 0; i < 4; i++)
        k->channel[4 * b + i] = c + i < l->out.c ? c + i : -1;
    }
  for (int y = 0; !k->stamp && y < h; y++)
    for (int x = 0; x < w; x++)
      for (int c = 0; c < o->c; c += 4, b++) {
        k->offset[b] = y * o->row + x * o->pixel + c / 4 * per_block;
        for (int i = 0; i < 4; i++)
          k->channel[4 * b + i] = c + i < o->c ? ((c + i) * h + y) * w + x : -1;
      }
  k->n_blocks = b;
}

/* One word of the input times one output. */
static void pack_word(const pack *k, int64_t at, int block, int output, const tap *t, int word) {
  const ek_layer *l = k->layer;
  int per_word = ek_gpu_per_word(k->plan->packing), ky = t->ky, kx = t->kx;
  if (k->stamp) {
    int place = block / ((l->out.c + 3) / 4);
    ky = place / 3, kx = place % 3;
  }
  for (int i = 0; i < per_word && word * per_word + i < l->in.c; i++) {
    int64_t c = word * per_word + i;
    int64_t input = l->kind == EK_LINEAR ? c * l->in.h * l->in.w + t->pixel : c;
    ek_gpu_put_weight(k->plan, at, i, l, ek_weight_index(l, output, input, ky, kx));
  }
}

/* Packs the taps as they are now as one phase with its upper left output pixel at (y, x). */
static void push_phase(pack *k, int y, int x, int rows, int cols) {
  ek_gpu_plan *p = k->plan;
  int n = k->n_taps * k->words;
  const ek_gpu_phase *before = k->n_phases ? &k->phases[k->n_phases - 1] : NULL;
  ek_gpu_phase f = {.n_places = n, .cols = cols, .pixels = rows * cols};
  f.first_item = before ? before->first_item + before->pixels * k->n_blocks : 0;
  f.out = y * k->out->row + x * k->out->pixel;
  f.places = ek_gpu_reserve(p, n), f.weights = ek_gpu_reserve(p, (int64_t)n * k->n_blocks * 4);
  for (int i = 0; !p->failed && i < n; i++)
    p->image[f.places + i] = (uint32_t)(k->taps[i / k->words].offset + i % k->words);
  for (int b = 0; b < k->n_blocks; b++)
    for (int64_t i = 0; !p->failed && i < n; i++)
      for (int j = 0; j < 4; j++)
        if (k->channel[4 * b + j] >= 0)
          pack_word(k, f.weights + (b * (int64_t)n + i) * 4 + j, b, k->channel[4 * b + j], &k->taps[i / k->words],
                    (int)(i % k->words));
  k->phases[k->n_phases++] = f;
}

static void push_phases(pack *k) {
  const ek_layer *l = k->layer;
  int s = l->stride;
  for (int py = 0; py < s && py < l->out.h; py++)
    for (int px = 0; px < s && px < l->out.w; px++) {
      phase_taps(k, py, px);
      push_phase(k, py, px, (l->out.h - py + s - 1) / s, (l->out.w - px + s - 1) / s);
    }
}

static int lanes_for(const pack *k, int64_t items) {
  int places = 1, lanes = MIN_LANES;
  for (int i = 0; i < k->n_phases; i++)
    places = k->phases[i].n_places > places ? k->phases[i].n_places : places;
  while (lanes < MAX_LANES && 2 * lanes <= places && 2 * lanes * items <= ENOUGH_THREADS)
    lanes *= 2;
  return lanes;
}

static void push_step(pack *k) {
  ek_gpu_plan *p = k->plan;
  const ek_layer *l = k->layer;
  int s = l->kind == EK_CONVT ? l->stride : 1;
  place_outputs(k);
  if (l->kind == EK_CONVT) {
    push_phases(k);
  } else {
    window_taps(k);
    push_phase(k, 0, 0, l->kind == EK_LINEAR ? 1 : k->out->h, l->kind == EK_LINEAR ? 1 : k->out->w);
  }
  const ek_gpu_phase *last = &k->phases[k->n_phases - 1];
  int64_t items = last->first_item + (int64_t)last->pixels * k->n_blocks;
  int kind = p->packing == EK_GPU_INT16 ? EK_GPU_JOINTS_DOT : k->stamp ? EK_GPU_STAMP : EK_GPU_DOT;
  ek_gpu_step *step = ek_gpu_push(p, kind, items);
  step->in = *k->in, step->out = *k->out, step->relu = l->relu, step->shift = l->shift;
  step->n_blocks = k->n_blocks, step->lanes = lanes_for(k, items);
  step->n_phases = k->n_phases;
  step->phases = ek_gpu_constants(p, k->phases, (int64_t)sizeof *k->phases * k->n_phases);
  step->offsets = ek_gpu_constants(p, k->offset, 4 * (int64_t)k->n_blocks);
  step->bias = ek_gpu_channels(p, l->bias, k->channel, 4 * k->n_blocks);
  step->mult = ek_gpu_channels(p, l->mult, k->channel, 4 * k->n_blocks);
  step->out_pixel = s * k->out->pixel, step->out_row = s * k->out->row;
}

void ek_gpu_push_dot(ek_gpu_plan *p, const ek_layer *l, const ek_gpu_map *in, const ek_gpu_map *out, int stamp) {
  p->packing = p->type == EK_GPU_INT8 && l->in_max > 127 ? EK_GPU_INT16 : p->type;
  int linear = l->kind == EK_LINEAR, per_word = ek_gpu_per_word(p->packing);
  int64_t taps = linear ? (int64_t)l->in.h * l->in.w : (int64_t)l->kernel * l->kernel;
  int64_t blocks = stamp ? 9 * ((l->out.c + 3) / 4) : (out->c + 3) / 4 * (linear ? (int64_t)out->h * out->w : 1);
  int64_t phases = l->kind == EK_CONVT ? (int64_t)l->stride * l->stride : 1;
  pack k = {.plan = p, .layer = l, .in = in, .out = out, .stamp = stamp, .words = (l->in.c + per_word - 1) / per_word};
  k.taps = malloc(sizeof *k.taps * (size_t)taps);
  k.channel = malloc(sizeof *k.channel * 4 * (size_t)blocks);
  k.offset = malloc(sizeof *k.offset * (size_t)blocks);
  k.phases = calloc((size_t)phases, sizeof *k.phases);
  if (k.taps && k.channel && k.offset && k.phases)
    push_step(&k);
  else
    p->failed = 1, ek_gpu_push(p, EK_GPU_DOT, 1);
  p->packing = p->type;
  free(k.taps), free(k.channel), free(k.offset), free(k.phases);
}
