/* drive_follow.h - walks over the changes of a row of inputs; a file that includes it says how its instruction set adds
 * two rows of weights to sums. */
#ifndef EK_NATIVE_DRIVE_FOLLOW_H
#define EK_NATIVE_DRIVE_FOLLOW_H

#include "follow.h"

/* So many sums stay in the first cache while all inputs are added to them. */
enum { EK_SUMS = 4096 };

static inline const int8_t *linear_weights(const ek_follow_linear *l, int y, int x, int channel) {
  int64_t input = (int64_t)(y * l->in.w + x) * l->in.c + channel;
  return (const int8_t *)l->columns->weights + input * l->columns->row;
}

/* add(sums, a, b, by, lanes): whole 8s of lanes. */
#define FOLLOW(linear, window, target, add)                                                                            \
  target void linear(void *layer, int y, const ek_change *changes, int n) {                                            \
    const ek_follow_linear *l = layer;                                                                                 \
    int row = l->columns->row;                                                                                         \
    for (int first = 0; first < row; first += EK_SUMS)                                                                 \
      for (const ek_change *c = changes; c < changes + n; c++)                                                         \
        add(l->sums + first, linear_weights(l, y, c->x, c->a) + first, linear_weights(l, y, c->x, c->b) + first,       \
            c->by, row - first < EK_SUMS ? row - first : EK_SUMS);                                                     \
  }                                                                                                                    \
  target void window(void *layer, int y, const ek_change *changes, int n) {                                            \
    const ek_follow_window *w = layer;                                                                                 \
    int stride = w->stride, kernel = w->kernel, lanes = w->row_lanes;                                                  \
    int32_t *row = w->sums + (int64_t)y * stride * w->row_sums;                                                        \
    for (const ek_change *c = changes; c < changes + n; c++) {                                                         \
      const int8_t *a = w->weights + (int64_t)c->a * kernel * lanes, *b = w->weights + (int64_t)c->b * kernel * lanes; \
      int32_t *sums = row + c->x * stride * w->lanes;                                                                  \
      for (int ky = 0; ky < kernel; ky++, sums += w->row_sums, a += lanes, b += lanes)                                 \
        add(sums, a, b, c->by, lanes);                                                                                 \
      ek_mark(&w->dirty, y *stride, kernel, c->x *stride, c->x *stride + kernel);                                      \
    }                                                                                                                  \
  }

#endif
