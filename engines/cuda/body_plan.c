/* body_plan.c - a body model becomes the constants that body.cuh reads: its tree, cameras and ellipsoids, unpacked. */
#include "../core/status.h"
#include "../splat/body.h"
#include "../splat/weights.h"
#include "plan.h"
#include <stdlib.h>
#include <string.h>

enum { POSE_WORDS = 24, SHARED_WORDS = 10 << 10 };

static int32_t joints(ek_gpu_plan *p, const ek_body *b) {
  int32_t at = ek_gpu_reserve(p, (int64_t)(sizeof(ek_gpu_joint) / 4) * b->layout.n_joints);
  for (int j = 0; at && j < b->layout.n_joints; j++) {
    const ek_joint *from = &b->layout.joints[j];
    ek_gpu_joint joint = {.rest = from->rest, .kind = from->kind, .parent = from->parent, .child = from->child};
    joint.coordinate = from->coordinate;
    memcpy(joint.axis, from->axis, sizeof joint.axis);
    memcpy(joint.corrected, b->corrected[j], sizeof joint.corrected);
    memcpy((char *)(p->image + at) + sizeof joint * (size_t)j, &joint, sizeof joint);
  }
  return at;
}

static int32_t cameras(ek_gpu_plan *p, const ek_body *b) {
  int32_t at = ek_gpu_reserve(p, (int64_t)(sizeof(ek_gpu_camera) / 4) * b->layout.n_views);
  for (int v = 0; at && v < b->layout.n_views; v++) {
    const double *lens = b->lens[v];
    ek_gpu_camera camera = {.fx = (float)lens[0], .fy = (float)lens[1], .cx = (float)lens[2], .cy = (float)lens[3]};
    camera.near_m = (float)b->layout.cameras[v].near_m;
    memcpy(camera.world_to_cam, b->cameras[v], sizeof camera.world_to_cam);
    memcpy((char *)(p->image + at) + sizeof camera * (size_t)v, &camera, sizeof camera);
  }
  return at;
}

/* Those that can be seen, in their order: the light is multiplied in it. */
static int32_t ellipsoids(ek_gpu_plan *p, const ek_body *b, int32_t *n) {
  int32_t at = ek_gpu_reserve(p, (int64_t)(sizeof(ek_gpu_ellipsoid) / 4) * b->layout.n_ellipsoids);
  for (int i = 0; at && i < b->layout.n_ellipsoids; i++) {
    const ek_ellipsoid *from = &b->ellipsoids[i];
    ek_gpu_ellipsoid e = {.rise = (float)from->rise, .reach = (float)from->reach, .opacity = (float)from->opacity};
    if (from->opacity < EK_SPLAT_FAINT)
      continue;
    e.rest = (float)(1 - from->opacity), e.link = b->layout.link_of_ellipsoid[i];
    for (int k = 0; k < 3; k++)
      e.centre[k] = (float)from->centre[k];
    for (int k = 0; k < 9; k++)
      e.axes[k] = (float)from->axes[k];
    memcpy((char *)(p->image + at) + sizeof e * (size_t)(*n)++, &e, sizeof e);
  }
  return at;
}

static int32_t background(ek_gpu_plan *p, const ek_body *b) {
  if (!b->n_background)
    return 0;
  int64_t rows = (int64_t)b->layout.n_views * b->height;
  int32_t at = ek_gpu_reserve(p, rows * b->width);
  for (int64_t row = 0; at && row < rows; row++)
    memcpy(p->image + at + row * b->width, b->empty + row * b->stride, sizeof(float) * (size_t)b->width);
  return at;
}

static void lay_out(ek_gpu_plan *p, const ek_body *b) {
  int views = b->layout.n_views;
  ek_gpu_body out = {.n_links = b->layout.n_links, .n_joints = b->layout.n_joints};
  memcpy(out.base, b->layout.base, sizeof out.base);
  p->head.body = (uint32_t)ek_gpu_reserve(p, sizeof out / 4);
  out.joints = joints(p, b), out.cameras = cameras(p, b), out.ellipsoids = ellipsoids(p, b, &out.n_ellipsoids);
  out.background = background(p, b);
  out.empty = (float)(1 - b->layout.empty), out.low_pass_px2 = (float)b->layout.low_pass_px2;
  out.locals = ek_gpu_take(p, &p->shared, (int64_t)POSE_WORDS * out.n_joints);
  out.links = ek_gpu_take(p, &p->shared, (int64_t)POSE_WORDS * out.n_links);
  out.seen = ek_gpu_take(p, &p->shared, (int64_t)POSE_WORDS / 2 * views * out.n_links);
  int64_t words = (int64_t)(sizeof(ek_gpu_outline) / 4) * views * out.n_ellipsoids;
  out.outlines_shared = p->shared + words <= SHARED_WORDS;
  out.outlines = ek_gpu_take(p, out.outlines_shared ? &p->shared : &p->arena, words);
  p->head.logits = ek_gpu_take(p, &p->arena, (int64_t)views * b->height * b->width);
  p->head.n_steps = 2; /* up to the outlines; the rest */
  if (!p->failed)
    memcpy(p->image + p->head.body, &out, sizeof out);
}

int ek_gpu_plan_body(const ek_model *m, uint32_t **image) {
  const ek_layer *l = &m->layers[0];
  const int size[4] = {m->n_joints, m->n_views, m->height, m->width};
  int status = EK_E_MEMORY;
  ek_gpu_plan *p = malloc(sizeof *p);
  ek_body *b = p ? ek_body_read(l->weight, (size_t)l->weight_bytes, EK_ISA_SCALAR, size, &status) : NULL;
  if (b) {
    status = ek_gpu_begin(p, m, EK_GPU_FP32);
    if (!status)
      lay_out(p, b);
    status = ek_gpu_end(p, image);
  }
  ek_body_destroy(b);
  free(p);
  return status;
}
