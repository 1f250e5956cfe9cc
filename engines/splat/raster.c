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

#include "pairs.h"

void ek_body_draw(ek_body *b) {
  uint64_t all = b->n_background ? ek_cells(0, b->width - 1, b->cell) : 0; /* a static layer is everywhere */
  for (int view = 0; view < b->layout.n_views; view++) {
    int64_t row = (int64_t)view * b->height;
    const ek_picture p = {b->light + row * b->stride, b->touched + row, b->stride, b->width, b->cell};
    const ek_outline *o = b->outlines + (int64_t)view * b->layout.n_ellipsoids;
    ISA_OF(b, clear)(&p, b->empty + row * b->stride, b->height, all);
    for (int i = 0; i < b->layout.n_ellipsoids; i++)
      if (o[i].top <= o[i].bottom)
        DRAW_OF(b, &o[i])(&o[i], &p);
  }
}

void ek_body_gather(const ek_body *b, int view, int i, ek_moments *m) {
  const ek_outline *o = &b->outlines[view * b->layout.n_ellipsoids + i];
  const float *pull = b->pull + (int64_t)view * b->height * b->stride;
  ISA_OF(b, gather)(o, pull, b->stride, b->width, m);
}
