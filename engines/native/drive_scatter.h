/* drive_scatter.h - walks over a sparse 3x3 convolution and calls an instruction set's inner loops. */
#ifndef EK_NATIVE_DRIVE_SCATTER_H
#define EK_NATIVE_DRIVE_SCATTER_H

#include "engine.h"

typedef void (*scatter_row_fn)(const ek_scatter *, const int8_t *x, const int16_t *w, const int32_t *bias,
                               int32_t *const rows[3]);
typedef void (*finish_row_fn)(const ek_scatter *, int block, int y, const int32_t *sums);

/* Row y of the sums, margin included, is complete. */
static void finish_sums(const ek_scatter *c, int block, int y, const int32_t *sums, finish_row_fn finish) {
  int margin = 2 - c->pad;
  if (y >= margin && y < margin + c->out.shape.h)
    finish(c, block, y - margin, sums + 8 * margin);
}

static void scatter_block(const ek_scatter *c, int block, scatter_row_fn row, finish_row_fn finish) {
  int height = c->in.shape.h, row_sums = 8 * (c->in.shape.w + 2);
  const int16_t *w = c->weights + (int64_t)block * c->in_groups * EK_PAIRS * EK_PAIR_WEIGHTS;
  const int32_t *bias = c->bias + 8 * block;
  int32_t *rows[3] = {c->sums, c->sums + row_sums, c->sums + 2 * row_sums};
  for (int i = 0; i < 2 * row_sums; i++)
    c->sums[i] = bias[i % 8];
  for (int y = 0; y < height; y++) {
    row(c, (const int8_t *)c->in.data + (int64_t)y * c->in.row, w, bias, rows);
    finish_sums(c, block, y, rows[0], finish);
    int32_t *done = rows[0];
    rows[0] = rows[1], rows[1] = rows[2], rows[2] = done;
  }
  finish_sums(c, block, height, rows[0], finish);
  finish_sums(c, block, height + 1, rows[1], finish);
}

static inline void scatter_run(const ek_scatter *c, scatter_row_fn row, finish_row_fn finish) {
  if (ek_scatter_is_dense(c)) {
    c->run_dense(c->dense);
    return;
  }
  for (int block = 0; block < c->out_blocks; block++)
    scatter_block(c, block, row, finish);
}

#endif
