/* program.h - what the kernels walk: a network as a list of steps over one image of constants and one arena of maps.
 * Read by plan.c, which writes it, and by kernels.cu. Places are in words of 32 bits from the start of the image, of
 * the arena, or of a block's shared memory.
 *
 * Maps lie channels last. A pixel has its channels in blocks of four: 1 word in int8, 2 in half, 4 in float. Joints
 * that an int8 network reads are int16: 2 words. Around a
 * map is a border of zeros as wide as the next step reads, so no kernel asks for the edge. */
#ifndef EK_CUDA_PROGRAM_H
#define EK_CUDA_PROGRAM_H

#include <stdint.h>

#define EK_GPU_VERSION 2
#define EK_GPU_THREADS 256 /* of a block, at most */
#define EK_GPU_SLOTS 80    /* barriers of one tick, and one counter for its end */
#define EK_GPU_JOINTS 16
#define EK_GPU_TILE 8 /* pixels a side that are scored together: EK_BLOCK */

/* Elements of maps and weights. */
enum { EK_GPU_INT8, EK_GPU_FP16, EK_GPU_FP32, EK_GPU_INT16 };

enum {
  EK_GPU_INPUT,      /* joints to their sines and cosines, or as they are */
  EK_GPU_JOINTS_DOT, /* int8: the linear layer that reads them */
  EK_GPU_DOT,        /* linear, conv, convt */
  EK_GPU_STAMP,      /* a map times the nine places of a 3x3 kernel: before it is enlarged */
  EK_GPU_BLEND,      /* what EK_GPU_STAMP yields, enlarged and summed */
  EK_GPU_RESIZE,     /* bilinear */
  EK_GPU_CROP,
  EK_GPU_RESHAPE,
  EK_GPU_SHUFFLE,
  EK_GPU_SCORE /* logits out of the last map, compared with the mask */
};

/* Who waits for whom behind a step. */
enum { EK_GPU_BLOCK, EK_GPU_GRID };

typedef struct {
  int32_t data;       /* pixel (0, 0) */
  int32_t shared;     /* in shared memory, and not in the arena */
  int32_t pixel, row; /* words from one to the next */
  int32_t c, h, w;
} ek_gpu_map;

/* The output pixels of a step that see the same places of the kernel: all of them, but for transposed convolutions. */
typedef struct {
  int32_t first_item, n_places;
  int32_t places;  /* (n_places) words from the input pixel of output pixel (0, 0) */
  int32_t weights; /* (n_blocks, n_places, 4) words: four outputs of a block, each times the place's word */
  int32_t cols, pixels, out, unused;
} ek_gpu_phase;

typedef struct {
  int32_t kind, after;
  int32_t alone; /* every block does all of it, for itself: cheaper than a barrier of the grid */
  int32_t n;     /* items */
  ek_gpu_map in, out;
  int32_t relu, shift;
  int32_t n_blocks, lanes; /* of four outputs; threads that share the places of an item */
  int32_t phases, n_phases;
  int32_t bias, mult;         /* (4 n_blocks) */
  int32_t offsets;            /* (n_blocks) words from an output pixel */
  int32_t out_pixel, out_row; /* words from one output pixel of a phase to the next */
  int32_t ty, tx;             /* taps of the rows and columns */
  int32_t factor;             /* of the shuffle; of EK_GPU_SCORE, too, 1: none */
  int32_t narrow;             /* EK_GPU_SCORE: weights (views, 8) of a 1x1 convolution, or 0 */
  int32_t sincos;
  float scale; /* EK_GPU_INPUT of int8 */
} ek_gpu_step;

/* One output of an axis: in[first] + (in[second] - in[first]) * fraction. int8: weight in 1/256, fine in 1/2^15. */
typedef struct {
  int32_t first, second, weight, fine;
  float fraction;
} ek_gpu_tap;

/* The head of the image; `steps` follow. */
typedef struct {
  uint32_t version, type, n_steps, body; /* body: of a body model, where its ek_gpu_body lies; else 0 */
  uint32_t image_words, arena_words, shared_bytes;
  int32_t n_joints, n_views, n_maps, height, width;
  int32_t tile_rows, tile_columns; /* of one view */
  int32_t logits;                  /* arena: (n_maps, height, width) int8 or float */
  int32_t pixels;                  /* image: int8, (2, 256) what a pixel adds: native/score.c */
  int32_t masks_bytes, results_bytes;
} ek_gpu_program;

/* ---- a body model: engines/splat ------------------------------------------------------------------------------- */

typedef struct {
  double axis[3], rest, corrected[12];
  int32_t kind, parent, child, coordinate;
} ek_gpu_joint;

typedef struct {
  double world_to_cam[12];
  float fx, fy, cx, cy, near_m, unused;
} ek_gpu_camera;

typedef struct {
  float centre[3], axes[9], rise, reach, opacity, rest;
  int32_t link, unused;
} ek_gpu_ellipsoid;

typedef struct {
  float u, v, a, b2, c, inner, opacity, rest;
  int32_t top, bottom, left, right; /* inclusive; top > bottom: not seen */
} ek_gpu_outline;

typedef struct {
  double base[12];
  int32_t n_links, n_joints, n_ellipsoids;
  int32_t joints, cameras, ellipsoids; /* image */
  int32_t background;                  /* image: (n_views, height, width) light without the robot, or 0 */
  int32_t outlines, outlines_shared;   /* (n_views, n_ellipsoids) in the arena or in shared memory */
  int32_t locals, links, seen;         /* shared: poses (12 doubles), (12 doubles), (n_views, n_links, 12 floats) */
  float empty, low_pass_px2;
} ek_gpu_body;

/* ---- what goes in and comes out of a tick ----------------------------------------------------------------------- */

typedef struct {
  uint32_t tick, unused[3];
  float joints[EK_GPU_JOINTS];
  /* masks follow */
} ek_gpu_input;

/* What a tile adds. int8: the two words of native/score.c. */
typedef union {
  uint64_t sums[2];
  struct {
    float nll, squared, entropy;
    uint32_t counts; /* predicted | observed << 8 | intersection << 16 */
  } real;
} ek_gpu_tile;

typedef struct {
  uint32_t tick, unused[3]; /* the input's, once everything else is written */
  /* tiles (n_views, tile_rows, tile_columns) follow */
} ek_gpu_output;

/* Of a kernel. Steps first to last - 1; blocks meet at barriers only within one launch. */
typedef struct {
  const uint32_t *image;
  uint32_t *arena; /* begins with EK_GPU_SLOTS counters */
  const ek_gpu_input *in;
  ek_gpu_output *out;
  int32_t first, last;
} ek_gpu_args;

#endif
