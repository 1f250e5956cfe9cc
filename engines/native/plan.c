/* plan.c - lays a model out for the vector kernels: maps with channels last, padded to 8 channels and with a border of
 * zeros as wide as the next layer reads, so that no kernel tests for the edge. A linear layer in front of a reshape
 * writes straight into the reshaped map. */
#include "engine.h"
#include "../core/status.h"

static int64_t map_bytes(ek_shape s, int halo, int bytes) {
  int64_t pixel = (s.c + 7) / 8 * 8;
  return (s.h + 2 * (int64_t)halo) * (s.w + 2 * (int64_t)halo) * pixel * bytes;
}

static int channels_last(ek_engine *e, ek_shape s, int halo, int bytes, ek_map *map) {
  int64_t total = map_bytes(s, halo, bytes);
  if (total > EK_POOL_BYTES - 1024) /* strides below are then far inside int32 */
    return EK_E_FORMAT;
  char *data = ek_pool(e, total);
  if (!data)
    return EK_E_MEMORY;
  int32_t pixel = (s.c + 7) / 8 * 8, row = pixel * (s.w + 2 * halo);
  *map = (ek_map){data + (int64_t)bytes * halo * (row + pixel), s, 1, pixel, row};
  return EK_OK;
}

static int planar(ek_engine *e, ek_shape s, int bytes, ek_map *map) {
  void *data = ek_pool(e, ek_elements(s) * bytes);
  *map = (ek_map){data, s, s.h * s.w, 1, s.w};
  return data ? EK_OK : EK_E_MEMORY;
}

static int push_move(ek_engine *e, void (*run)(const void *), const ek_map *in, const ek_map *out, int bytes,
                     int factor) {
  ek_move *m = ek_pool(e, sizeof *m);
  if (!m)
    return EK_E_MEMORY;
  *m = (ek_move){*in, *out, bytes, factor};
  return ek_push(e, run, m);
}

static int push_resize(ek_engine *e, const ek_map *in, const ek_map *out, const ek_kernels *kernels) {
  ek_resize *r = ek_pool(e, sizeof *r);
  int int8 = e->info.precision == EK_PRECISION_INT8;
  int64_t row = (int64_t)out->shape.w * out->pixel * (int8 ? 2 : 4);
  if (!r)
    return EK_E_MEMORY;
  *r = (ek_resize){.in = *in, .out = *out};
  r->ty = ek_resize_taps(e, in->shape.h, out->shape.h);
  r->tx = ek_resize_taps(e, in->shape.w, out->shape.w);
  r->row_a = ek_pool(e, row);
  r->row_b = ek_pool(e, row);
  if (!r->ty || !r->tx || !r->row_a || !r->row_b)
    return EK_E_MEMORY;
  return ek_push(e, int8 ? kernels->resize_int8 : kernels->resize_fp32, r);
}

static int is_move(ek_kind kind) {
  return kind == EK_RESHAPE || kind == EK_PIXEL_SHUFFLE || kind == EK_CROP;
}

/* How layer i runs as the 1x1 convolution that ends a network, or NULL. */
static void (*narrow(const ek_model *m, int i, const ek_kernels *kernels))(const void *) {
  const ek_layer *l = &m->layers[i];
  int fits = i + 1 == m->n_layers && l->kind == EK_CONV && l->kernel == 1 && l->pad == 0 && l->in.c <= 8;
  return !fits ? NULL : m->precision == EK_PRECISION_INT8 ? kernels->narrow_int8 : kernels->narrow_fp32;
}

/* The map that layer i writes: what its consumer reads best. */
static int output_map(ek_engine *e, const ek_model *m, int i, int bytes, const ek_kernels *kernels, ek_map *out) {
  const ek_layer *l = &m->layers[i], *next = i + 1 < m->n_layers ? l + 1 : NULL;
  if (!next && (is_move(l->kind) || narrow(m, i, kernels)))
    return planar(e, l->out, bytes, out);
  if (next && l->kind == EK_LINEAR && next->kind == EK_RESHAPE && i + 2 < m->n_layers)
    return channels_last(e, next->out, ek_border(next + 1), bytes, out);
  return channels_last(e, l->out, next ? ek_border(next) : 0, bytes, out);
}

static int push_layer(ek_engine *e, const ek_model *m, int i, ek_map *map, int negative, const ek_kernels *kernels) {
  const ek_layer *l = &m->layers[i];
  int bytes = m->precision == EK_PRECISION_INT8 ? 1 : 4;
  ek_map in = *map;
  if (l->kind == EK_RESHAPE && i > 1 && m->layers[i - 1].kind == EK_LINEAR && i + 1 < m->n_layers)
    return EK_OK; /* its linear layer has written the reshaped map */
  if (l->kind == EK_RESHAPE && i + 1 == m->n_layers && in.shape.h == 1 && in.shape.w == 1) {
    *map = (ek_map){in.data, l->out, l->out.h * l->out.w, 1, l->out.w}; /* a vector is a planar map already */
    return EK_OK;
  }
  if (i + 1 < m->n_layers && ek_is_upconv(l, l + 1))
    return EK_OK; /* the next layer enlarges what it has convolved */
  int status = output_map(e, m, i, i ? bytes : ek_input_bytes(m), kernels, map);
  if (status)
    return status;
  if (i == 0)
    return ek_push_input(e, l, map->data);
  if (ek_is_upconv(l - 1, l))
    return ek_push_upconv(e, l, &in, map, bytes == 1 ? kernels->upconv_int8 : kernels->upconv_fp32);
  if (narrow(m, i, kernels))
    return ek_push_narrow(e, l, &in, map, negative, narrow(m, i, kernels));
  if (ek_has_weights(l))
    return ek_plan_dot(e, m, i, &in, map, negative, kernels);
  switch (l->kind) {
  case EK_RESIZE:
    return push_resize(e, &in, map, kernels);
  case EK_PIXEL_SHUFFLE:
    return push_move(e, ek_move_shuffle, &in, map, bytes, l->factor);
  case EK_CROP:
    return push_move(e, ek_move_copy, &in, map, bytes, 0);
  default:
    return push_move(e, ek_move_reshape, &in, map, bytes, 0);
  }
}

int ek_plan_vector(ek_engine *e, const ek_model *m, const ek_kernels *kernels) {
  int bytes = m->precision == EK_PRECISION_INT8 ? 1 : 4;
  int negative = 1;
  ek_map map = {0};
  for (int i = 0; i < m->n_layers; i++) {
    e->planning = i;
    int status = push_layer(e, m, i, &map, negative, kernels);
    if (status)
      return status;
    if (ek_has_weights(&m->layers[i]))
      negative = !m->layers[i].relu;
  }
  e->logits = map;
  if (map.pixel == 1 && map.row == map.shape.w)
    return EK_OK;
  int status = planar(e, map.shape, bytes, &e->logits);
  status = status ? status : push_move(e, ek_move_copy, &map, &e->logits, bytes, 0);
  if (!status)
    e->ops[e->n_ops - 1].always = 1;
  return status;
}
