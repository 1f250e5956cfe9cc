/* blob.h - weight files with random weights for the C tests: from a list of layers, or with random layers. */
#ifndef EK_TESTS_BLOB_H
#define EK_TESTS_BLOB_H
#include "native/model.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

enum { HEADER = 64, RECORD = 128, CAPACITY = 1 << 20 };

static uint64_t rnd_state = 88172645463325252u;
static inline uint32_t rnd(void) { /* xorshift64* */
  rnd_state ^= rnd_state >> 12, rnd_state ^= rnd_state << 25, rnd_state ^= rnd_state >> 27;
  return (uint32_t)((rnd_state * UINT64_C(2685821657736338717)) >> 32);
}
/* From low to high, both included. */
static inline int between(int low, int high) {
  return low + (int)(rnd() % (uint32_t)(high - low + 1));
}

typedef struct {
  int kind, relu, out[3], kernel, stride, pad, factor;
} spec;

typedef struct {
  int joints, n_layers, shift;
  spec layers[EK_MAX_LAYERS];
} net;

static inline void put32(uint8_t *p, uint32_t v) {
  memcpy(p, &v, 4);
}
static inline void put64(uint8_t *p, uint64_t v) {
  memcpy(p, &v, 8);
}
static inline void putf(uint8_t *p, float v) {
  memcpy(p, &v, 4);
}

static inline void seal(uint8_t *blob, size_t bytes) {
  put32(blob + 40, 0);
  put32(blob + 40, ek_crc32(0, blob, bytes));
}

static inline size_t add_block(size_t at, uint8_t *record, size_t bytes) {
  put64(record, at);
  put64(record + 8, bytes);
  return (at + bytes + 63) / 64 * 64;
}

/* fan: products of one output. A bias below zero makes a ReLU's outputs sparse. */
static inline size_t add_weights(uint8_t *blob, size_t at, uint8_t *r, int int8, size_t n, int out, int fan,
                                 int shift) {
  size_t w = at, b = add_block(at, r + 64, int8 ? n : 4 * n);
  size_t m = add_block(b, r + 80, 4 * (size_t)out), end = int8 ? add_block(m, r + 96, 4 * (size_t)out) : m;
  double spread = 4000 * sqrt(fan), scale = 60 / spread * ldexp(1, shift), offset = between(-150, 50) / 100.0;
  for (size_t i = 0; i < n; i++) {
    int v = between(-127, 127);
    if (int8)
      blob[w + i] = (uint8_t)(int8_t)v;
    else
      putf(blob + w + 4 * i, 2.0f / sqrtf((float)fan) * (float)v / 127.0f);
  }
  for (int i = 0; i < out; i++) {
    double v = offset + between(-1000, 1000) / 1000.0;
    if (int8)
      put32(blob + b + 4 * (size_t)i, (uint32_t)(int32_t)(v * spread)),
          put32(blob + m + 4 * (size_t)i, (uint32_t)(scale * between(50, 150) / 100) + 1);
    else
      putf(blob + b + 4 * (size_t)i, (float)v);
  }
  return end;
}

static inline int is_weighted(const spec *s) {
  return s->kind == EK_LINEAR || s->kind == EK_CONV || s->kind == EK_CONVT;
}

static inline size_t build(uint8_t *blob, int int8, const net *n) {
  const int *size = n->layers[n->n_layers - 1].out;
  memset(blob, 0, CAPACITY);
  memcpy(blob, "EKW1", 4);
  const int head[7] = {2, int8, n->joints, size[0], size[1], size[2], n->n_layers};
  for (int i = 0; i < 7; i++)
    put32(blob + 4 + 4 * i, (uint32_t)head[i]);
  size_t at = HEADER + (size_t)n->n_layers * RECORD;
  int in[3] = {n->joints, 1, 1};
  float scale = 1.0f;
  for (int i = 0; i < n->n_layers; i++) {
    uint8_t *r = blob + HEADER + i * RECORD;
    const spec *s = &n->layers[i];
    const int words[12] = {s->kind,   s->relu,   in[0],     in[1],     in[2],  s->out[0],
                           s->out[1], s->out[2], s->kernel, s->stride, s->pad, s->factor};
    for (int k = 0; k < 12; k++)
      put32(r + 4 * k, (uint32_t)words[k]);
    float next = i == 0 ? (float)(1.0 / 32767.0) : is_weighted(s) ? 0.02f : scale;
    if (int8)
      putf(r + 48, scale), putf(r + 52, next), put32(r + 56, is_weighted(s) ? (uint32_t)n->shift : 0);
    if (is_weighted(s)) {
      int k = s->kind == EK_LINEAR ? 1 : s->kernel;
      int fan = (s->kind == EK_LINEAR ? in[0] * in[1] * in[2] : in[0]) * k * k;
      at = add_weights(blob, at, r, int8, (size_t)fan * (size_t)s->out[0], s->out[0], fan, n->shift);
    }
    scale = next;
    memcpy(in, s->out, sizeof in);
  }
  put64(blob + 32, at);
  seal(blob, at);
  return at;
}

/* A layer that takes (c, h, w); c <= 20. */
static inline spec random_layer(int c, int h, int w) {
  spec s = {.kind = EK_CROP, .out = {c, between(1, h), between(1, w)}};
  int k = between(1, 4), out = between(1, 20), relu = between(0, 2) > 0;
  switch (between(0, 7)) {
  case 0:
    s = (spec){.kind = EK_RESIZE, .out = {c, between(1, 20), between(1, 20)}};
    break;
  case 1:
    if (c % 4 == 0 && h < 20 && w < 20)
      s = (spec){.kind = EK_PIXEL_SHUFFLE, .out = {c / 4, 2 * h, 2 * w}, .factor = 2};
    break;
  case 2: {
    int stride = between(1, 3), pad = between(0, k / 2), nh = (h - 1) * stride - 2 * pad + k,
        nw = (w - 1) * stride - 2 * pad + k;
    if (nh > 0 && nw > 0 && nh < 50 && nw < 50)
      s = (spec){EK_CONVT, relu, {out, nh, nw}, k, stride, pad, 0};
    break;
  }
  case 3:
    break;
  default: { /* half of them convolutions, and half of those 3 x 3 */
    k = between(0, 1) ? 3 : k;
    int pad = between(k / 2, k - 1), nh = h + 2 * pad - k + 1, nw = w + 2 * pad - k + 1;
    s = (spec){EK_CONV, relu, {out, nh, nw}, k, 1, pad, 0};
  }
  }
  return s;
}

/* Linear layers, a map, layers over it, and a head of at most four views. */
static inline net random_net(void) {
  net n = {.joints = between(1, 6), .shift = between(0, 2) ? 32 : between(12, 31)};
  spec *s = n.layers;
  int c = between(1, 20), h = between(1, 7), w = between(1, 7);
  *s++ = between(0, 3) ? (spec){.kind = EK_SINCOS, .out = {2 * n.joints, 1, 1}}
                       : (spec){.kind = EK_JOINTS, .out = {n.joints, 1, 1}};
  for (int i = between(0, 2); i > 0; i--)
    *s++ = (spec){.kind = EK_LINEAR, .relu = between(0, 3) > 0, .out = {between(1, 150), 1, 1}};
  *s++ = (spec){.kind = EK_LINEAR, .relu = between(0, 3) > 0, .out = {c * h * w, 1, 1}};
  *s++ = (spec){.kind = EK_RESHAPE, .out = {c, h, w}};
  for (int i = between(0, 3); i > 0; i--) {
    *s = random_layer(c, h, w);
    c = s->out[0], h = s->out[1], w = s->out[2];
    s++;
  }
  if (c > 4)
    *s++ = (spec){EK_CONV, 0, {between(1, 4), h, w}, 1, 1, 0, 0};
  n.n_layers = (int)(s - n.layers);
  return n;
}

#endif
