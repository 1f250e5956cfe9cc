/* drive_sparse.h - walks over layers behind a ReLU, and their FP32 loops; a file that makes those says what
 * MULTIPLY_ADD(x, w, sum) is in its instruction set. */
#ifndef EK_NATIVE_DRIVE_SPARSE_H
#define EK_NATIVE_DRIVE_SPARSE_H

#include "engine.h"
#include "lanes.h"
#include <string.h>

/* One piece of the kernel over a row of pixels. sums: those of each 16 lanes at the first pixel. */
typedef void (*piece_fn)(const ek_stamp *, const char *w, char *const *sums);
typedef void (*finish_fn)(const ek_stamp *, const void *sums, void *out);

static inline char *stamp_ring(const ek_stamp *s, int row) {
  return (char *)s->sums + 4 * (int64_t)s->row_sums * (row % s->ring);
}

static inline void stamp_reset(const ek_stamp *s, int row) {
  memcpy(stamp_ring(s, row), s->fresh, 4 * (size_t)s->row_sums);
}

/* Row `row` of the stamps, margin included, is complete. */
static inline void stamp_done(const ek_stamp *s, int row, int bytes, finish_fn finish) {
  int y = row - s->pad;
  if (y >= 0 && y < s->out.shape.h)
    finish(s, stamp_ring(s, row) + 4 * s->pad * s->lanes, (char *)s->out.data + (int64_t)y * s->out.row * bytes);
  stamp_reset(s, row);
}

/* All pieces over row y of the input. */
static inline void stamp_pieces(const ek_stamp *s, int y, int bytes, const piece_fn *pieces) {
  const char *w = s->weights;
  for (int lane = 0, width; lane < s->all_lanes; lane += width) {
    char *sums[EK_PIECE_INT8 / EK_HALF];
    width = ek_piece(bytes == 1, s->all_lanes - lane);
    for (int i = 0, at = lane; i < width / EK_HALF; i++, at += EK_HALF) {
      int ky = at / s->row_lanes;
      char *row =
          ky < s->kernel ? stamp_ring(s, y * s->stride + ky) : (char *)s->sums + 4 * (int64_t)s->row_sums * s->ring;
      sums[i] = row + 4 * (at % s->row_lanes);
    }
    pieces[width / EK_HALF](s, w, sums);
    w += (int64_t)width * s->inputs.n * bytes;
  }
}

typedef struct {
  int bytes; /* of an element: 1 or 4 */
  ek_gather_fn gather;
  piece_fn pieces[EK_PIECE_INT8 / EK_HALF + 1]; /* [n]: the one for 16 n lanes */
  finish_fn finish;
} stamp_loops;

static inline void run_stamp(const ek_stamp *s, const stamp_loops *loops) {
  int height = s->in.shape.h, stride = s->stride, rows = (height - 1) * stride + s->kernel, bytes = loops->bytes;
  for (int i = 0; i < s->ring; i++)
    stamp_reset(s, i);
  for (int y = 0; y < height; y++) {
    const char *x = (const char *)s->in.data + (int64_t)y * s->in.row * bytes;
    for (int i = 0; i < s->in.shape.w; i++, x += s->in.pixel * bytes)
      loops->gather(&s->inputs, x, &s->lists[i]);
    stamp_pieces(s, y, bytes, loops->pieces);
    for (int row = y * stride; row < (y + 1) * stride && row < rows; row++)
      stamp_done(s, row, bytes, loops->finish);
  }
  for (int row = height * stride; row < rows; row++)
    stamp_done(s, row, bytes, loops->finish);
}

typedef int8_t ek_lane_bytes __attribute__((vector_size(8)));

/* The layer that reads joints: few inputs, in 16 bits. finish: as in ek_kernels. */
#define JOINTS_INT8(name, target, finish)                                                                              \
  target static void name(const void *args) {                                                                          \
    const ek_columns *c = args;                                                                                        \
    const int16_t *x = c->in;                                                                                          \
    const int8_t *w = c->weights;                                                                                      \
    ek_lane_bits *sums = c->sums;                                                                                      \
    const ek_lane_bits *bias = c->bias;                                                                                \
    for (int b = 0; b < c->row / 8; b++) {                                                                             \
      ek_lane_bits sum = bias[b];                                                                                      \
      for (int i = 0; i < c->inputs.n; i++) {                                                                          \
        ek_lane_bytes eight;                                                                                           \
        memcpy(&eight, w + (int64_t)i * c->row + 8 * b, sizeof eight);                                                 \
        sum += x[i] * __builtin_convertvector(eight, ek_lane_bits);                                                    \
      }                                                                                                                \
      sums[b] = sum;                                                                                                   \
    }                                                                                                                  \
    ek_finish_columns(c, c->sums, finish);                                                                             \
  }

/* FP32 columns stream whole rows of weights, four at a time: they come from far away, in order. */
#define COLUMNS_FP32(name, target, gather)                                                                             \
  target static void name(const void *args) {                                                                          \
    const ek_columns *c = args;                                                                                        \
    const float *values = c->list->values;                                                                             \
    const int32_t *index = c->list->index;                                                                             \
    ek_lanes *sums = c->sums;                                                                                          \
    gather(&c->inputs, c->in, c->list);                                                                                \
    int n = c->list->n, blocks = c->row / 8;                                                                           \
    memcpy(sums, c->bias, 4 * (size_t)c->row);                                                                         \
    for (int i = 0; i < n; i += 4) {                                                                                   \
      const ek_lanes *w[4];                                                                                            \
      ek_lanes v[4];                                                                                                   \
      _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) {                                                            \
        int at = i + k < n ? i + k : i;                                                                                \
        w[k] = (const ek_lanes *)c->weights + (int64_t)index[at] * blocks;                                             \
        v[k] = (i + k < n ? values[at] : 0) - (ek_lanes){0};                                                           \
      }                                                                                                                \
      for (int b = 0; b < blocks; b++) {                                                                               \
        ek_lanes sum = sums[b];                                                                                        \
        _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) sum = MULTIPLY_ADD(v[k], w[k][b], sum);                    \
        sums[b] = sum;                                                                                                 \
      }                                                                                                                \
    }                                                                                                                  \
    for (int b = 0; b < c->n_blocks; b++) {                                                                            \
      ek_lanes y = c->relu ? POSITIVE(sums[b]) : sums[b];                                                              \
      memcpy((float *)c->out + c->out_off[b], &y, sizeof y);                                                           \
    }                                                                                                                  \
  }

/* A piece of 16 N lanes. */
#define PIECE_FP32(name, target, N)                                                                                    \
  target static void name(const ek_stamp *s, const char *weights, char *const *sums) {                                 \
    int step = 4 * s->stride * s->lanes, width = s->in.shape.w, at = 0;                                                \
    for (int x = 0; x < width; x++, at += step) {                                                                      \
      const float *values = s->lists[x].values;                                                                        \
      const int32_t *index = s->lists[x].index;                                                                        \
      ek_lanes sum[2 * (N)];                                                                                           \
      _Pragma("GCC unroll 8") for (int b = 0; b < 2 * (N); b++) sum[b] = (ek_lanes){0};                                \
      for (int i = 0, n = s->lists[x].n; i < n; i++) {                                                                 \
        const ek_lanes *w = (const ek_lanes *)weights + 2 * (N)*index[i];                                              \
        ek_lanes v = values[i] - (ek_lanes){0};                                                                        \
        _Pragma("GCC unroll 8") for (int b = 0; b < 2 * (N); b++) sum[b] = MULTIPLY_ADD(v, w[b], sum[b]);              \
      }                                                                                                                \
      _Pragma("GCC unroll 8") for (int b = 0; b < 2 * (N); b++)((ek_lanes *)(sums[b / 2] + at))[b % 2] += sum[b];      \
    }                                                                                                                  \
  }

#define STAMP_FP32(name, target, gather_fn)                                                                            \
  PIECE_FP32(name##_64, target, 4)                                                                                     \
  PIECE_FP32(name##_32, target, 2)                                                                                     \
  target static void name##_finish(const ek_stamp *s, const void *row, void *to) {                                     \
    const ek_lanes *sums = row;                                                                                        \
    float *out = to;                                                                                                   \
    int blocks = s->lanes / 8;                                                                                         \
    for (int x = 0; x < s->out.shape.w; x++, out += s->out.pixel)                                                      \
      for (int b = 0; b < blocks; b++, sums++) {                                                                       \
        ek_lanes y = s->relu ? POSITIVE(*sums) : *sums;                                                                \
        memcpy(out + 8 * b, &y, sizeof y);                                                                             \
      }                                                                                                                \
  }                                                                                                                    \
  static void name(const void *args) {                                                                                 \
    static const stamp_loops loops = {4, gather_fn, {0, 0, name##_32, 0, name##_64}, name##_finish};                   \
    run_stamp(args, &loops);                                                                                           \
  }

#endif
