/* scene.h - the renderer's own types: triangles laid out for vector code, and the rows being filled. */
#ifndef EK_RENDER_SCENE_H
#define EK_RENDER_SCENE_H

#include "../include/edgekin.h"

#define EK_RENDER_MAX_PX 1024
#define EK_RENDER_BLOCK 32 /* triangles set up at once: their working set stays in the L1 cache */
#define EK_RENDER_WORDS (EK_RENDER_MAX_PX / 64)

/* A link's triangles are contiguous and padded to whole blocks with triangles of no area. */
typedef struct {
  int first, count; /* in triangles, both multiples of EK_RENDER_BLOCK */
  int large;        /* the first so many, a multiple of it too, cover most of the surface: drawn before all others */
  int closed;       /* every directed edge has its reverse: back faces cannot change the silhouette */
  float low[3], high[3]; /* bounding box, m */
} ek_link_range;

/* What a whole block of triangles can be skipped by, in the link's frame; arrays over all blocks. */
typedef struct {
  float *centre[3], *half[3]; /* bounding box, m */
  float *radius;              /* of the ball about the centre, m */
  float *axis[3], *sine;      /* cone that holds every normal; sine 2: there is none */
} ek_bounds;

struct ek_scene {
  int n_links, n_triangles;
  ek_link_range *links;
  float *corner[9]; /* x0 y0 z0 x1 y1 z1 x2 y2 z2, each (n_triangles) m, in the link's frame */
  ek_bounds bounds;
  float *memory;  /* what corner and bounds point into */
  uint64_t *rows; /* (EK_RENDER_MAX_PX, EK_RENDER_WORDS) pixel x is bit 63 - x % 64 of word x / 64 */
};

/* Camera and link folded into one matrix: pixel coordinates whose samples are the integers. */
typedef struct {
  float m[12];   /* row-major 3x4: u * w, v * w, w (metres along the camera's z) */
  float cam[12]; /* row-major 3x4: link to camera, m */
  float fx, fy, cx, cy;
  float eye[3]; /* the camera in the link's frame, m */
  float near_m, min_area;
  int width, height;
  int cull;
} ek_projection;

/* Up to EK_RENDER_BLOCK projected triangles that hold at least one sample, pixels. */
typedef struct {
  float x[3][EK_RENDER_BLOCK], y[3][EK_RENDER_BLOCK], w[3][EK_RENDER_BLOCK];
  int c0[EK_RENDER_BLOCK], c1[EK_RENDER_BLOCK], r0[EK_RENDER_BLOCK], r1[EK_RENDER_BLOCK]; /* samples, inclusive */
  int keep[EK_RENDER_BLOCK];
  int near_hit; /* some corner lies nearer than near_m: the block needs clipping */
} ek_block;

/* The samples that a block may touch, inclusive; none (c0 > c1) where it is outside the picture or seen from behind. */
typedef struct {
  int c0[EK_RENDER_BLOCK], c1[EK_RENDER_BLOCK], r0[EK_RENDER_BLOCK], r1[EK_RENDER_BLOCK];
} ek_boxes;

/* Moves the largest triangles (9 floats each), which make up most of the surface, to the front; returns how many, a
 * multiple of EK_RENDER_BLOCK, or 0. keys (n) is working memory. */
int ek_cluster_large(float *triangles, int n, float *keys);
/* Reorders triangles (9 floats each) so that every EK_RENDER_BLOCK in a row lie together and face alike. */
void ek_cluster_sort(float *triangles, int n);
/* Fills bounds[block] from the triangles of the block that have an area. */
void ek_cluster_bounds(ek_scene *scene, int block, const float *triangles, int n);
/* Boxes of up to EK_RENDER_BLOCK blocks from first_block on. */
void ek_boxes_project(const ek_scene *scene, int first_block, int n, const ek_projection *projection, ek_boxes *boxes);

int ek_camera_valid(const ek_camera *camera);
void ek_projection_of(const ek_camera *camera, int convention, const double *link_pose, ek_projection *out);
/* Projects one block; what is outside, culled, too small or between the samples gets keep 0. */
void ek_block_project(const ek_scene *scene, int first, const ek_projection *projection, ek_block *block);
/* Clips triangle `index` at the near plane; up to two triangles in a block of their own. */
void ek_block_clip(const ek_scene *scene, int index, const ek_projection *projection, ek_block *block);

#endif
