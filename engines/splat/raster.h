/* raster.h - the light that the ellipsoids leave, and what pulls at them. Text of isas.h; see raster.c. */
#include "span.h"

/* What the last picture touched becomes empty again, and its cells are `touched` from now on. Blocks of one size are
 * copied, because their number is predictable and that of the cells is not; they may reach into the next row, which is
 * not drawn yet. */
ISA_TARGET static void ISA(clear)(const ek_picture *p, const float *empty, int height, uint64_t touched) {
  float *light = p->light;
  for (int y = 0; y < height; y++, light += p->stride, empty += p->stride) {
    uint64_t cells = p->touched[y];
    int x = cells ? (__builtin_ctzll(cells) << p->cell) & ~(EK_SPLAT_CLEARED - 1) : 0;
    int end = cells ? (64 - __builtin_clzll(cells)) << p->cell : 0;
    p->touched[y] = touched;
    for (; x < end; x += EK_SPLAT_CLEARED)
      for (int k = 0; k < EK_SPLAT_CLEARED; k += EK_SPLAT_LANES) {
        v8f eight;
        memcpy(&eight, empty + x + k, sizeof eight);
        memcpy(light + x + k, &eight, sizeof eight);
      }
  }
}

/* An outline in every lane. Fetched once: to the compiler, a pixel that is written could be an outline's number. */
typedef struct {
  v8f a, b2, c, inner, opacity, rest;
} ISA(shape);

ISA_TARGET static inline void ISA(shape_of)(const ek_outline *o, ISA(shape) * s) {
  const v8f zero = {0};
  s->a = zero + o->a, s->b2 = zero + o->b2, s->c = zero + o->c;
  s->inner = zero + o->inner, s->opacity = zero + o->opacity, s->rest = zero + o->rest;
}

/* What a column of eight pixels has in common: the fade is along + dy (slope + c dy). */
typedef struct {
  v8f dx, along, slope;
} ISA(column);

ISA_TARGET static inline void ISA(column_at)(const ISA(shape) * s, float left, ISA(column) * out) {
  const v8f lane = {0, 1, 2, 3, 4, 5, 6, 7};
  out->dx = lane + left;
  out->along = out->dx * s->a * out->dx + s->inner;
  out->slope = out->dx * s->b2;
}

/* The fade of eight pixels of a row, which is dy below the centre in every lane: 0 within, 1 without. */
ISA_TARGET static inline void ISA(fade8)(const ISA(column) * at, const v8f *dy, const v8f *c, v8f *fade) {
  v8f zero = {0}, one = zero + 1.0f, f = *dy * (*dy * *c + at->slope) + at->along;
  f = ISA_MAX(f, zero);
  *fade = ISA_MIN(f, one);
}

ISA_TARGET static inline void ISA(draw8)(const ISA(shape) * s, const ISA(column) * at, const v8f *dy, float *light) {
  v8f f, left, zero = {0}, least = zero + 0x1p-24f; /* far below DARK; without it products become denormal: slow */
  ISA(fade8)(at, dy, &s->c, &f);
  v8f smooth = f * f * (3.0f - (f + f));
  memcpy(&left, light, sizeof left);
  left *= smooth * s->opacity + s->rest;
  left = ISA_MAX(left, least);
  memcpy(light, &left, sizeof left);
}

ISA_TARGET static void ISA(draw)(const ek_outline *o, const ek_picture *p) {
  ISA(shape) s;
  ISA(column) at;
  const v8f zero = {0};
  v8f dy = zero + ((float)o->top - o->v);
  ISA(shape_of)(o, &s);
  if (o->right - o->left < EK_SPLAT_NARROW) { /* finding the ends of rows would cost more than drawing the corners */
    uint64_t cells = ek_cells(o->left, o->right, p->cell);
    for (int x = o->left; x <= o->right; x += EK_SPLAT_LANES) {
      v8f down = dy;
      float *light = p->light + (int64_t)o->top * p->stride + x;
      ISA(column_at)(&s, (float)x - o->u, &at);
      for (int y = o->top; y <= o->bottom; y++, down += 1.0f, light += p->stride) {
        p->touched[y] |= cells;
        ISA(draw8)(&s, &at, &down, light);
      }
    }
    return;
  }
  for (int y = o->top; y <= o->bottom; y++, dy += 1.0f) {
    ek_reach r = ISA(span)(o, dy[0], p->width);
    p->touched[y] |= r.first <= r.last ? ek_cells(r.first, r.last, p->cell) : 0;
    for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
      ISA(column_at)(&s, (float)x - o->u, &at);
      ISA(draw8)(&s, &at, &dy, p->light + (int64_t)y * p->stride + x);
    }
  }
}

ISA_TARGET static inline float ISA(sum)(const v8f *v) {
  return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) + (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

/* The sums of ek_moments in vectors. */
typedef struct {
  v8f w, wx, wxx, wy, wxy, wyy, wf, o;
} ISA(moments);

ISA_TARGET static inline void ISA(gather8)(const ISA(shape) * s, const ISA(column) * at, const v8f *dy,
                                           const float *pull, ISA(moments) * m) {
  v8f f, g;
  ISA(fade8)(at, dy, &s->c, &f);
  memcpy(&g, pull, sizeof g);
  v8f smooth = f * f * (3.0f - (f + f));
  v8i drawn = f < 1.0f; /* beyond, pull is of a row's padding or of pixels that nothing was drawn in */
  g = (v8f)(drawn & (v8i)(g / (smooth * s->opacity + s->rest)));
  v8f w = g * (f - f * f), wx = w * at->dx, wy = w * *dy;
  m->w += w, m->wx += wx, m->wxx += wx * at->dx, m->wy += wy, m->wxy += wx * *dy, m->wyy += wy * *dy;
  m->wf += w * (f - 0.5f);
  m->o += g - g * smooth;
}

ISA_TARGET static void ISA(gather)(const ek_outline *o, const float *pull, int stride, int width, ek_moments *m) {
  ISA(shape) s;
  ISA(column) at;
  ISA(moments) sums = {0};
  v8f zero = {0}, dy = zero + ((float)o->top - o->v);
  ISA(shape_of)(o, &s);
  if (o->right - o->left < EK_SPLAT_NARROW) {
    for (int x = o->left; x <= o->right; x += EK_SPLAT_LANES) {
      v8f down = dy;
      ISA(column_at)(&s, (float)x - o->u, &at);
      for (int y = o->top; y <= o->bottom; y++, down += 1.0f)
        ISA(gather8)(&s, &at, &down, pull + (int64_t)y * stride + x, &sums);
    }
  } else {
    for (int y = o->top; y <= o->bottom; y++, dy += 1.0f) {
      ek_reach r = ISA(span)(o, dy[0], width);
      for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
        ISA(column_at)(&s, (float)x - o->u, &at);
        ISA(gather8)(&s, &at, &dy, pull + (int64_t)y * stride + x, &sums);
      }
    }
  }
  m->w = ISA(sum)(&sums.w), m->wx = ISA(sum)(&sums.wx), m->wxx = ISA(sum)(&sums.wxx);
  m->wy = ISA(sum)(&sums.wy), m->wxy = ISA(sum)(&sums.wxy), m->wyy = ISA(sum)(&sums.wyy);
  m->wf = ISA(sum)(&sums.wf), m->o = ISA(sum)(&sums.o);
}
