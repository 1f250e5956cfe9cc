/* raster.h - the light that the ellipsoids leave, in vectors of the compiler. Included once per instruction set, with
 * RASTER(name) naming and RASTER_TARGET choosing it: one text, and the same bits but for RASTER_FMA, which
 * rounds once where the machine can. */

/* What a column of eight pixels has in common: the fade is along + dy (slope + c dy). */
typedef struct {
  v8f dx, along, slope;
} RASTER(column);

RASTER_TARGET static inline void RASTER(column_at)(const ek_outline *o, int x, RASTER(column) * out) {
  const v8f lane = {0, 1, 2, 3, 4, 5, 6, 7};
  out->dx = lane + ((float)x - o->u);
  out->along = out->dx * o->a * out->dx + o->inner;
  out->slope = out->dx * o->b2;
}

/* The fade of eight pixels of a row, which is dy below the centre in every lane: 0 within, 1 without. */
RASTER_TARGET static inline void RASTER(fade8)(const RASTER(column) * at, const v8f *dy, float c, v8f *fade) {
  v8f zero = {0}, f = RASTER_FMA(*dy, RASTER_FMA(*dy, zero + c, at->slope), at->along);
  f = RASTER_MAX(f, zero);
  *fade = RASTER_MIN(f, zero + 1.0f);
}

/* The pixels of a row that an outline reaches. */
RASTER_TARGET static inline ek_reach RASTER(span)(const ek_outline *o, float dy, int width) {
  float slope = o->b2 / (2 * o->a), left = 1 - o->inner - (o->c - slope * o->b2 / 2) * (dy * dy);
  float half = sqrtf(left > 0 ? left / o->a : 0), middle = o->u - slope * dy;
  float first = ceilf(middle - half), last = floorf(middle + half);
  first = first > 0 ? first : 0, last = last < (float)(width - 1) ? last : (float)(width - 1);
  return first <= last ? (ek_reach){(int16_t)first, (int16_t)last} : (ek_reach){INT16_MAX, -1};
}

RASTER_TARGET static inline void RASTER(draw8)(const ek_outline *o, const RASTER(column) * at, const v8f *dy,
                                               float *light) {
  v8f f, left, zero = {0};
  RASTER(fade8)(at, dy, o->c, &f);
  v8f smooth = f * f * RASTER_FMA(f, zero - 2.0f, zero + 3.0f);
  memcpy(&left, light, sizeof left);
  left *= RASTER_FMA(smooth, zero + o->opacity, zero + o->rest);
  left = RASTER_MAX(left, zero + 0x1p-24f); /* far below DARK; without it products become denormal, which is slow */
  memcpy(light, &left, sizeof left);
}

/* Rows are short and their bounds were just written: a vector loop over them would wait for those stores. */
RASTER_TARGET static inline void RASTER(widen)(ek_reach *reach, int16_t first, int16_t last) {
  reach->first = first < reach->first ? first : reach->first;
  reach->last = last > reach->last ? last : reach->last;
}

RASTER_TARGET static void RASTER(draw)(const ek_outline *o, float *light, int stride, int width, ek_reach *reach) {
  RASTER(column) at;
  v8f zero = {0}, dy = zero + ((float)o->top - o->v);
  if (o->right - o->left < EK_SPLAT_NARROW) { /* finding the ends of rows would cost more than drawing the corners */
    for (int x = o->left; x <= o->right; x += EK_SPLAT_LANES) {
      v8f down = dy;
      RASTER(column_at)(o, x, &at);
      float *row = light + (int64_t)o->top * stride + x;
      for (int n = o->bottom - o->top; n >= 0; n--, row += stride, down += 1.0f)
        RASTER(draw8)(o, &at, &down, row);
    }
    for (int y = o->top; y <= o->bottom; y++)
      RASTER(widen)(&reach[y], o->left, o->right);
    return;
  }
  for (int y = o->top; y <= o->bottom; y++, dy += 1.0f) {
    ek_reach r = RASTER(span)(o, dy[0], width);
    RASTER(widen)(&reach[y], r.first, r.last);
    for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
      RASTER(column_at)(o, x, &at);
      RASTER(draw8)(o, &at, &dy, light + (int64_t)y * stride + x);
    }
  }
}

RASTER_TARGET static inline float RASTER(sum)(const v8f *v) {
  return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) + (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

/* The sums of ek_moments in vectors. */
typedef struct {
  v8f w, wx, wxx, wy, wxy, wyy, wf, o;
} RASTER(moments);

RASTER_TARGET static inline void RASTER(gather8)(const ek_outline *o, const RASTER(column) * at, const v8f *dy,
                                                 const float *pull, RASTER(moments) * m) {
  v8f f, g, zero = {0};
  RASTER(fade8)(at, dy, o->c, &f);
  memcpy(&g, pull, sizeof g);
  v8f smooth = f * f * RASTER_FMA(f, zero - 2.0f, zero + 3.0f);
  v8i drawn = f < 1.0f; /* beyond, pull is of a row's padding or of pixels that nothing was drawn in */
  g = (v8f)(drawn & (v8i)(g / RASTER_FMA(smooth, zero + o->opacity, zero + o->rest)));
  v8f w = g * (f - f * f), wx = w * at->dx, wy = w * *dy;
  m->w += w, m->wx += wx, m->wxx += wx * at->dx, m->wy += wy, m->wxy += wx * *dy, m->wyy += wy * *dy;
  m->wf += w * (f - 0.5f);
  m->o += g - g * smooth;
}

RASTER_TARGET static void RASTER(gather)(const ek_outline *o, const float *pull, int stride, int width, ek_moments *m) {
  RASTER(column) at;
  RASTER(moments) sums = {0};
  v8f zero = {0}, dy = zero + ((float)o->top - o->v);
  if (o->right - o->left < EK_SPLAT_NARROW) {
    for (int x = o->left; x <= o->right; x += EK_SPLAT_LANES) {
      v8f down = dy;
      RASTER(column_at)(o, x, &at);
      for (int y = o->top; y <= o->bottom; y++, down += 1.0f)
        RASTER(gather8)(o, &at, &down, pull + (int64_t)y * stride + x, &sums);
    }
  } else {
    for (int y = o->top; y <= o->bottom; y++, dy += 1.0f) {
      ek_reach r = RASTER(span)(o, dy[0], width);
      for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
        RASTER(column_at)(o, x, &at);
        RASTER(gather8)(o, &at, &dy, pull + (int64_t)y * stride + x, &sums);
      }
    }
  }
  m->w = RASTER(sum)(&sums.w), m->wx = RASTER(sum)(&sums.wx), m->wxx = RASTER(sum)(&sums.wxx);
  m->wy = RASTER(sum)(&sums.wy), m->wxy = RASTER(sum)(&sums.wxy), m->wyy = RASTER(sum)(&sums.wyy);
  m->wf = RASTER(sum)(&sums.wf), m->o = RASTER(sum)(&sums.o);
}

/* Eight pixels of light and mask. */
RASTER_TARGET static inline void RASTER(pixels8)(const float *light, uint32_t bits, v8f *t, v8i *on) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, zero = {0};
  v8f dark = (v8f)zero + EK_SPLAT_DARK;
  memcpy(t, light, sizeof *t);
  *t = RASTER_MAX(*t, dark);
  *on = ((zero + (int32_t)bits) & bit) != 0;
}

/* Adds the squared error of pixels first (a multiple of 8) to last; multiplies their likelihood into product 2^power.
 */
RASTER_TARGET static void RASTER(measure)(const float *light, const uint8_t *mask, int first, int last, double *squared,
                                          float *product, int32_t *power) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f one = (v8f)zero + 1.0f, product8 = one, squared8 = (v8f)zero;
  v8i power8 = zero;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t;
    v8i on, live = (lane + x) <= last;
    RASTER(pixels8)(light + x, mask[x / 8], &t, &on);
    v8f likely = (v8f)((on & (v8i)(one - t)) | (~on & (v8i)t)), miss = one - likely;
    squared8 += (v8f)(live & (v8i)(miss * miss));
    likely = (v8f)((live & (v8i)likely) | (~live & (v8i)one));
    /* Mantissas in [1, 2) multiply without underflow; the exponents add. */
    power8 += ((v8i)likely >> 23) - 127;
    product8 *= (v8f)(((v8i)likely & 0x7fffff) | 0x3f800000);
    if (x % 64 == 56) {
      power8 += ((v8i)product8 >> 23) - 127;
      product8 = (v8f)(((v8i)product8 & 0x7fffff) | 0x3f800000);
    }
  }
  *squared += RASTER(sum)(&squared8);
  for (int i = 0; i < EK_SPLAT_LANES; i++)
    *power += power8[i], *product *= product8[i];
}

/* dL/dlogT of pixels first (a multiple of 8) to last, for the weights of the likelihood and of the squared error. */
RASTER_TARGET static void RASTER(differ)(const float *light, const uint8_t *mask, int first, int last, float nll,
                                         float squared, float *pull) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f one = (v8f)zero + 1.0f;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t;
    v8i on, live = (lane + x) <= last;
    RASTER(pixels8)(light + x, mask[x / 8], &t, &on);
    v8f p = one - t, odds = t / p, y = (v8f)(on & (v8i)one);
    v8f g = (v8f)((on & (v8i)odds) | (~on & (v8i)-one)) * nll - (p - y) * t * (2.0f * squared);
    g = (v8f)(live & (v8i)g);
    memcpy(pull + x, &g, sizeof g);
  }
}

/* log(x) of normal x > 0 by the exponent and an artanh series of the mantissa in [sqrt(1/2), sqrt(2)): below 2e-7. */
RASTER_TARGET static inline void RASTER(log)(const v8f *x, v8f *out) {
  const v8i zero = {0};
  v8f one = (v8f)zero + 1.0f;
  v8i power = ((v8i)*x - 0x3f3504f3) >> 23;
  v8f m = (v8f)((v8i)*x - (power << 23)), z = (m - one) / (m + one), s = z * z;
  v8f zeros = (v8f)zero, p = RASTER_FMA(s, zeros + 1.0f / 9, zeros + 1.0f / 7);
  p = RASTER_FMA(p, s, zeros + 1.0f / 5);
  p = RASTER_FMA(p, s, zeros + 1.0f / 3);
  v8f twice = z + z, tail = RASTER_FMA(twice * s, p, twice);
  *out = RASTER_FMA(__builtin_convertvector(power, v8f), zeros + 0.693147181f, tail);
}

/* Logit, softplus and probability of pixels first (a multiple of 8) to last, zeros up to whole vectors. */
RASTER_TARGET static void RASTER(tell)(const float *light, int first, int last, const ek_known *known, int64_t at) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f one = (v8f)zero + 1.0f, dark = (v8f)zero + EK_SPLAT_DARK;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t, p, on, off;
    v8i live = (lane + x) <= last;
    memcpy(&t, light + x, sizeof t);
    t = RASTER_MIN(RASTER_MAX(t, dark), one - dark); /* padding of the rows is anything */
    p = one - t;
    RASTER(log)(&p, &on);
    RASTER(log)(&t, &off);
    on = (v8f)(live & (v8i)(on - off)), off = (v8f)(live & (v8i)((v8f)zero - off)), p = (v8f)(live & (v8i)p);
    memcpy(known->logit + at + x, &on, sizeof on);
    memcpy(known->softplus + at + x, &off, sizeof off);
    memcpy(known->probability + at + x, &p, sizeof p);
  }
}
