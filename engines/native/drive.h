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

/* All groups over all pixels, four pixels at a time; groups outermost, so that their weights stay in the cache. */
static void run_tiles(const ek_dot *d, const tile_fn one[5], const tile_fn four[5]) {
  int64_t n = (int64_t)d->rows * d->cols;
  for (int k = 0; k < d->n_groups; k++) {
    const ek_group *g = &d->groups[k];
    walk next = {.d = d};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
      walk at[4];
      for (int p = 0; p < 4; p++) {
        at[p] = next;
        step(&next);
      }
      four[g->blocks](d, g, at);
    }
    for (; i < n; i++) {
      one[g->blocks](d, g, &next);
      step(&next);
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
