/* raster.c - fills silhouettes and depth maps. A silhouette needs no z-buffer: a row is an or of bit spans. */
#include "scene.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

#define SMALL_SAMPLES 6 /* up to here testing every sample is cheaper than the spans' divisions */

static inline void set_span(uint64_t *row, int c0, int c1) {
  int w0 = c0 >> 6, w1 = c1 >> 6;
  uint64_t from = ~0ull >> (c0 & 63), to = ~0ull << (63 - (c1 & 63));
  if (w0 == w1) {
    row[w0] |= from & to;
    return;
  }
  row[w0] |= from;
  for (int w = w0 + 1; w < w1; w++)
    row[w] = ~0ull;
  row[w1] |= to;
}

static inline int holds(const float *x, const float *y, float px, float py) {
  float ax = x[0] - px, ay = y[0] - py, bx = x[1] - px, by = y[1] - py, cx = x[2] - px, cy = y[2] - py;
  float e0 = ax * by - bx * ay, e1 = bx * cy - cx * by, e2 = cx * ay - ax * cy;
  return (e0 >= 0 && e1 >= 0 && e2 >= 0) || (e0 <= 0 && e1 <= 0 && e2 <= 0);
}

/* An edge counts from its upper end, so that two triangles get the same crossing of a shared edge. */
typedef struct {
  float x, y, slope;
} line_t;

static inline line_t line_between(const float *x, const float *y, int a, int b) {
  return (line_t){x[a], y[a], y[b] > y[a] ? (x[b] - x[a]) / (y[b] - y[a]) : 0};
}

static inline void order(const float *x, const float *y, int *a, int *b) {
  if (y[*a] > y[*b] || (y[*a] == y[*b] && x[*a] > x[*b])) {
    int keep = *a;
    *a = *b;
    *b = keep;
  }
}

/* Fills rows r0..r1, samples c0..c1 of them, between the long edge and the two short ones. */
static void fill_spans(uint64_t *rows, int words, const float *x, const float *y, int c0, int c1, int r0, int r1) {
  int top = 0, middle = 1, bottom = 2;
  order(x, y, &top, &middle);
  order(x, y, &middle, &bottom);
  order(x, y, &top, &middle);
  line_t full = line_between(x, y, top, bottom);
  line_t upper = line_between(x, y, top, middle), lower = line_between(x, y, middle, bottom);
  /* Without rows below the middle corner the upper edge counts to its end, and the other way round. */
  int flat_bottom = !(y[bottom] > y[middle]);
  for (int r = r0; r <= r1; r++) {
    float at = (float)r;
    const line_t *side = at < y[middle] || flat_bottom ? &upper : &lower;
    float one = full.x + (at - full.y) * full.slope, other = side->x + (at - side->y) * side->slope;
    float low = one < other ? one : other, high = one < other ? other : one;
    low = low > (float)c0 ? low : (float)c0;
    high = high < (float)c1 ? high : (float)c1;
    int from = (int)low;
    from += (float)from < low;
    if (high >= (float)from)
      set_span(rows + r * words, from, (int)high);
  }
}

static void fill_triangle(uint64_t *rows, int words, const ek_block *b, int i) {
  int c0 = b->c0[i], c1 = b->c1[i], r0 = b->r0[i], r1 = b->r1[i];
  if (c0 == c1 && r0 == r1) { /* decided when it was projected */
    rows[r0 * words + (c0 >> 6)] |= 1ull << (63 - (c0 & 63));
    return;
  }
  float x[3] = {b->x[0][i], b->x[1][i], b->x[2][i]}, y[3] = {b->y[0][i], b->y[1][i], b->y[2][i]};
  if ((c1 - c0 + 1) * (r1 - r0 + 1) > SMALL_SAMPLES) {
    fill_spans(rows, words, x, y, c0, c1, r0, r1);
    return;
  }
  for (int r = r0; r <= r1; r++) {
    uint64_t *row = rows + r * words;
    for (int c = c0; c <= c1; c++) {
      uint64_t bit = 1ull << (63 - (c & 63));
      if (!(row[c >> 6] & bit) && holds(x, y, (float)c, (float)r))
        row[c >> 6] |= bit;
    }
  }
}

static void fill_block(const ek_scene *scene, int first, const ek_projection *p, int words) {
  ek_block block;
  ek_block_project(scene, first, p, &block);
  if (block.near_hit) {
    for (int t = first; t < first + EK_RENDER_BLOCK; t++) {
      ek_block_clip(scene, t, p, &block);
      for (int i = 0; i < 2; i++) {
        if (block.keep[i])
          fill_triangle(scene->rows, words, &block, i);
      }
    }
    return;
  }
  for (int i = 0; i < EK_RENDER_BLOCK; i++) {
    if (block.keep[i])
      fill_triangle(scene->rows, words, &block, i);
  }
}

/* Every sample of the box is set already: whatever lies in it changes nothing. */
static int covered(const uint64_t *rows, int words, int c0, int c1, int r0, int r1) {
  int w0 = c0 >> 6, w1 = c1 >> 6;
  for (int r = r0; r <= r1; r++) {
    const uint64_t *row = rows + r * words;
    for (int w = w0; w <= w1; w++) {
      uint64_t need = ~0ull;
      if (w == w0)
        need &= ~0ull >> (c0 & 63);
      if (w == w1)
        need &= ~0ull << (63 - (c1 & 63));
      if (need & ~row[w])
        return 0;
    }
  }
  return 1;
}

static void fill_link(const ek_scene *scene, const ek_link_range *range, const ek_projection *p, int words) {
  ek_boxes boxes;
  int end = (range->first + range->count) / EK_RENDER_BLOCK;
  for (int first = range->first / EK_RENDER_BLOCK; first < end; first += EK_RENDER_BLOCK) {
    int n = end - first < EK_RENDER_BLOCK ? end - first : EK_RENDER_BLOCK;
    ek_boxes_project(scene, first, n, p, &boxes);
    for (int i = 0; i < n; i++) {
      int c0 = boxes.c0[i], c1 = boxes.c1[i], r0 = boxes.r0[i], r1 = boxes.r1[i];
      if (c0 <= c1 && r0 <= r1 && !covered(scene->rows, words, c0, c1, r0, r1))
        fill_block(scene, (first + i) * EK_RENDER_BLOCK, p, words);
    }
  }
}

/* The near plane may cut the link: some corner of its box lies in front of it. */
static int touches_near(const ek_link_range *range, const ek_projection *p) {
  float w = p->m[11];
  for (int i = 0; i < 3; i++)
    w += fminf(p->m[8 + i] * range->low[i], p->m[8 + i] * range->high[i]);
  return w < p->near_m;
}

static int check(const ek_scene *scene, const ek_camera *camera, int convention, const double *poses, const void *out) {
  if (!scene || !camera || !poses || !out || !ek_camera_valid(camera))
    return EK_E_ARGUMENT;
  if (convention != EK_CONVENTION_CENTER && convention != EK_CONVENTION_TINYRENDERER)
    return EK_E_ARGUMENT;
  for (int i = 0; i < 12 * scene->n_links; i++) {
    if (!isfinite(poses[i]))
      return EK_E_NONFINITE;
  }
  return EK_OK;
}

static void pack_rows(const uint64_t *rows, int words, const ek_camera *camera, uint8_t *out) {
  int row_bytes = (camera->width + 7) / 8;
  for (int r = 0; r < camera->height; r++) {
    for (int k = 0; k < row_bytes; k++)
      out[r * row_bytes + k] = (uint8_t)(rows[r * words + k / 8] >> (56 - 8 * (k % 8)));
  }
}

int ek_render_mask(ek_scene *scene, const ek_camera *camera, int convention, const double *link_poses,
                   uint8_t *mask_out) {
  int status = check(scene, camera, convention, link_poses, mask_out);
  if (status != EK_OK)
    return status;
  int words = (camera->width + 63) / 64;
  memset(scene->rows, 0, sizeof(uint64_t) * (size_t)camera->height * (size_t)words);
  for (int l = 0; l < scene->n_links; l++) {
    ek_projection p;
    if (scene->links[l].count == 0)
      continue;
    ek_projection_of(camera, convention, link_poses + 12 * l, &p);
    p.cull =
        convention == EK_CONVENTION_TINYRENDERER || (scene->links[l].closed && !touches_near(&scene->links[l], &p));
    fill_link(scene, &scene->links[l], &p, words);
  }
  pack_rows(scene->rows, words, camera, mask_out);
  return EK_OK;
}

static void depth_triangle(const ek_block *b, int i, int width, float *depth) {
  float x[3] = {b->x[0][i], b->x[1][i], b->x[2][i]}, y[3] = {b->y[0][i], b->y[1][i], b->y[2][i]};
  double area = (double)(x[1] - x[0]) * (y[2] - y[0]) - (double)(x[2] - x[0]) * (y[1] - y[0]);
  for (int r = b->r0[i]; r <= b->r1[i]; r++) {
    for (int c = b->c0[i]; c <= b->c1[i]; c++) {
      if (!holds(x, y, (float)c, (float)r))
        continue;
      double l1 = ((double)(c - x[0]) * (y[2] - y[0]) - (double)(x[2] - x[0]) * (r - y[0])) / area;
      double l2 = ((double)(x[1] - x[0]) * (r - y[0]) - (double)(c - x[0]) * (y[1] - y[0])) / area;
      /* 1 / z is linear on the screen. */
      double inverse = (1 - l1 - l2) / b->w[0][i] + l1 / b->w[1][i] + l2 / b->w[2][i];
      float z = (float)(1 / inverse), *at = &depth[r * width + c];
      *at = z < *at ? z : *at;
    }
  }
}

static void depth_link(const ek_scene *scene, const ek_link_range *range, const ek_projection *p, float *depth) {
  ek_block block;
  for (int first = range->first; first < range->first + range->count; first += EK_RENDER_BLOCK) {
    ek_block_project(scene, first, p, &block);
    if (block.near_hit) {
      for (int t = first; t < first + EK_RENDER_BLOCK; t++) {
        ek_block_clip(scene, t, p, &block);
        for (int i = 0; i < 2; i++) {
          if (block.keep[i])
            depth_triangle(&block, i, p->width, depth);
        }
      }
      continue;
    }
    for (int i = 0; i < EK_RENDER_BLOCK; i++) {
      if (block.keep[i])
        depth_triangle(&block, i, p->width, depth);
    }
  }
}

int ek_render_depth(ek_scene *scene, const ek_camera *camera, int convention, const double *link_poses,
                    float *depth_out) {
  int status = check(scene, camera, convention, link_poses, depth_out);
  if (status != EK_OK)
    return status;
  for (int i = 0; i < camera->width * camera->height; i++)
    depth_out[i] = INFINITY;
  for (int l = 0; l < scene->n_links; l++) {
    ek_projection p;
    if (scene->links[l].count == 0)
      continue;
    ek_projection_of(camera, convention, link_poses + 12 * l, &p);
    depth_link(scene, &scene->links[l], &p, depth_out);
  }
  return EK_OK;
}
