/* body.c - the public face of the body model: create, set, run, compare, differentiate. */
#include "deviate.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/joints.h"
#include "../core/status.h"

enum { MAX_LINKS = 256, MAX_ELLIPSOIDS = 4096, MAX_SIDE = 4096 };

static int check_layout(const ek_body_layout *l) {
  if (!l || l->n_links < 1 || l->n_links > MAX_LINKS || l->n_joints != l->n_links - 1 || l->n_q < 1 ||
      l->n_q > EK_MAX_JOINTS || l->n_views < 1 || l->n_views > EK_MAX_VIEWS || l->n_ellipsoids < 1 ||
      l->n_ellipsoids > MAX_ELLIPSOIDS || (l->n_joints && !l->joints) || !l->cameras || !l->link_of_ellipsoid)
    return EK_E_ARGUMENT;
  if (!(l->low_pass_px2 > 0 && l->low_pass_px2 < 100 && l->empty > 0 && l->empty < 1) || !ek_isa_supported(l->isa))
    return EK_E_ARGUMENT;
  for (int v = 0; v < l->n_views; v++) {
    const ek_camera *c = &l->cameras[v];
    if (c->width < 1 || c->width > MAX_SIDE || c->height < 1 || c->height > MAX_SIDE ||
        c->width != l->cameras[0].width || c->height != l->cameras[0].height)
      return EK_E_ARGUMENT;
  }
  for (int i = 0; i < l->n_ellipsoids; i++)
    if (l->link_of_ellipsoid[i] < 0 || l->link_of_ellipsoid[i] >= l->n_links)
      return EK_E_RANGE;
  return EK_OK;
}

static int check_joints(const ek_body_layout *l) {
  unsigned char placed[MAX_LINKS] = {1};
  for (int j = 0; j < l->n_joints; j++) {
    const ek_joint *joint = &l->joints[j];
    if (joint->parent < 0 || joint->parent >= l->n_links || joint->child < 1 || joint->child >= l->n_links ||
        joint->coordinate >= l->n_q || joint->kind < EK_JOINT_FIXED || joint->kind > EK_JOINT_PRISMATIC)
      return EK_E_RANGE;
    if (!placed[joint->parent] || placed[joint->child])
      return EK_E_FORMAT; /* not in tree order */
    placed[joint->child] = 1;
  }
  return EK_OK;
}

static void *copy(const void *source, size_t bytes) {
  void *out = malloc(bytes ? bytes : 1);
  if (out && bytes)
    memcpy(out, source, bytes);
  return out;
}

/* Packs at most: each link may leave one that is not full. */
static size_t most_packs(const ek_body_layout *l) {
  return (size_t)(l->n_ellipsoids / EK_SPLAT_LANES + l->n_links);
}

static int allocate(ek_body *b) {
  ek_body_layout *l = &b->layout;
  size_t n = (size_t)l->n_ellipsoids, links = (size_t)l->n_links, views = (size_t)l->n_views;
  size_t pixels = views * (size_t)b->height * (size_t)b->stride + EK_SPLAT_CLEARED;
  l->joints = copy(l->joints, sizeof(ek_joint) * (size_t)l->n_joints);
  l->cameras = copy(l->cameras, sizeof(ek_camera) * views);
  l->link_of_ellipsoid = copy(l->link_of_ellipsoid, sizeof(int32_t) * n);
  b->parameters = calloc((size_t)b->n_parameters, sizeof(float));
  b->ellipsoids = calloc(n, sizeof *b->ellipsoids);
  b->corrected = calloc(links, sizeof(ek_pose)), b->motion = calloc(links, sizeof(ek_pose));
  b->links = calloc(links, sizeof(ek_pose)), b->cameras = calloc(views, sizeof(ek_pose));
  b->lens = calloc(views, sizeof *b->lens), b->seen = calloc(views * links, sizeof(ek_pose));
  b->outlines = calloc(views * n, sizeof *b->outlines);
  b->light = calloc(pixels, sizeof(float)), b->empty = calloc(pixels, sizeof(float));
  b->pull = calloc(pixels, sizeof(float)), b->touched = calloc(views * (size_t)b->height, sizeof *b->touched);
  b->packs = calloc(most_packs(l), sizeof *b->packs);
  b->travel = calloc(n, sizeof(float)), b->hidden = calloc(links, 1);
  b->scratch = calloc(links + views * links + views, sizeof(ek_pose) + sizeof *b->lens);
  return l->joints && l->cameras && l->link_of_ellipsoid && b->parameters && b->ellipsoids && b->corrected &&
                 b->motion && b->links && b->cameras && b->lens && b->seen && b->outlines && b->light && b->empty &&
                 b->pull && b->touched && b->packs && b->travel && b->hidden && b->scratch
             ? EK_OK
             : EK_E_MEMORY;
}

ek_body *ek_body_create(const ek_body_layout *layout, int *status) {
  int ignored;
  status = status ? status : &ignored;
  *status = check_layout(layout);
  if (!*status)
    *status = check_joints(layout);
  ek_body *b = *status ? NULL : calloc(1, sizeof *b);
  if (!b) {
    *status = *status ? *status : EK_E_MEMORY;
    return NULL;
  }
  b->layout = *layout;
  b->layout.isa = layout->isa == EK_ISA_AUTO ? ek_isa_best() : layout->isa;
  b->width = layout->cameras[0].width, b->height = layout->cameras[0].height;
  for (b->cell = 3; b->width > 64 << b->cell;)
    b->cell++;
  b->softplus = -log1p(-layout->empty), b->odds = log(layout->empty) + b->softplus;
  b->stride = (b->width + 2 * EK_SPLAT_LANES - 1) / EK_SPLAT_LANES * EK_SPLAT_LANES;
  int corner = layout->convention == EK_CONVENTION_TINYRENDERER;
  b->sample[0] = corner ? 0.0 : 0.5, b->sample[1] = corner ? 1.0 : 0.5;
  b->n_background = layout->background ? (int64_t)layout->n_views * b->height * b->width : 0;
  b->n_parameters = (int64_t)EK_ELLIPSOID_FLOATS * layout->n_ellipsoids +
                    (int64_t)EK_CORRECTION_FLOATS * layout->n_joints + EK_CAMERA_FLOATS * layout->n_views +
                    b->n_background;
  *status = allocate(b);
  if (!*status)
    *status = ek_body_set(b, b->parameters);
  if (*status) {
    ek_body_destroy(b);
    return NULL;
  }
  return b;
}

void ek_body_destroy(ek_body *b) {
  if (!b)
    return;
  ek_deviator_free(b->deviator);
  free((void *)b->layout.joints), free((void *)b->layout.cameras), free((void *)b->layout.link_of_ellipsoid);
  void *owned[] = {b->packs,   b->parameters, b->ellipsoids, b->corrected, b->motion, b->links,
                   b->cameras, b->lens,       b->seen,       b->outlines,  b->light,  b->empty,
                   b->pull,    b->touched,    b->travel,     b->scratch,   b->hidden};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
    free(owned[i]);
  free(b);
}

int64_t ek_body_n_parameters(const ek_body *b) {
  return b ? b->n_parameters : EK_E_ARGUMENT;
}

/* The static layer: T = 1 - sigmoid(parameter), or the constant of the layout. */
static void set_empty(ek_body *b) {
  const float *p = b->parameters + b->n_parameters - b->n_background;
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++)
    for (int x = 0; x < b->width; x++)
      b->empty[row * b->stride + x] =
          b->n_background ? 1 / (1 + expf(p[row * b->width + x])) : (float)(1 - b->layout.empty);
  memcpy(b->light, b->empty, sizeof(float) * (size_t)b->layout.n_views * (size_t)b->height * (size_t)b->stride);
  memset(b->touched, 0, sizeof *b->touched * (size_t)b->layout.n_views * (size_t)b->height);
}

int ek_body_set(ek_body *b, const float *parameters) {
  if (!b || !parameters)
    return EK_E_ARGUMENT;
  for (int64_t i = 0; i < b->n_parameters; i++)
    if (!(fabsf(parameters[i]) < 1e4f))
      return EK_E_NONFINITE;
  memmove(b->parameters, parameters, sizeof(float) * (size_t)b->n_parameters);
  ek_body_unpack(b);
  ek_body_pack(b);
  ek_body_correct(b);
  set_empty(b);
  if (b->deviator)
    ek_deviator_reset(b);
  return EK_OK;
}

int ek_body_run(ek_body *b, const float *q) {
  if (!b || !q)
    return EK_E_ARGUMENT;
  int status = ek_joints_check(q, b->layout.n_q);
  if (status)
    return status;
  ek_body_pose(b, q);
  ek_body_outline(b, NULL);
  ek_body_draw(b);
  return EK_OK;
}

int ek_body_hide(ek_body *b, int link) {
  if (!b || link >= b->layout.n_links)
    return EK_E_ARGUMENT;
  memset(b->hidden, 0, (size_t)b->layout.n_links);
  if (link >= 0)
    b->hidden[link] = 1;
  if (b->lost > 0)
    b->hidden[b->lost] = 1;
  for (int j = 0; j < b->layout.n_joints; j++) /* in tree order */
    b->hidden[b->layout.joints[j].child] |= b->hidden[b->layout.joints[j].parent];
  return EK_OK;
}

int ek_body_lose(ek_body *b, int link) {
  if (!b || link >= b->layout.n_links)
    return EK_E_ARGUMENT;
  b->lost = link > 0 ? link : 0;
  return ek_body_hide(b, -1);
}

static float bounded(float light) {
  return light > EK_SPLAT_DARK ? light : EK_SPLAT_DARK;
}

int ek_body_logits(const ek_body *b, float *logits) {
  if (!b || !logits)
    return EK_E_ARGUMENT;
  float row[MAX_SIDE + EK_SPLAT_LANES];
  for (int64_t i = 0; i < (int64_t)b->layout.n_views * b->height; i++) {
    ek_body_log_odds(b, i, row);
    memcpy(logits + i * b->width, row, sizeof(float) * (size_t)b->width);
  }
  return EK_OK;
}

int ek_body_predict(ek_body *b, const float *q, int n, float *probability) {
  if (!b || !q || n < 1 || !probability)
    return EK_E_ARGUMENT;
  for (int i = 0; i < n; i++) {
    int status = ek_body_run(b, q + (size_t)i * (size_t)b->layout.n_q);
    if (status)
      return status;
    for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++)
      for (int x = 0; x < b->width; x++)
        *probability++ = 1 - b->light[row * b->stride + x];
  }
  return EK_OK;
}

int ek_body_compare(ek_body *b, const uint8_t *masks, const ek_body_loss *loss, double *value) {
  if (!b || !masks || !loss || !value)
    return EK_E_ARGUMENT;
  double nll, squared;
  ek_body_measure(b, masks, &nll, &squared);
  *value = loss->nll * nll + loss->squared * squared + loss->log_squared * log(squared + 1);
  ek_body_differ(b, masks, loss->nll, loss->squared + loss->log_squared / (squared + 1));
  return EK_OK;
}

int ek_body_pull(ek_body *b, const float *dlogits) {
  if (!b || !dlogits)
    return EK_E_ARGUMENT;
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++)
    for (int x = 0; x < b->width; x++, dlogits++)
      b->pull[row * b->stride + x] = -*dlogits / (1 - bounded(b->light[row * b->stride + x]));
  return EK_OK;
}

static void background_back(const ek_body *b, float *dparameters) {
  float *d = dparameters + b->n_parameters - b->n_background;
  for (int64_t row = 0; b->n_background && row < (int64_t)b->layout.n_views * b->height; row++)
    for (int x = 0; x < b->width; x++, d++)
      *d -= b->pull[row * b->stride + x] * (1 - b->empty[row * b->stride + x]);
}

int ek_body_backward(ek_body *b, float *dparameters, float *dq) {
  if (!b || b->deviator || (!dparameters && !dq))
    return EK_E_ARGUMENT;
  size_t links = (size_t)b->layout.n_links, views = (size_t)b->layout.n_views, n = (size_t)b->layout.n_ellipsoids;
  memset(b->scratch, 0, (links + views * links + views) * (sizeof(ek_pose) + sizeof *b->lens));
  ek_pose *poses = b->scratch;
  ek_body_gradient g = {poses, poses + links, poses + links + views * links, NULL};
  g.lens = (double(*)[4])(g.cameras + views);
  for (size_t v = 0; v < views; v++)
    for (size_t i = 0; i < n; i++) {
      const ek_outline *o = &b->outlines[v * n + i];
      ek_moments m;
      if (o->top > o->bottom)
        continue;
      ek_body_gather(b, (int)v, (int)i, &m);
      ek_body_project_back(b, (int)v, (int)i, &m, &g, dparameters ? dparameters + EK_ELLIPSOID_FLOATS * i : NULL);
    }
  ek_body_pose_back(b, &g, dparameters, dq);
  if (dparameters)
    background_back(b, dparameters);
  return EK_OK;
}

int ek_body_learn(ek_body *b, const float *q, const uint8_t *masks, int n, const ek_body_loss *loss, double *value,
                  float *dparameters) {
  if (!b || !q || !masks || n < 1 || !loss || !value || !dparameters)
    return EK_E_ARGUMENT;
  size_t picture = (size_t)b->layout.n_views * (size_t)b->height * (size_t)((b->width + 7) / 8);
  *value = 0;
  for (int i = 0; i < n; i++) {
    double one;
    int status = ek_body_run(b, q + (size_t)i * (size_t)b->layout.n_q);
    if (!status)
      status = ek_body_compare(b, masks + (size_t)i * picture, loss, &one);
    if (!status)
      status = ek_body_backward(b, dparameters, NULL);
    if (status)
      return status;
    *value += one;
  }
  return EK_OK;
}

int ek_body_travel(ek_body *b, float *travel) {
  if (!b || !travel)
    return EK_E_ARGUMENT;
  memcpy(travel, b->travel, sizeof(float) * (size_t)b->layout.n_ellipsoids);
  memset(b->travel, 0, sizeof(float) * (size_t)b->layout.n_ellipsoids);
  return EK_OK;
}
