/* raster.c - draws every outline into its picture, and gathers what the pictures pull at every outline. */
#include "body.h"

/* What an outline is drawn into. */
typedef struct {
  float *light;
  uint64_t *touched;
  int stride, width, cell;
} ek_picture;

/* The bits of the cells from a pixel of a row to another. */
static inline uint64_t ek_cells(int first, int last, int cell) {
  return (UINT64_C(2) << (last >> cell)) - (UINT64_C(1) << (first >> cell));
}

#define ISA_TEXT "raster.h"
#include "isas.h"

/* What the last picture touched becomes empty again. */
static void clear(ek_body *b, int view) {
  size_t bytes = sizeof(float) << b->cell;
  int64_t row = (int64_t)view * b->height;
  for (int y = 0; y < b->height; y++, row++) {
    for (uint64_t cells = b->touched[row]; cells; cells &= cells - 1) {
      int64_t at = row * b->stride + ((int64_t)__builtin_ctzll(cells) << b->cell);
      if (b->cell == 3)
        memcpy(b->light + at, b->empty + at, 8 * sizeof(float));
      else
        memcpy(b->light + at, b->empty + at, bytes);
    }
    b->touched[row] = b->n_background ? ek_cells(0, b->width - 1, b->cell) : 0;
  }
}

void ek_body_draw(ek_body *b) {
  for (int view = 0; view < b->layout.n_views; view++) {
    int64_t row = (int64_t)view * b->height;
    const ek_picture p = {b->light + row * b->stride, b->touched + row, b->stride, b->width, b->cell};
    const ek_outline *o = b->outlines + (int64_t)view * b->layout.n_ellipsoids;
    clear(b, view);
    for (int i = 0; i < b->layout.n_ellipsoids; i++)
      if (o[i].top <= o[i].bottom)
        ISA_OF(b, draw)(&o[i], &p);
  }
}

void ek_body_gather(const ek_body *b, int view, int i, ek_moments *m) {
  const ek_outline *o = &b->outlines[view * b->layout.n_ellipsoids + i];
  const float *pull = b->pull + (int64_t)view * b->height * b->stride;
  ISA_OF(b, gather)(o, pull, b->stride, b->width, m);
}
