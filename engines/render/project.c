/* project.c - link frame to pixels, a block of triangles at a time, and the near plane. */
#include "scene.h"

#include <math.h>
#include <string.h>

#include "../core/pose.h"

/* The loops below are plain C that the compiler turns into vector code; one clone per ISA is picked at load. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(EK_NO_CLONES)
#define EK_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EK_CLONES
#endif

int ek_camera_valid(const ek_camera *camera) {
  if (camera->width < 1 || camera->height < 1 || camera->width > EK_RENDER_MAX_PX || camera->height > EK_RENDER_MAX_PX)
    return 0;
  if (!(camera->near_m > 0) || !(camera->fx > 0) || !(camera->fy > 0) || !isfinite(camera->cx) || !isfinite(camera->cy))
    return 0;
  for (int i = 0; i < 12; i++) {
    if (!isfinite(camera->world_to_cam[i]))
      return 0;
  }
  return isfinite(camera->fx) && isfinite(camera->fy) && isfinite(camera->near_m);
}

void ek_projection_of(const ek_camera *camera, int convention, const double *link_pose, ek_projection *out) {
  /* Where a pixel is sampled, px from its upper-left corner. PyBullet's TinyRenderer tests integer coordinates of an
   * image whose y points up and turns it over afterwards: that is the lower-left corner of the pixel. */
  double sample_x = convention == EK_CONVENTION_TINYRENDERER ? 0.0 : 0.5;
  double sample_y = convention == EK_CONVENTION_TINYRENDERER ? 1.0 : 0.5;
  double cam[12];
  ek_pose_compose(camera->world_to_cam, link_pose, cam);
  for (int c = 0; c < 4; c++) {
    out->m[c] = (float)(camera->fx * cam[c] + (camera->cx - sample_x) * cam[8 + c]);
    out->m[4 + c] = (float)(camera->fy * cam[4 + c] + (camera->cy - sample_y) * cam[8 + c]);
    out->m[8 + c] = (float)cam[8 + c];
  }
  for (int c = 0; c < 12; c++)
    out->cam[c] = (float)cam[c];
  for (int c = 0; c < 3; c++)
    out->eye[c] = (float)-(cam[c] * cam[3] + cam[4 + c] * cam[7] + cam[8 + c] * cam[11]);
  out->fx = (float)camera->fx;
  out->fy = (float)camera->fy;
  out->cx = (float)(camera->cx - sample_x);
  out->cy = (float)(camera->cy - sample_y);
  out->near_m = (float)camera->near_m;
  out->min_area = convention == EK_CONVENTION_TINYRENDERER ? 0.01f : 0.0f;
  out->width = camera->width;
  out->height = camera->height;
  out->cull = 0;
}

static inline float minimum(float a, float b) {
  return a < b ? a : b;
}
static inline float maximum(float a, float b) {
  return a > b ? a : b;
}

/* Cross product of two corners seen from the sample: its sign says on which side of the edge the sample lies. Exactly
 * antisymmetric in its arguments, so two triangles that share an edge never both miss a sample on it. */
static inline float side(float ax, float ay, float bx, float by) {
  return ax * by - bx * ay;
}

/* Samples (integers) in [low, high] clamped to [0, last]; c0 > c1 when there is none. */
static inline void samples(float low, float high, float last, int *c0, int *c1) {
  float from = minimum(maximum(low, 0.0f), last + 1.0f), to = minimum(maximum(high, -1.0f), last);
  int first = (int)from;
  *c0 = first + ((float)first < from);
  *c1 = to < 0.0f ? -1 : (int)to;
}

__attribute__((always_inline)) static inline void select_one(const ek_projection *p, ek_block *b, int i) {
  float x0 = b->x[0][i], x1 = b->x[1][i], x2 = b->x[2][i], y0 = b->y[0][i], y1 = b->y[1][i], y2 = b->y[2][i];
  float area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0);
  int c0, c1, r0, r1;
  samples(minimum(minimum(x0, x1), x2), maximum(maximum(x0, x1), x2), (float)(p->width - 1), &c0, &c1);
  samples(minimum(minimum(y0, y1), y2), maximum(maximum(y0, y1), y2), (float)(p->height - 1), &r0, &r1);
  /* y points down: a face whose corners run counter-clockwise towards the camera has a negative area. */
  float size = p->cull ? -area : (area < 0 ? -area : area);
  int keep = (size > p->min_area) & (c0 <= c1) & (r0 <= r1);
  /* Most kept triangles hold a single sample in their box: decide those here, in vector code. */
  float px = (float)c0, py = (float)r0;
  float e0 = side(x0 - px, y0 - py, x1 - px, y1 - py);
  float e1 = side(x1 - px, y1 - py, x2 - px, y2 - py);
  float e2 = side(x2 - px, y2 - py, x0 - px, y0 - py);
  int inside = ((e0 >= 0) & (e1 >= 0) & (e2 >= 0)) | ((e0 <= 0) & (e1 <= 0) & (e2 <= 0));
  int single = (c0 == c1) & (r0 == r1);
  b->keep[i] = keep & ((single ^ 1) | inside);
  b->c0[i] = c0;
  b->c1[i] = c1;
  b->r0[i] = r0;
  b->r1[i] = r1;
}

EK_CLONES void ek_block_project(const ek_scene *scene, int first, const ek_projection *projection, ek_block *block) {
  const ek_projection p = *projection;
  for (int k = 0; k < 3; k++) {
    const float *restrict x = scene->corner[3 * k] + first;
    const float *restrict y = scene->corner[3 * k + 1] + first;
    const float *restrict z = scene->corner[3 * k + 2] + first;
    float *restrict ox = block->x[k], *restrict oy = block->y[k], *restrict ow = block->w[k];
    for (int i = 0; i < EK_RENDER_BLOCK; i++) {
      float w = p.m[8] * x[i] + p.m[9] * y[i] + p.m[10] * z[i] + p.m[11];
      float inverse = 1.0f / w;
      ox[i] = (p.m[0] * x[i] + p.m[1] * y[i] + p.m[2] * z[i] + p.m[3]) * inverse;
      oy[i] = (p.m[4] * x[i] + p.m[5] * y[i] + p.m[6] * z[i] + p.m[7]) * inverse;
      ow[i] = w;
    }
  }
  int near_hit = 0;
  for (int i = 0; i < EK_RENDER_BLOCK; i++)
    near_hit |= (block->w[0][i] < p.near_m) | (block->w[1][i] < p.near_m) | (block->w[2][i] < p.near_m);
  block->near_hit = near_hit;
  if (near_hit)
    return;
  for (int i = 0; i < EK_RENDER_BLOCK; i++)
    select_one(&p, block, i);
}

/* x / w over an interval of each, w > 0. */
static inline float least(float low, float near_w, float far_w) {
  return low / (low < 0 ? near_w : far_w);
}
static inline float most(float high, float near_w, float far_w) {
  return high / (high > 0 ? near_w : far_w);
}

EK_CLONES void ek_boxes_project(const ek_scene *scene, int first, int n, const ek_projection *projection,
                                ek_boxes *boxes) {
  const ek_projection p = *projection;
  const ek_bounds *b = &scene->bounds;
  const float *restrict x = b->centre[0] + first, *restrict y = b->centre[1] + first,
                        *restrict z = b->centre[2] + first;
  const float *restrict hx = b->half[0] + first, *restrict hy = b->half[1] + first, *restrict hz = b->half[2] + first;
  const float *restrict ax = b->axis[0] + first, *restrict ay = b->axis[1] + first, *restrict az = b->axis[2] + first;
  const float *restrict sine = b->sine + first, *restrict radius = b->radius + first;
  const float slack = 0.02f; /* px: far above the rounding of float at 1024 px */
  const float a[9] = {fabsf(p.cam[0]), fabsf(p.cam[1]), fabsf(p.cam[2]), fabsf(p.cam[4]), fabsf(p.cam[5]),
                      fabsf(p.cam[6]), fabsf(p.cam[8]), fabsf(p.cam[9]), fabsf(p.cam[10])};
  for (int i = 0; i < n; i++) {
    float cx = p.cam[0] * x[i] + p.cam[1] * y[i] + p.cam[2] * z[i] + p.cam[3];
    float cy = p.cam[4] * x[i] + p.cam[5] * y[i] + p.cam[6] * z[i] + p.cam[7];
    float cz = p.cam[8] * x[i] + p.cam[9] * y[i] + p.cam[10] * z[i] + p.cam[11];
    float ex = a[0] * hx[i] + a[1] * hy[i] + a[2] * hz[i], ey = a[3] * hx[i] + a[4] * hy[i] + a[5] * hz[i];
    float ez = a[6] * hx[i] + a[7] * hy[i] + a[8] * hz[i];
    float near_w = maximum(cz - ez, p.near_m), far_w = maximum(cz + ez, p.near_m);
    int c0, c1, r0, r1;
    samples(p.fx * least(cx - ex, near_w, far_w) + p.cx - slack, p.fx * most(cx + ex, near_w, far_w) + p.cx + slack,
            (float)(p.width - 1), &c0, &c1);
    samples(p.fy * least(cy - ey, near_w, far_w) + p.cy - slack, p.fy * most(cy + ey, near_w, far_w) + p.cy + slack,
            (float)(p.height - 1), &r0, &r1);
    float dx = x[i] - p.eye[0], dy = y[i] - p.eye[1], dz = z[i] - p.eye[2];
    float away = dx * ax[i] + dy * ay[i] + dz * az[i];
    int hidden = p.cull & (away > sine[i] * sqrtf(dx * dx + dy * dy + dz * dz) + radius[i]);
    hidden |= cz + ez < p.near_m;
    boxes->c0[i] = hidden ? 1 : c0;
    boxes->c1[i] = hidden ? 0 : c1;
    boxes->r0[i] = r0;
    boxes->r1[i] = r1;
  }
}

void ek_block_clip(const ek_scene *scene, int index, const ek_projection *p, ek_block *block) {
  double in[3][3], out[4][3]; /* u * w, v * w, w */
  int n = 0;
  for (int k = 0; k < 3; k++) {
    double v[3] = {scene->corner[3 * k][index], scene->corner[3 * k + 1][index], scene->corner[3 * k + 2][index]};
    for (int r = 0; r < 3; r++)
      in[k][r] = p->m[4 * r] * v[0] + p->m[4 * r + 1] * v[1] + p->m[4 * r + 2] * v[2] + p->m[4 * r + 3];
  }
  for (int k = 0; k < 3; k++) { /* Sutherland-Hodgman against the one plane w = near */
    const double *a = in[k], *b = in[(k + 1) % 3];
    if (a[2] >= p->near_m)
      memcpy(out[n++], a, sizeof out[0]);
    if ((a[2] >= p->near_m) != (b[2] >= p->near_m)) {
      double t = (p->near_m - a[2]) / (b[2] - a[2]);
      for (int r = 0; r < 3; r++)
        out[n][r] = a[r] + t * (b[r] - a[r]);
      n++;
    }
  }
  block->keep[0] = block->keep[1] = 0;
  for (int t = 0; t + 2 < n; t++) {
    const double *corner[3] = {out[0], out[t + 1], out[t + 2]};
    for (int k = 0; k < 3; k++) {
      block->x[k][t] = (float)(corner[k][0] / corner[k][2]);
      block->y[k][t] = (float)(corner[k][1] / corner[k][2]);
      block->w[k][t] = (float)corner[k][2];
    }
    select_one(p, block, t);
  }
}
