/* scalar.c - the specification in C: canonical layout, one element at a time, no cleverness. Every other engine is
 * checked against it (INT8: the same bits). */
#include "engine.h"
#include "../core/status.h"
#include <string.h>

typedef struct {
  ek_layer layer;
  const void *in, *weight;
  void *out;
  const void *bias;
  const int32_t *mult;
  const ek_tap *ty, *tx;
  ek_shape before;          /* of an enlarged map that is convolved: its shape before */
  int sum_shift;            /* the same, and: */
  int16_t *mult16, *bias16; /* (out.c) */
} scalar_args;

/* The input row (or column) that kernel place k of output place o sees, or -1: outside, or between two stamps. */
static int source(const ek_layer *l, int o, int k, int size) {
  if (l->kind == EK_LINEAR)
    return 0;
  int i = o + k - l->pad;
  if (l->kind == EK_CONVT) {
    int t = o + l->pad - k;
    if (t < 0 || t % l->stride)
      return -1;
    i = t / l->stride;
  }
  return i >= 0 && i < size ? i : -1;
}

static int8_t requantize(int32_t acc, int32_t mult, int shift, int relu) {
  int64_t y = ((int64_t)acc * mult + (INT64_C(1) << (shift - 1))) >> shift;
  int64_t low = relu ? 0 : -127;
  return (int8_t)(y > 127 ? 127 : y < low ? low : y);
}

/* Sums one output element; `fan` inputs lie `step` elements apart in the input. */
static float sum_fp32(const scalar_args *a, int o, int oy, int ox) {
  const ek_layer *l = &a->layer;
  const float *x = a->in, *w = a->weight;
  int64_t fan = ek_fan_in(l), step = l->kind == EK_LINEAR ? 1 : (int64_t)l->in.h * l->in.w;
  int kernel = l->kind == EK_LINEAR ? 1 : l->kernel;
  int64_t next = fan > 1 ? ek_weight_index(l, o, 1, 0, 0) - ek_weight_index(l, o, 0, 0, 0) : 0;
  float acc = 0;
  for (int ky = 0; ky < kernel; ky++) {
    int y = source(l, oy, ky, l->in.h);
    for (int kx = 0; y >= 0 && kx < kernel; kx++) {
      int px = source(l, ox, kx, l->in.w);
      if (px < 0)
        continue;
      const float *xs = x + (int64_t)y * l->in.w + px, *ws = w + ek_weight_index(l, o, 0, ky, kx);
      for (int64_t i = 0; i < fan; i++)
        acc += xs[i * step] * ws[i * next];
    }
  }
  return acc + ((const float *)a->bias)[o];
}

/* The layer that reads joints, in 16 bits. */
static int32_t sum_joints(const scalar_args *a, int o) {
  const int16_t *x = a->in;
  int32_t acc = ((const int32_t *)a->bias)[o];
  for (int64_t i = 0, fan = ek_fan_in(&a->layer); i < fan; i++)
    acc += x[i] * ((const int8_t *)a->weight)[ek_weight_index(&a->layer, o, i, 0, 0)];
  return acc;
}

static int32_t sum_int8(const scalar_args *a, int o, int oy, int ox) {
  const ek_layer *l = &a->layer;
  const int8_t *x = a->in, *w = a->weight;
  if (l->in_max > 127)
    return sum_joints(a, o);
  int64_t fan = ek_fan_in(l), step = l->kind == EK_LINEAR ? 1 : (int64_t)l->in.h * l->in.w;
  int kernel = l->kind == EK_LINEAR ? 1 : l->kernel;
  int64_t next = fan > 1 ? ek_weight_index(l, o, 1, 0, 0) - ek_weight_index(l, o, 0, 0, 0) : 0;
  int32_t acc = ((const int32_t *)a->bias)[o];
  for (int ky = 0; ky < kernel; ky++) {
    int y = source(l, oy, ky, l->in.h);
    for (int kx = 0; y >= 0 && kx < kernel; kx++) {
      int px = source(l, ox, kx, l->in.w);
      if (px < 0)
        continue;
      const int8_t *xs = x + (int64_t)y * l->in.w + px, *ws = w + ek_weight_index(l, o, 0, ky, kx);
      for (int64_t i = 0; i < fan; i++)
        acc += xs[i * step] * ws[i * next];
    }
  }
  return acc;
}

static void weighted_fp32(const void *args) {
  const scalar_args *a = args;
  float *out = a->out;
  for (int o = 0; o < a->layer.out.c; o++)
    for (int y = 0; y < a->layer.out.h; y++)
      for (int x = 0; x < a->layer.out.w; x++) {
        float v = sum_fp32(a, o, y, x);
        *out++ = a->layer.relu && !(v > 0) ? 0 : v;
      }
}

static void weighted_int8(const void *args) {
  const scalar_args *a = args;
  int8_t *out = a->out;
  for (int o = 0; o < a->layer.out.c; o++)
    for (int y = 0; y < a->layer.out.h; y++)
      for (int x = 0; x < a->layer.out.w; x++)
        *out++ = requantize(sum_int8(a, o, y, x), a->mult[o], a->layer.shift, a->layer.relu);
}

static void resize_fp32(const void *args) {
  const scalar_args *a = args;
  ek_shape i = a->layer.in, o = a->layer.out;
  float *out = a->out;
  for (int c = 0; c < o.c; c++)
    for (int y = 0; y < o.h; y++)
      for (int x = 0; x < o.w; x++) {
        const float *p = (const float *)a->in + (int64_t)c * i.h * i.w;
        const float *r0 = p + (int64_t)a->ty[y].first * i.w, *r1 = p + (int64_t)a->ty[y].second * i.w;
        float fy = a->ty[y].fraction, fx = a->tx[x].fraction;
        float left = r0[a->tx[x].first] * (1 - fy) + r1[a->tx[x].first] * fy;
        float right = r0[a->tx[x].second] * (1 - fy) + r1[a->tx[x].second] * fy;
        *out++ = left * (1 - fx) + right * fx;
      }
}

static void resize_int8(const void *args) {
  const scalar_args *a = args;
  ek_shape i = a->layer.in, o = a->layer.out;
  int8_t *out = a->out;
  for (int c = 0; c < o.c; c++)
    for (int y = 0; y < o.h; y++)
      for (int x = 0; x < o.w; x++) {
        const int8_t *p = (const int8_t *)a->in + (int64_t)c * i.h * i.w;
        const int8_t *r0 = p + (int64_t)a->ty[y].first * i.w, *r1 = p + (int64_t)a->ty[y].second * i.w;
        int wy = a->ty[y].weight, wx = a->tx[x].weight;
        int upper = r0[a->tx[x].first] * (256 - wx) + r0[a->tx[x].second] * wx;
        int lower = r1[a->tx[x].first] * (256 - wx) + r1[a->tx[x].second] * wx;
        *out++ = (int8_t)((upper * (256 - wy) + lower * wy + (1 << 15)) >> 16);
      }
}

/* ---- a 3x3 convolution of an enlarged map: per kernel place, sums over the channels before the map is enlarged
 * ----- */

static int32_t stamp(const scalar_args *a, int o, int ky, int kx, int y, int x) {
  ek_shape s = a->before;
  const int8_t *in = (const int8_t *)a->in + (int64_t)y * s.w + x;
  int32_t sum = 0;
  for (int c = 0; c < s.c; c++)
    sum += in[(int64_t)c * s.h * s.w] * ((const int8_t *)a->weight)[ek_weight_index(&a->layer, o, c, ky, kx)];
  return (sum + (1 << a->sum_shift >> 1)) >> a->sum_shift;
}

/* (x * y + 2^14) >> 15. */
static int32_t scaled(int32_t x, int32_t y) {
  return (x * y + (1 << 14)) >> 15;
}

static int32_t between(int32_t a, int32_t b, float fraction) {
  return a + scaled(b - a, ek_upconv_fraction(fraction));
}

/* Row y of the input, enlarged along x and summed over the kernel's columns. */
static int32_t along_x(const scalar_args *a, int o, int ky, int y, int x) {
  int32_t sum = 0;
  for (int kx = 0; kx < 3; kx++) {
    if (x + kx < 1 || x + kx > a->layer.out.w)
      continue;
    ek_tap t = a->tx[x + kx - 1];
    sum += between(stamp(a, o, ky, kx, y, t.first), stamp(a, o, ky, kx, y, t.second), t.fraction);
  }
  return sum;
}

static int32_t along_y(const scalar_args *a, int o, int y, int x) {
  int32_t sum = 0;
  for (int ky = 0; ky < 3; ky++) {
    if (y + ky < 1 || y + ky > a->layer.out.h)
      continue;
    ek_tap t = a->ty[y + ky - 1];
    sum += between(along_x(a, o, ky, t.first, x), along_x(a, o, ky, t.second, x), t.fraction);
  }
  return sum;
}

static int32_t saturated(int32_t x) {
  return x > INT16_MAX ? INT16_MAX : x < INT16_MIN ? INT16_MIN : x;
}

static int8_t clipped(int32_t y, int relu) {
  int low = relu ? 0 : -127;
  return (int8_t)(y > 127 ? 127 : y < low ? low : y);
}

static void upconv_int8(const void *args) {
  const scalar_args *a = args;
  int8_t *out = a->out;
  for (int o = 0; o < a->layer.out.c; o++)
    for (int y = 0; y < a->layer.out.h; y++)
      for (int x = 0; x < a->layer.out.w; x++)
        *out++ = clipped(scaled(saturated(along_y(a, o, y, x) + a->bias16[o]), a->mult16[o]), a->layer.relu);
}

static ek_map planar(void *data, ek_shape s) {
  return (ek_map){data, s, s.h * s.w, 1, s.w};
}

static const void *keep(ek_engine *e, const uint8_t *data, int64_t bytes) {
  void *copy = ek_pool(e, bytes);
  if (copy && data)
    memcpy(copy, data, (size_t)bytes);
  return copy;
}

static int add_taps(ek_engine *e, scalar_args *a, const ek_layer *resize) {
  a->ty = ek_resize_taps(e, resize->in.h, resize->out.h);
  a->tx = ek_resize_taps(e, resize->in.w, resize->out.w);
  return a->ty && a->tx ? EK_OK : EK_E_MEMORY;
}

/* resize: of the map before, where both are one operation, else NULL. */
static int push_weighted(ek_engine *e, const ek_layer *l, const ek_layer *resize, const void *in, void *out) {
  int int8 = e->info.precision == EK_PRECISION_INT8;
  int kernel = l->kind == EK_LINEAR ? 1 : l->kernel;
  int64_t n = l->out.c * ek_fan_in(l) * kernel * kernel;
  scalar_args *a = ek_pool(e, sizeof *a);
  if (!a)
    return EK_E_MEMORY;
  *a = (scalar_args){.layer = *l, .in = in, .out = out};
  a->weight = keep(e, l->weight, int8 ? n : 4 * n);
  a->bias = keep(e, l->bias, 4 * (int64_t)l->out.c);
  a->mult = keep(e, l->mult, int8 ? 4 * (int64_t)l->out.c : 0);
  if (!a->weight || !a->bias || !a->mult)
    return EK_E_MEMORY;
  if (!resize)
    return ek_push(e, int8 ? weighted_int8 : weighted_fp32, a);
  a->before = resize->in;
  a->sum_shift = ek_upconv_shift(l);
  a->mult16 = ek_pool(e, 2 * (int64_t)l->out.c);
  a->bias16 = ek_pool(e, 2 * (int64_t)l->out.c);
  if (!a->mult16 || !a->bias16)
    return EK_E_MEMORY;
  for (int o = 0; o < l->out.c; o++)
    a->mult16[o] = ek_upconv_mult(l, a->sum_shift, o), a->bias16[o] = ek_upconv_bias(l, a->sum_shift, o);
  return add_taps(e, a, resize) ? EK_E_MEMORY : ek_push(e, upconv_int8, a);
}

static int push_resize(ek_engine *e, const ek_layer *l, const void *in, void *out) {
  scalar_args *a = ek_pool(e, sizeof *a);
  if (!a)
    return EK_E_MEMORY;
  *a = (scalar_args){.layer = *l, .in = in, .out = out};
  return add_taps(e, a, l) ? EK_E_MEMORY
                           : ek_push(e, e->info.precision == EK_PRECISION_INT8 ? resize_int8 : resize_fp32, a);
}

static int push_move(ek_engine *e, const ek_layer *l, void *in, void *out, int bytes) {
  ek_move *m = ek_pool(e, sizeof *m);
  if (!m)
    return EK_E_MEMORY;
  *m = (ek_move){planar(in, l->in), planar(out, l->out), bytes, l->factor};
  return ek_push(e, l->kind == EK_CROP ? ek_move_copy : l->kind == EK_RESHAPE ? ek_move_reshape : ek_move_shuffle, m);
}

int ek_plan_scalar(ek_engine *e, const ek_model *m) {
  int bytes = m->precision == EK_PRECISION_INT8 ? 1 : 4;
  void *in = NULL;
  for (int i = 0; i < m->n_layers; i++) {
    const ek_layer *l = &m->layers[i];
    e->planning = i;
    /* The specification has both as one operation; in FP32 they only differ by rounding. */
    if (bytes == 1 && i + 1 < m->n_layers && ek_is_upconv(l, l + 1))
      continue;
    const ek_layer *resize = bytes == 1 && i > 0 && ek_is_upconv(l - 1, l) ? l - 1 : NULL;
    void *out = ek_pool(e, ek_elements(l->out) * (i ? bytes : ek_input_bytes(m)));
    if (!out)
      return EK_E_MEMORY;
    int status = ek_has_weights(l)      ? push_weighted(e, l, resize, in, out)
                 : l->kind == EK_RESIZE ? push_resize(e, l, in, out)
                 : i == 0               ? ek_push_input(e, l, out)
                                        : push_move(e, l, in, out, bytes);
    if (status)
      return status;
    in = out;
    e->logits = planar(out, l->out);
  }
  return EK_OK;
}
