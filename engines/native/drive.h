/* drive.h - what walks over a layer and calls an instruction set's inner loops: the same for all of them. */
#ifndef EK_NATIVE_DRIVE_H
#define EK_NATIVE_DRIVE_H

#include "engine.h"

/* Walks the output pixels in rows, giving the next pixel's input and output. */
typedef struct {
  const ek_dot *d;
  int32_t row, col;
  int64_t in, out; /* element offsets */
} walk;

static inline void step(walk *w) {
  w->in += w->d->in_pixel;
  w->out += w->d->out_pixel;
  if (++w->col == w->d->cols) {
    w->col = 0;
    w->row++;
    w->in = (int64_t)w->row * w->d->in_row;
    w->out = (int64_t)w->row * w->d->out_row;
  }
}

typedef void (*tile_fn)(const ek_dot *, const ek_group *, const walk *);

/* Tiles of so many pixels, at most 8; [blocks] of outputs. */
typedef struct {
  int pixels;
  tile_fn run[5];
} tiles;

/* All groups over all pixels, in the widest tiles that fit: widest first, the last of one pixel. Groups outermost, so
 * that their weights stay in the cache. */
static void run_tiles(const ek_dot *d, const tiles *widest) {
  int64_t n = (int64_t)d->rows * d->cols;
  for (int k = 0; k < d->n_groups; k++) {
    const ek_group *g = &d->groups[k];
    const tiles *t = widest;
    walk next = {.d = d};
    for (int64_t i = 0; i < n; i += t->pixels) {
      walk at[8];
      while (i + t->pixels > n)
        t++;
      for (int p = 0; p < t->pixels; p++) {
        at[p] = next;
        step(&next);
      }
      t->run[g->blocks](d, g, at);
    }
  }
}

/* Output rows ask for input rows in ascending order: each is widened once into whichever buffer is free. */
#define RESIZE(name, type, widen, blend)                                                                               \
  static void name(const void *args) {                                                                                 \
    const ek_resize *r = args;                                                                                         \
    type *row[2] = {r->row_a, r->row_b};                                                                               \
    int held[2] = {-1, -1};                                                                                            \
    for (int y = 0; y < r->out.shape.h; y++) {                                                                         \
      int first = r->ty[y].first, second = r->ty[y].second;                                                            \
      if (held[0] != first) {                                                                                          \
        type *swap = row[0];                                                                                           \
        row[0] = row[1], row[1] = swap;                                                                                \
        int was = held[0];                                                                                             \
        held[0] = held[1], held[1] = was;                                                                              \
      }                                                                                                                \
      if (held[0] != first)                                                                                            \
        widen(r, held[0] = first, row[0]);                                                                             \
      if (first != second && held[1] != second)                                                                        \
        widen(r, held[1] = second, row[1]);                                                                            \
      blend(r, y, row[0], first == second ? row[0] : row[1]);                                                          \
    }                                                                                                                  \
  }

#endif
