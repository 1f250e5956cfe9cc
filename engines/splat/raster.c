/* raster.c - draws every outline into its picture, and gathers what the pictures pull at every outline. */
#include "body.h"

#include <math.h>
#include <string.h>

typedef float v8f __attribute__((vector_size(32)));
typedef int32_t v8i __attribute__((vector_size(32)));

/* No operand is NaN where these are used. A macro: functions cannot return wide vectors for every target. */
#define CHOOSE(which, a, b) ((v8f)(((which) & (v8i)(a)) | (~(which) & (v8i)(b))))

#define RASTER_TARGET
#define RASTER(name) name##_base
#define RASTER_FMA(a, b, c) ((a) * (b) + (c))
#define RASTER_MIN(a, b) CHOOSE((a) < (b), a, b)
#define RASTER_MAX(a, b) CHOOSE((a) > (b), a, b)
#include "raster.h"
#undef RASTER_TARGET
#undef RASTER
#undef RASTER_FMA
#undef RASTER_MIN
#undef RASTER_MAX

#if defined(__x86_64__)
#define RASTER_TARGET __attribute__((target("avx2,fma")))
#define RASTER(name) name##_avx2
#define RASTER_FMA(a, b, c) __builtin_ia32_vfmaddps256(a, b, c)
#define RASTER_MIN(a, b) __builtin_ia32_minps256(a, b)
#define RASTER_MAX(a, b) __builtin_ia32_maxps256(a, b)
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

/* A row of a picture, and which of its pixels are not simply empty: all where a static layer is learned. */
typedef struct {
  const float *light;
  const uint8_t *mask;
  int first, last; /* first: a multiple of 8 */
} line;

static line line_of(const ek_body *b, const uint8_t *masks, int64_t row) {
  ek_reach r = b->n_background ? (ek_reach){0, (int16_t)(b->width - 1)} : b->reach[row];
  int last = r.last | 7;
  return (line){b->light + row * b->stride, masks + row * ((b->width + 7) / 8), r.first / 8 * 8,
                last < b->width - 1 ? last : b->width - 1};
}

/* Pixels that are on beside the line's, and all beside it. */
static int outside(const line *l, int width, int *pixels) {
  int on = 0, any = l->first <= l->last;
  for (int byte = 0; byte < (width + 7) / 8; byte++) {
    int n = width - 8 * byte < 8 ? width - 8 * byte : 8;
    if (any && 8 * byte >= l->first && 8 * byte <= l->last)
      continue;
    on += __builtin_popcount(l->mask[byte] & (0xff00u >> n) & 255u);
    *pixels += n;
  }
  return on;
}

void ek_body_measure(const ek_body *b, const uint8_t *masks, double *nll, double *squared) {
  double empty = (float)b->layout.empty;
  int on = 0, pixels = 0;
  *nll = *squared = 0;
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++) {
    line l = line_of(b, masks, row);
    float product = 1;
    int32_t power = 0;
    on += outside(&l, b->width, &pixels);
    if (l.first > l.last)
      continue;
#if defined(__x86_64__)
    if (b->layout.isa != EK_ISA_SCALAR)
      measure_avx2(l.light, l.mask, l.first, l.last, squared, &product, &power);
    else
#endif
      measure_base(l.light, l.mask, l.first, l.last, squared, &product, &power);
    *nll -= log(product) + 0.6931471805599453 * power;
  }
  *nll -= on * log(empty) + (pixels - on) * log1p(-empty);
  *squared += on * (1 - empty) * (1 - empty) + (pixels - on) * empty * empty;
}

void ek_body_differ(ek_body *b, const uint8_t *masks, double nll, double squared) {
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++) {
    line l = line_of(b, masks, row);
    float *pull = b->pull + row * b->stride;
    if (l.first > l.last)
      continue;
#if defined(__x86_64__)
    if (b->layout.isa != EK_ISA_SCALAR)
      differ_avx2(l.light, l.mask, l.first, l.last, (float)nll, (float)squared, pull);
    else
#endif
      differ_base(l.light, l.mask, l.first, l.last, (float)nll, (float)squared, pull);
  }
}

void ek_body_tell(const ek_body *b, const float *light, int first, int last, const ek_known *known, int64_t at) {
  last = (last | 7) < b->width - 1 ? last | 7 : b->width - 1;
#if defined(__x86_64__)
  if (b->layout.isa != EK_ISA_SCALAR) {
    tell_avx2(light, first, last, known, at);
    return;
  }
#endif
  tell_base(light, first, last, known, at);
}
