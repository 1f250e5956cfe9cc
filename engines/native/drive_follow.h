/* drive_follow.h - walks over the changes of a row of inputs; a file that includes it says how its instruction set adds
 * rows of weights to sums. */
#ifndef EK_NATIVE_DRIVE_FOLLOW_H
#define EK_NATIVE_DRIVE_FOLLOW_H

#include "follow.h"

/* Rows of weights, and by how much their inputs have changed: an even number, of which the last may not have. */
enum { EK_ROWS = 8 };

typedef struct {
  const int8_t *weights[EK_ROWS];
  int32_t by[EK_ROWS], n;
} ek_rows;

static inline void put_row(ek_rows *rows, const int8_t *weights, int by) {
  rows->weights[rows->n] = weights;
  rows->by[rows->n++] = by;
}

static inline const int8_t *linear_weights(const ek_follow_linear *l, int y, const ek_change *c) {
  int64_t input = (int64_t)(y * l->in.w + c->x) * l->in.c + c->channel;
  return (const int8_t *)l->columns->weights + input * l->columns->row;
}

/* What two neighbours have changed by, the second in the upper 16 bits. */
static inline uint32_t change_of_two(const ek_change *c, int i) {
  return (uint16_t)(c->now[i] - c->before[i]) | (uint32_t)(c->now[i + 1] - c->before[i + 1]) << 16;
}

/* add_linear(sums, rows, lanes): to whole chunks of lanes; add_window(window, sums, weights, by): of two inputs. */
#define FOLLOW(linear, window, target, add_linear, add_window)                                                         \
  target void linear(void *layer, int y, const ek_change *changes, int n) {                                            \
    const ek_follow_linear *l = layer;                                                                                 \
    int row = l->columns->row;                                                                                         \
    ek_rows rows = {.n = 0};                                                                                           \
    for (const ek_change *c = changes; c < changes + n; c++) {                                                         \
      const int8_t *weights = linear_weights(l, y, c);                                                                 \
      for (uint64_t left = ek_changed(c); left;) {                                                                     \
        int i = ek_take_changed(&left, 1);                                                                             \
        put_row(&rows, weights + (int64_t)i * row, c->now[i] - c->before[i]);                                          \
        if (rows.n == EK_ROWS)                                                                                         \
          add_linear(l->sums, &rows, row), rows.n = 0;                                                                 \
      }                                                                                                                \
    }                                                                                                                  \
    if (rows.n % 2)                                                                                                    \
      put_row(&rows, rows.weights[rows.n - 1], 0);                                                                     \
    if (rows.n)                                                                                                        \
      add_linear(l->sums, &rows, row);                                                                                 \
  }                                                                                                                    \
  target void window(void *layer, int y, const ek_change *changes, int n) {                                            \
    const ek_follow_window *w = layer;                                                                                 \
    int stride = w->stride, kernel = w->kernel, input = kernel * w->row_lanes, begin = 0, end = 0;                     \
    int32_t *row = w->sums + (int64_t)y * stride * w->row_sums;                                                        \
    for (const ek_change *c = changes; c < changes + n; c++) {                                                         \
      const int16_t *weights = w->weights + (int64_t)c->channel * input;                                               \
      int at = c->x * stride;                                                                                          \
      for (uint64_t left = ek_changed(c); left;) {                                                                     \
        int i = ek_take_changed(&left, 2);                                                                             \
        add_window(w, row + at * w->lanes, weights + i * input, change_of_two(c, i));                                  \
      }                                                                                                                \
      if (at > end)                                                                                                    \
        ek_mark(&w->dirty, y *stride, kernel, begin, end), begin = at;                                                 \
      end = at + kernel;                                                                                               \
    }                                                                                                                  \
    ek_mark(&w->dirty, y *stride, kernel, begin, end);                                                                 \
  }

#endif
