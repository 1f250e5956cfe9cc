/* raster.c - draws every outline into its picture, and gathers what the pictures pull at every outline. */
#include "body.h"

#include <math.h>
#include <string.h>

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

#define RASTER_TARGET
#define RASTER(name) name##_base
#include "raster.h"
#undef RASTER_TARGET
#undef RASTER

#if defined(__x86_64__)
#define RASTER_TARGET __attribute__((target("avx2")))
#define RASTER(name) name##_avx2
#include "raster.h"
#endif

/* The rows that the last picture reached become empty again. */
static void clear(ek_body *b, int view) {
  ek_reach *reach = b->reach + view * b->height;
  for (int y = 0; y < b->height; y++) {
    int64_t at = ((int64_t)view * b->height + y) * b->stride;
    if (reach[y].first <= reach[y].last)
      memcpy(b->light + at, b->empty + at, sizeof(float) * (size_t)b->stride);
    reach[y] = (ek_reach){INT16_MAX, -1};
  }
}

void ek_body_draw(ek_body *b) {
  for (int view = 0; view < b->layout.n_views; view++) {
    clear(b, view);
    float *light = b->light + (int64_t)view * b->height * b->stride;
    ek_reach *reach = b->reach + view * b->height;
    for (int i = 0; i < b->layout.n_ellipsoids; i++) {
      const ek_outline *o = &b->outlines[view * b->layout.n_ellipsoids + i];
#if defined(__x86_64__)
      if (b->layout.isa != EK_ISA_SCALAR)
        draw_avx2(o, light, b->stride, b->width, reach);
      else
#endif
        draw_base(o, light, b->stride, b->width, reach);
    }
  }
}

void ek_body_gather(const ek_body *b, int view, int i, ek_moments *m) {
  const ek_outline *o = &b->outlines[view * b->layout.n_ellipsoids + i];
  const float *pull = b->pull + (int64_t)view * b->height * b->stride;
  *m = (ek_moments){0};
#if defined(__x86_64__)
  if (b->layout.isa != EK_ISA_SCALAR) {
    gather_avx2(o, pull, b->stride, b->width, m);
    return;
  }
#endif
  gather_base(o, pull, b->stride, b->width, m);
}
