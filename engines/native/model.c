/* model.c - reads and validates a weight file. Nothing here trusts a number of the file before it is checked. */
#include "model.h"
#include "../core/status.h"
#include "edgekin.h"
#include <math.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weight files are little-endian"
#endif

/* Nine of these, and what rounding adds, stay inside 16 bits. */
enum { EK_STAMP_LIMIT = 3630 };

enum { HEADER = 64, RECORD = 128, CRC_AT = 40, DEPTH_AT = 44, VERSION = 2, ALIGN = 64 };

static uint32_t u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint64_t u64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static int32_t i32(const uint8_t *p) {
  return (int32_t)u32(p);
}

static float f32(const uint8_t *p) {
  float v;
  memcpy(&v, p, sizeof v);
  return v;
}

uint32_t ek_crc32(uint32_t crc, const uint8_t *data, size_t bytes) {
  uint32_t table[256];
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int k = 0; k < 8; k++)
      c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
    table[i] = c;
  }
  crc = ~crc;
  for (size_t i = 0; i < bytes; i++)
    crc = table[(crc ^ data[i]) & 255] ^ (crc >> 8);
  return ~crc;
}

static int all_zero(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (p[i])
      return 0;
  return 1;
}

static int read_int(const uint8_t *p, uint32_t low, uint32_t high, int *out) {
  uint32_t v = u32(p);
  *out = (int)v;
  return v >= low && v <= high ? EK_OK : EK_E_FORMAT;
}

static int read_shape(const uint8_t *p, ek_shape *s) {
  if (read_int(p, 1, EK_MAX_CHANNELS, &s->c) || read_int(p + 4, 1, EK_MAX_SIDE, &s->h) ||
      read_int(p + 8, 1, EK_MAX_SIDE, &s->w))
    return EK_E_FORMAT;
  return ek_elements(*s) <= EK_MAX_ELEMENTS ? EK_OK : EK_E_FORMAT;
}

/* One data block: its exact size is known, so only its place is read. */
static int read_block(const uint8_t *blob, size_t bytes, const uint8_t *record, int64_t expected, const uint8_t **out) {
  uint64_t offset = u64(record), size = u64(record + 8);
  *out = NULL;
  if (size != (uint64_t)expected)
    return EK_E_FORMAT;
  if (expected == 0)
    return offset == 0 ? EK_OK : EK_E_FORMAT;
  if (offset % ALIGN || offset > bytes || size > bytes - offset)
    return EK_E_FORMAT;
  *out = blob + offset;
  return EK_OK;
}

static int same(ek_shape a, ek_shape b) {
  return a.c == b.c && a.h == b.h && a.w == b.w;
}

/* Does the output shape follow from the input shape and the attributes? Unused attributes must be zero. */
static int check_shape(const ek_layer *l) {
  ek_shape i = l->in, o = l->out;
  int window = l->kind == EK_CONV || l->kind == EK_CONVT;
  if (window ? l->kernel < 1 || l->stride < 1 : l->kernel || l->stride || l->pad)
    return EK_E_FORMAT;
  if ((l->kind == EK_PIXEL_SHUFFLE) != (l->factor > 0) || (l->relu && !ek_has_weights(l)))
    return EK_E_FORMAT;
  int f = l->factor, s = l->stride, k = l->kernel, p = l->pad, ok = 0;
  switch (l->kind) {
  case EK_SINCOS:
    ok = o.c == 2 * i.c && i.h == 1 && i.w == 1 && o.h == 1 && o.w == 1;
    break;
  case EK_JOINTS:
    ok = same(i, o) && o.h == 1 && o.w == 1;
    break;
  case EK_LINEAR:
    ok = o.h == 1 && o.w == 1;
    break;
  case EK_ELLIPSOIDS:
    ok = i.h == 1 && i.w == 1;
    break;
  case EK_RESHAPE:
    ok = ek_elements(i) == ek_elements(o);
    break;
  case EK_CONV:
    ok = s == 1 && o.h == i.h + 2 * p - k + 1 && o.w == i.w + 2 * p - k + 1;
    break;
  case EK_CONVT:
    ok = o.h == (i.h - 1) * s - 2 * p + k && o.w == (i.w - 1) * s - 2 * p + k;
    break;
  case EK_PIXEL_SHUFFLE:
    ok = (int64_t)o.c * f * f == i.c && o.h == i.h * f && o.w == i.w * f;
    break;
  case EK_RESIZE:
    ok = o.c == i.c;
    break;
  case EK_CROP:
    ok = o.c == i.c && o.h <= i.h && o.w <= i.w;
    break;
  default:
    break;
  }
  return ok ? EK_OK : EK_E_FORMAT;
}

/* Scales chain from layer to layer, and only weighted layers and inputs may change them. */
static int check_scales(const ek_layer *l, float previous) {
  if (!(isfinite(l->in_scale) && isfinite(l->out_scale) && l->in_scale > 0 && l->out_scale > 0))
    return EK_E_FORMAT;
  if (l->in_scale != previous || (ek_has_weights(l) ? l->shift < 1 : l->shift != 0))
    return EK_E_FORMAT;
  if (l->kind == EK_SINCOS)
    return l->out_scale == (float)(1.0 / EK_JOINT_MAX) ? EK_OK : EK_E_FORMAT;
  if (l->kind == EK_JOINTS || ek_has_weights(l))
    return EK_OK;
  return l->out_scale == l->in_scale ? EK_OK : EK_E_FORMAT;
}

static int check_finite(const uint8_t *data, int64_t n) {
  for (int64_t i = 0; i < n; i++)
    if (!isfinite(f32(data + 4 * i)))
      return EK_E_NONFINITE;
  return EK_OK;
}

int ek_upconv_shift(const ek_layer *l) {
  int largest = 0, shift = 0;
  for (int o = 0; o < l->out.c; o++)
    for (int t = 0; t < 9; t++) {
      int total = 0;
      for (int i = 0; i < l->in.c; i++) {
        int w = (int8_t)l->weight[ek_weight_index(l, o, i, t / 3, t % 3)];
        total += w < 0 ? -w : w;
      }
      largest = total > largest ? total : largest;
    }
  while ((127 * largest + (1 << shift >> 1)) >> shift > EK_STAMP_LIMIT)
    shift++;
  return shift;
}

int16_t ek_upconv_mult(const ek_layer *l, int sum_shift, int channel) {
  int right = l->shift - 15 - sum_shift; /* what is left of the layer's shift */
  int64_t mult = i32(l->mult + 4 * (int64_t)channel);
  int64_t m = right > 0 ? (mult + (INT64_C(1) << (right - 1))) >> right : mult << -right;
  return (int16_t)(m < INT16_MAX ? m : INT16_MAX);
}

int16_t ek_upconv_bias(const ek_layer *l, int sum_shift, int channel) {
  int64_t b = ((int64_t)i32(l->bias + 4 * (int64_t)channel) + (1 << sum_shift >> 1)) >> sum_shift;
  return (int16_t)(b > INT16_MAX ? INT16_MAX : b < -INT16_MAX ? -INT16_MAX : b);
}

/* The accumulator and its requantized value must fit into int32 whatever the input (formats.md). */
static int check_integers(const ek_layer *l) {
  int64_t fan = ek_fan_in(l);
  int kk = l->kind == EK_LINEAR ? 1 : l->kernel;
  for (int64_t o = 0; o < l->out.c; o++) {
    int64_t total = 0;
    for (int64_t i = 0; i < fan; i++)
      for (int t = 0; t < kk * kk; t++) {
        int w = (int8_t)l->weight[ek_weight_index(l, o, i, t / kk, t % kk)];
        if (w == -128)
          return EK_E_FORMAT;
        total += w < 0 ? -w : w;
      }
    int64_t bias = i32(l->bias + 4 * o), mult = i32(l->mult + 4 * o);
    int64_t bound = (bias < 0 ? -bias : bias) + l->in_max * total;
    if (mult < 0 || bound >= INT64_C(1) << 31)
      return EK_E_FORMAT;
    if ((uint64_t)(bound * mult) + (UINT64_C(1) << (l->shift - 1)) >= UINT64_C(1) << (31 + l->shift))
      return EK_E_FORMAT;
  }
  return EK_OK;
}

/* A body model is one block; what is in it is checked where it is read. */
static int read_ellipsoids(const uint8_t *blob, size_t bytes, const uint8_t *r, int precision, ek_layer *l) {
  uint64_t size = u64(r + 72);
  if (precision != EK_PRECISION_FP32 || size < 1 || size > bytes || !all_zero(r + 80, 32))
    return EK_E_FORMAT;
  l->weight_bytes = (int64_t)size;
  return read_block(blob, bytes, r + 64, l->weight_bytes, &l->weight);
}

static int read_weights(const uint8_t *blob, size_t bytes, const uint8_t *r, int precision, ek_layer *l) {
  if (l->kind == EK_ELLIPSOIDS)
    return read_ellipsoids(blob, bytes, r, precision, l);
  int int8 = precision == EK_PRECISION_INT8;
  int64_t window = l->kind == EK_LINEAR ? 1 : (int64_t)l->kernel * l->kernel;
  int64_t n_out = ek_has_weights(l) ? l->out.c : 0, n = 0;
  if (n_out) {
    if (ek_fan_in(l) > EK_MAX_WEIGHTS / n_out / window)
      return EK_E_FORMAT;
    n = n_out * ek_fan_in(l) * window;
  }
  if (read_block(blob, bytes, r + 64, int8 ? n : 4 * n, &l->weight) ||
      read_block(blob, bytes, r + 80, 4 * n_out, &l->bias) ||
      read_block(blob, bytes, r + 96, int8 ? 4 * n_out : 0, &l->mult))
    return EK_E_FORMAT;
  if (int8)
    return n ? check_integers(l) : EK_OK;
  int status = check_finite(l->weight, n);
  return status ? status : check_finite(l->bias, n_out);
}

/* previous: the scale of the layer before, 1 for the first. */
static int read_layer(const uint8_t *blob, size_t bytes, const uint8_t *r, int precision, float previous, ek_layer *l) {
  int kind, flags, reserved;
  if (read_int(r, 0, EK_KIND_COUNT - 1, &kind) || read_int(r + 4, 0, 1, &flags) || read_shape(r + 8, &l->in) ||
      read_shape(r + 20, &l->out) || read_int(r + 32, 0, EK_MAX_KERNEL, &l->kernel) ||
      read_int(r + 36, 0, EK_MAX_STRIDE, &l->stride) || read_int(r + 40, 0, EK_MAX_KERNEL, &l->pad) ||
      read_int(r + 44, 0, EK_MAX_FACTOR, &l->factor) || read_int(r + 56, 0, 32, &l->shift) ||
      read_int(r + 60, 0, 0, &reserved) || !all_zero(r + 112, 16))
    return EK_E_FORMAT;
  l->kind = (ek_kind)kind;
  l->relu = flags & 1;
  l->in_scale = f32(r + 48);
  l->out_scale = f32(r + 52);
  if (precision == EK_PRECISION_FP32 && !all_zero(r + 48, 12))
    return EK_E_FORMAT;
  int status = check_shape(l);
  if (!status && precision == EK_PRECISION_INT8)
    status = check_scales(l, previous);
  return status ? status : read_weights(blob, bytes, r, precision, l);
}

static int read_header(const uint8_t *b, size_t bytes, ek_model *m) {
  if (bytes < HEADER || memcmp(b, "EKW1", 4))
    return EK_E_FORMAT;
  if (u32(b + 4) != VERSION)
    return EK_E_VERSION;
  if (u64(b + 32) != bytes)
    return EK_E_CHECKSUM;
  static const uint8_t zeros[4];
  uint32_t crc = ek_crc32(ek_crc32(ek_crc32(0, b, CRC_AT), zeros, 4), b + CRC_AT + 4, bytes - CRC_AT - 4);
  if (crc != u32(b + CRC_AT))
    return EK_E_CHECKSUM;
  if (read_int(b + 8, 0, 1, &m->precision) || read_int(b + 12, 1, EK_MAX_JOINTS, &m->n_joints) ||
      read_int(b + 16, 1, EK_MAX_VIEWS, &m->n_views) || read_int(b + 20, 1, EK_MAX_SIDE, &m->height) ||
      read_int(b + 24, 1, EK_MAX_SIDE, &m->width) || read_int(b + 28, 1, EK_MAX_LAYERS, &m->n_layers) ||
      read_int(b + DEPTH_AT, 0, EK_MAX_VIEWS, &m->n_depth) || !all_zero(b + DEPTH_AT + 12, HEADER - DEPTH_AT - 12))
    return EK_E_FORMAT;
  memcpy(&m->depth_offset, b + DEPTH_AT + 4, 4), memcpy(&m->depth_unit, b + DEPTH_AT + 8, 4);
  int plain = !m->n_depth && m->depth_offset == 0 && m->depth_unit == 0;
  if (!plain &&
      (m->n_depth != m->n_views || !(fabsf(m->depth_offset) < 1e6f && m->depth_unit > 0 && m->depth_unit < 1e6f)))
    return EK_E_FORMAT;
  return bytes - HEADER >= (size_t)m->n_layers * RECORD ? EK_OK : EK_E_FORMAT;
}

static void count(ek_model *m, const ek_layer *l) {
  if (!ek_has_weights(l))
    return;
  m->parameters += ek_layer_weights(l) + l->out.c;
  m->macs += ek_layer_macs(l);
}

int ek_model_parse(const uint8_t *blob, size_t bytes, ek_model *m) {
  memset(m, 0, sizeof *m);
  if (!blob)
    return EK_E_ARGUMENT;
  int status = read_header(blob, bytes, m);
  if (status)
    return status;
  ek_shape shape = {m->n_joints, 1, 1};
  float scale = 1.0f;
  for (int i = 0; i < m->n_layers; i++) {
    ek_layer *l = &m->layers[i];
    l->in_max = i == 1 ? EK_JOINT_MAX : 127;
    status = read_layer(blob, bytes, blob + HEADER + (size_t)i * RECORD, m->precision, scale, l);
    if (status)
      return status;

    int whole = l->kind == EK_ELLIPSOIDS, input = l->kind == EK_SINCOS || l->kind == EK_JOINTS || whole;
    if (whole && m->n_layers != 1)
      return EK_E_FORMAT;
    if (input != (i == 0) || !same(shape, l->in))
      return EK_E_FORMAT;
    if (m->precision == EK_PRECISION_INT8 && i == 1 && l->kind != EK_LINEAR) /* what else would read 16 bits? */
      return EK_E_FORMAT;
    shape = l->out;
    scale = l->out_scale;
    count(m, l);
  }
  ek_shape wanted = {m->n_views + m->n_depth, m->height, m->width};
  int body = m->layers[0].kind == EK_ELLIPSOIDS;
  if (m->precision == EK_PRECISION_INT8 && m->n_layers < 2)
    return EK_E_FORMAT;
  return same(shape, wanted) && !(body && m->n_depth) ? EK_OK : EK_E_FORMAT;
}
