/* weights.c - a body model out of a weight file. Nothing here trusts a number of the file before it is checked. */
#include "weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/status.h"
#include "body.h"

enum {
  HEAD = 192,
  JOINT = 144,
  CAMERA = 144,
  MAX_COUNT = 4096,
  ENCODING_INT8 = 1,
  FINE = 10,
  LEVELS = EK_ELLIPSOID_FLOATS + FINE /* bytes an ellipsoid */
};
_Static_assert(sizeof(ek_joint) == JOINT && sizeof(ek_camera) == CAMERA, "the file has them as they are in memory");

static int u32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v <= INT32_MAX ? (int)v : -1;
}

static int finite_doubles(const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    double v;
    memcpy(&v, p + 8 * i, sizeof v);
    if (!(fabs(v) < 1e9))
      return 0;
  }
  return 1;
}

/* Where the parts of the block begin; the counts have been checked. */
typedef struct {
  size_t joints, cameras, links, parameters, end;
  size_t background;
} places;

static places lay_out(const ek_body_layout *l, int encoding, const int size[4]) {
  places p;
  size_t n = (size_t)l->n_ellipsoids, corrections = (size_t)l->n_joints * EK_CORRECTION_FLOATS;
  p.joints = HEAD;
  p.cameras = p.joints + JOINT * (size_t)l->n_joints;
  p.links = p.cameras + CAMERA * (size_t)l->n_views;
  p.parameters = p.links + 4 * n;
  p.background = l->background ? (size_t)l->n_views * (size_t)size[2] * (size_t)size[3] : 0;
  size_t rest = 4 * (corrections + (size_t)l->n_views * EK_CAMERA_FLOATS + p.background);
  size_t ellipsoids =
      encoding == ENCODING_INT8 ? 8 * EK_ELLIPSOID_FLOATS + (n * LEVELS + 3) / 4 * 4 : 4 * EK_ELLIPSOID_FLOATS * n;
  p.end = p.parameters + ellipsoids + rest;
  return p;
}

/* Scales (12) and offsets (12), then all but sharpness and opacity int16 (n, 10), then these int8 (n, 2). */
static size_t dequantize(const uint8_t *p, size_t n, float *out) {
  float scale[EK_ELLIPSOID_FLOATS], offset[EK_ELLIPSOID_FLOATS];
  memcpy(scale, p, sizeof scale);
  memcpy(offset, p + sizeof scale, sizeof offset);
  const uint8_t *fine = p + sizeof scale + sizeof offset, *others = fine + 2 * FINE * n;
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < EK_ELLIPSOID_FLOATS; k++) {
      int16_t wide;
      memcpy(&wide, fine + 2 * (FINE * i + (k < FINE ? k : 0)), sizeof wide);
      float level = k < FINE ? (float)wide : (float)(int8_t)others[(EK_ELLIPSOID_FLOATS - FINE) * i + k - FINE];
      out[EK_ELLIPSOID_FLOATS * i + k] = level * scale[k] + offset[k];
    }
  return sizeof scale + sizeof offset + (LEVELS * n + 3) / 4 * 4;
}

static int read_parameters(ek_body *b, const uint8_t *block, const places *at, int encoding) {
  size_t n = (size_t)b->layout.n_ellipsoids, ellipsoids = EK_ELLIPSOID_FLOATS * n;
  float *values = malloc(sizeof(float) * (size_t)b->n_parameters);
  if (!values)
    return EK_E_MEMORY;
  const uint8_t *p = block + at->parameters;
  if (encoding == ENCODING_INT8) {
    p += dequantize(p, n, values);
  } else {
    memcpy(values, p, sizeof(float) * ellipsoids);
    p += sizeof(float) * ellipsoids;
  }
  memcpy(values + ellipsoids, p, sizeof(float) * ((size_t)b->n_parameters - ellipsoids));
  int status = ek_body_set(b, values);
  free(values);
  return status;
}

static int read_head(const uint8_t *block, size_t bytes, const int size[4], ek_body_layout *l, int *encoding) {
  if (bytes < HEAD || !finite_doubles(block + 32, 14))
    return EK_E_FORMAT;
  l->n_links = u32(block), l->n_joints = u32(block + 4), l->n_views = u32(block + 8);
  l->n_ellipsoids = u32(block + 12), l->convention = u32(block + 16), l->background = u32(block + 20);
  *encoding = u32(block + 24);
  l->n_q = size[0];
  memcpy(&l->low_pass_px2, block + 32, 8);
  memcpy(&l->empty, block + 40, 8);
  memcpy(l->base, block + 48, 96);
  for (int i = 144; i < HEAD; i++)
    if (block[i])
      return EK_E_FORMAT;
  int ok = l->n_links >= 1 && l->n_links <= MAX_COUNT && l->n_joints == l->n_links - 1 && l->n_views == size[1] &&
           l->n_ellipsoids >= 1 && l->n_ellipsoids <= MAX_COUNT && (l->convention == 0 || l->convention == 1) &&
           (l->background == 0 || l->background == 1) && (*encoding == 0 || *encoding == ENCODING_INT8) &&
           u32(block + 28) == 0;
  return ok ? EK_OK : EK_E_FORMAT;
}

static int check_numbers(const ek_body_layout *l, const int size[4]) {
  for (int j = 0; j < l->n_joints; j++)
    if (!finite_doubles((const uint8_t *)&l->joints[j].rest, 16))
      return EK_E_FORMAT;
  for (int v = 0; v < l->n_views; v++) {
    const ek_camera *c = &l->cameras[v];
    if (c->height != size[2] || c->width != size[3] || !finite_doubles((const uint8_t *)&c->fx, 17) ||
        !(c->fx > 0 && c->fy > 0 && c->near_m > 0))
      return EK_E_FORMAT;
  }
  return EK_OK;
}

ek_body *ek_body_read(const uint8_t *block, size_t bytes, int isa, const int size[4], int *status) {
  ek_body_layout l = {.isa = isa};
  int encoding = 0;
  *status = read_head(block, bytes, size, &l, &encoding);
  if (*status)
    return NULL;
  places at = lay_out(&l, encoding, size);
  if (at.end != bytes) {
    *status = EK_E_FORMAT;
    return NULL;
  }
  /* Copied, because the file need not be aligned for them. */
  ek_joint *joints = malloc(at.cameras - at.joints + 1);
  ek_camera *cameras = malloc(at.links - at.cameras);
  int32_t *links = malloc(at.parameters - at.links);
  ek_body *body = NULL;
  *status = joints && cameras && links ? EK_OK : EK_E_MEMORY;
  if (!*status) {
    memcpy(joints, block + at.joints, at.cameras - at.joints);
    memcpy(cameras, block + at.cameras, at.links - at.cameras);
    memcpy(links, block + at.links, at.parameters - at.links);
    l.joints = joints, l.cameras = cameras, l.link_of_ellipsoid = links;
    *status = check_numbers(&l, size);
  }
  if (!*status)
    body = ek_body_create(&l, status);
  if (body && (*status = read_parameters(body, block, &at, encoding))) {
    ek_body_destroy(body);
    body = NULL;
  }
  free(joints), free(cameras), free(links);
  return body;
}
