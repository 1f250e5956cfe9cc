/* raster.c - fills silhouettes and depth maps. A silhouette needs no z-buffer: a row is an or of bit spans. */
#include "scene.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

#define SMALL_SAMPLES 4 /* up to here testing every sample is cheaper than the spans' divisions */

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

/* Corners from top to bottom; ties from left to right, so that two triangles see a shared edge alike. */
static inline void order(float *x, float *y, int a, int b) {
  int swap = (y[a] > y[b]) | ((y[a] == y[b]) & (x[a] > x[b]));
  float xa = swap ? x[b] : x[a], xb = swap ? x[a] : x[b], ya = swap ? y[b] : y[a], yb = swap ? y[a] : y[b];
  x[a] = xa;
  x[b] = xb;
  y[a] = ya;
  y[b] = yb;
}

static inline float slope_of(const float *x, const float *y, int a, int b) {
  float height = y[b] - y[a];
  return height > 0 ? (x[b] - x[a]) / height : 0;
}

typedef struct {
  float x, y, slope; /* an edge counts from its upper end */
} line_t;

/* Samples i..127 of a row of two words. A table: shifts of 128 bits cost more than the rest of a span. */
typedef uint64_t v2u __attribute__((vector_size(16)));
#define FROM_HIGH(i)                                                                                                   \
  { ~0ull >> (i), ~0ull }
#define FROM_LOW(i)                                                                                                    \
  { 0, ~0ull >> (i) }
#define EIGHT(of, i) of(i), of(i + 1), of(i + 2), of(i + 3), of(i + 4), of(i + 5), of(i + 6), of(i + 7)
#define WORD(of)                                                                                                       \
  EIGHT(of, 0), EIGHT(of, 8), EIGHT(of, 16), EIGHT(of, 24), EIGHT(of, 32), EIGHT(of, 40), EIGHT(of, 48), EIGHT(of, 56)
static const v2u samples_from[129] = {WORD(FROM_HIGH), WORD(FROM_LOW), {0, 0}};

static inline void fill_rows(uint64_t *rows, int words, line_t one, line_t two, float c0, float c1, int r0, int r1) {
  float before = c0 - 1, past = c1 + 1;
  for (int r = r0; r <= r1; r++) {
    float at = (float)r, left = one.x + (at - one.y) * one.slope, right = two.x + (at - two.y) * two.slope;
    float low = left < right ? left : right, high = left < right ? right : left;
    low = low > c0 ? low : c0;
    low = low < past ? low : past;
    high = high < c1 ? high : c1;
    high = high > before ? high : before;
    int from = (int)low, end = (int)high;
    from += (float)from < low;
    end += 1 - ((float)end > high);
    if (words == 2) { /* up to 128 px: without a branch; nothing where end <= from */
      v2u *row = (v2u *)(rows + 2 * r);
      *row |= samples_from[from] & ~samples_from[end];
    } else if (from < end) {
      set_span(rows + r * words, from, end - 1);
    }
  }
}

/* Fills rows r0..r1, samples c0..c1 of them, between the long edge and the two short ones. */
static void fill_spans(uint64_t *rows, int words, float *x, float *y, int c0, int c1, int r0, int r1) {
  order(x, y, 0, 1);
  order(x, y, 1, 2);
  order(x, y, 0, 1);
  line_t full = {x[0], y[0], slope_of(x, y, 0, 2)};
  line_t upper = {x[0], y[0], slope_of(x, y, 0, 1)}, lower = {x[1], y[1], slope_of(x, y, 1, 2)};
  /* Rows from the middle corner on belong to the lower edge, unless that is level and the upper one ends the triangle.
   */
  int split = r1 + 1;
  if (y[2] > y[1]) {
    split = y[1] > (float)r0 ? (y[1] > (float)r1 ? r1 + 1 : (int)y[1]) : r0;
    split += (float)split < y[1] && split <= r1;
  }
  fill_rows(rows, words, full, upper, (float)c0, (float)c1, r0, split - 1);
  fill_rows(rows, words, full, lower, (float)c0, (float)c1, split, r1);
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

/* Fills `count` triangles from first_triangle on. */
static void fill_part(const ek_scene *scene, int first_triangle, int count, const ek_projection *p, int words) {
  ek_boxes boxes;
  int end = (first_triangle + count) / EK_RENDER_BLOCK;
  for (int first = first_triangle / EK_RENDER_BLOCK; first < end; first += EK_RENDER_BLOCK) {
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

/* numpy.packbits' order: the first pixel is the high bit of the first byte. */
static void pack_rows(const uint64_t *rows, int words, const ek_camera *camera, uint8_t *out) {
  int row_bytes = (camera->width + 7) / 8;
  for (int r = 0; r < camera->height; r++) {
    for (int w = 0; w < words; w++) {
      uint64_t word = rows[r * words + w];
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
      word = __builtin_bswap64(word);
#endif
      int left = row_bytes - 8 * w;
      memcpy(out + r * row_bytes + 8 * w, &word, (size_t)(left < 8 ? left : 8));
    }
  }
}

int ek_render_mask(ek_scene *scene, const ek_camera *camera, int convention, const double *link_poses,
                   uint8_t *mask_out) {
  int status = check(scene, camera, convention, link_poses, mask_out);
  if (status != EK_OK)
    return status;
  int words = (camera->width + 63) / 64;
  memset(scene->rows, 0, sizeof(uint64_t) * (size_t)camera->height * (size_t)words);
  for (int small = 0; small < 2; small++) { /* most of the small triangles lie where the large ones have filled all */
    for (int l = 0; l < scene->n_links; l++) {
      const ek_link_range *range = &scene->links[l];
      int first = range->first + (small ? range->large : 0), count = small ? range->count - range->large : range->large;
      if (count == 0)
        continue;
      ek_projection p;
      ek_projection_of(camera, convention, link_poses + 12 * l, &p);
      p.cull = convention == EK_CONVENTION_TINYRENDERER || (range->closed && !touches_near(range, &p));
      fill_part(scene, first, count, &p, words);
    }
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
