/* model.h - a weight file after validation: plain descriptions that point into the file (docs/formats.md). */
#ifndef EK_NATIVE_MODEL_H
#define EK_NATIVE_MODEL_H

#include <stddef.h>
#include <stdint.h>

#define EK_MAX_LAYERS 64
#define EK_MAX_SIDE 4096          /* height, width of any feature map */
#define EK_MAX_CHANNELS (1 << 22) /* a vector is all channels */
#define EK_MAX_ELEMENTS (1 << 22) /* of one feature map: 16 MiB in float */
#define EK_MAX_WEIGHTS (1 << 28)  /* of one layer */
#define EK_JOINT_MAX 32767        /* INT8: of what the first linear layer reads */
#define EK_MAX_KERNEL 15
#define EK_MAX_STRIDE 8
#define EK_MAX_FACTOR 16

typedef enum {
  EK_SINCOS,
  EK_LINEAR,
  EK_RESHAPE,
  EK_CONV,
  EK_CONVT,
  EK_PIXEL_SHUFFLE,
  EK_RESIZE,
  EK_CROP,
  EK_JOINTS,
  EK_ELLIPSOIDS, /* the whole of a body model: engines/splat */
  EK_KIND_COUNT
} ek_kind;

typedef struct {
  int c, h, w;
} ek_shape;

typedef struct {
  ek_kind kind;
  int relu;
  ek_shape in, out;
  int kernel, stride, pad, factor;
  float in_scale, out_scale; /* INT8 only */
  int shift;                 /* INT8 only, 1..32 */
  int in_max;                /* INT8 only: magnitude of an input; joints come in 16 bits */
  /* Into the file, canonical order, not necessarily aligned for the type: read by memcpy. NULL without weights. */
  const uint8_t *weight; /* linear (out, in), conv (out, in, k, k), convt (in, out, k, k): float or int8 */
  const uint8_t *bias;   /* (out) float or int32 */
  const uint8_t *mult;   /* (out) int32, INT8 only */
  int64_t weight_bytes;  /* of ellipsoids, whose block is checked by engines/splat/weights.c */
} ek_layer;

typedef struct {
  int precision, n_joints, n_views, height, width, n_layers;
  int n_depth;                    /* depth maps behind the logits: n_views or 0 */
  float depth_offset, depth_unit; /* m = offset + unit * number */
  int64_t parameters, macs;
  ek_layer layers[EK_MAX_LAYERS];
} ek_model;

static inline int64_t ek_elements(ek_shape s) {
  return (int64_t)s.c * s.h * s.w;
}
/* An element of what the first layer makes of the joints. */
static inline int ek_input_bytes(const ek_model *m) {
  return m->precision ? 2 : 4;
}
static inline int ek_has_weights(const ek_layer *l) {
  return l->kind == EK_LINEAR || l->kind == EK_CONV || l->kind == EK_CONVT;
}
/* Inputs that one output channel sees at one position of the kernel. */
static inline int64_t ek_fan_in(const ek_layer *l) {
  return l->kind == EK_LINEAR ? ek_elements(l->in) : l->in.c;
}

static inline int64_t ek_layer_weights(const ek_layer *l) {
  int64_t window = l->kind == EK_LINEAR ? 1 : (int64_t)l->kernel * l->kernel;
  return ek_has_weights(l) ? l->out.c * ek_fan_in(l) * window : 0;
}
static inline int64_t ek_layer_macs(const ek_layer *l) {
  ek_shape at = l->kind == EK_CONVT ? l->in : l->out;
  return ek_layer_weights(l) * (l->kind == EK_LINEAR ? 1 : (int64_t)at.h * at.w);
}

/* How far outside its input picture a layer reads. */
static inline int ek_border(const ek_layer *l) {
  if (l->kind == EK_CONV)
    return l->pad;
  if (l->kind != EK_CONVT)
    return 0;
  /* Output o sees inputs (o + pad - k) / stride for k in [0, kernel). */
  int before = (l->kernel - 1 - l->pad) / l->stride + 1, largest = (l->out.h - 1 + l->pad) / l->stride - (l->in.h - 1);
  int wide = (l->out.w - 1 + l->pad) / l->stride - (l->in.w - 1);
  before = before > 0 ? before : 0;
  largest = largest > wide ? largest : wide;
  return before > largest ? before : largest;
}

/* A 3x3 convolution of a map that was enlarged at least twice along both axes. Both are linear, so the engines convolve
 * first, where there are fewer pixels: docs/formats.md. */
static inline int ek_is_upconv(const ek_layer *resize, const ek_layer *conv) {
  return resize->kind == EK_RESIZE && conv->kind == EK_CONV && conv->kernel == 3 && conv->pad == 1 &&
         conv->in.c <= 128 && resize->out.h >= 2 * resize->in.h && resize->out.w >= 2 * resize->in.w;
}

/* Its INT8 arithmetic is in 16 bits (docs/formats.md): by how much the sums over the channels are shifted, and what a
 * channel is then multiplied with, in 1/2^15, and begins at. */
int ek_upconv_shift(const ek_layer *conv);
int16_t ek_upconv_mult(const ek_layer *conv, int sum_shift, int channel);
int16_t ek_upconv_bias(const ek_layer *conv, int sum_shift, int channel);
/* The fraction of a tap in 1/2^15. */
static inline int ek_upconv_fraction(float fraction) {
  int f = (int)(fraction * 32768.0f + 0.5f);
  return f < INT16_MAX ? f : INT16_MAX;
}

/* Index in the canonical weight order; linear has ky = kx = 0. */
static inline int64_t ek_weight_index(const ek_layer *l, int64_t o, int64_t i, int ky, int kx) {
  if (l->kind == EK_LINEAR)
    return o * ek_fan_in(l) + i;
  int64_t row = l->kind == EK_CONV ? o * l->in.c + i : i * l->out.c + o;
  return (row * l->kernel + ky) * l->kernel + kx;
}

/* Checks every size, offset and value of the file; what it accepts, every kernel can run. 0 or a negative ek_status. */
int ek_model_parse(const uint8_t *blob, size_t bytes, ek_model *model);
uint32_t ek_crc32(uint32_t crc, const uint8_t *data, size_t bytes); /* zlib's */

#endif
