/* raster.h - the light that the ellipsoids leave, in vectors of the compiler. Included once per instruction set, with
 * RASTER(name) naming and RASTER_TARGET choosing it: one text, the same bits (no contraction). */

/* 2^z for z in [-60, 60]: the whole part by the exponent bits, the rest by a minimax polynomial on |f| <= 1/2: 3e-6. */
RASTER_TARGET static inline void RASTER(exp2)(const v8f *z, v8f *out) {
  v8f shifted = *z + 0x1.8p23f, f = *z - (shifted - 0x1.8p23f);
  v8f p = f * 9.58285e-3f + 5.590643e-2f;
  p = p * f + 2.4024099e-1f;
  p = p * f + 6.9312419e-1f;
  p = p * f + 1.0f;
  *out = (v8f)((v8i)p + ((v8i)shifted << 23));
}

/* z and 2^z of eight pixels; cross = b2 dy, level = c dy^2 - k. */
RASTER_TARGET static inline void RASTER(level8)(const v8f *dx, float a, float cross, float level, v8f *z, v8f *e) {
  v8f zero = {0}, low = zero - 60.0f, high = zero + 60.0f;
  v8f v = (*dx * a + cross) * *dx + level;
  v8i below = v<low, above = v> high;
  v = (v8f)((below & (v8i)low) | (~below & (v8i)v));
  v = (v8f)((above & (v8i)high) | (~above & (v8i)v));
  *z = v;
  RASTER(exp2)(z, e);
}

/* The pixels of a row that an outline reaches. */
RASTER_TARGET static inline ek_reach RASTER(span)(const ek_outline *o, float dy, int width) {
  if (o->right - o->left < EK_SPLAT_NARROW)
    return (ek_reach){o->left, o->right}; /* finding the ends would cost more than drawing the corners */
  float slope = o->b2 / (2 * o->a), left = o->limit + o->k - (o->c - slope * o->b2 / 2) * (dy * dy);
  float half = sqrtf(left > 0 ? left / o->a : 0), middle = o->u - slope * dy;
  float first = ceilf(middle - half), last = floorf(middle + half);
  first = first > 0 ? first : 0, last = last < (float)(width - 1) ? last : (float)(width - 1);
  return first <= last ? (ek_reach){(int16_t)first, (int16_t)last} : (ek_reach){1, 0};
}

RASTER_TARGET static void RASTER(draw)(const ek_outline *o, float *light, int stride, int width, ek_reach *reach) {
  const v8f lane = {0, 1, 2, 3, 4, 5, 6, 7};
  for (int y = o->top; y <= o->bottom; y++) {
    float dy = (float)y - o->v, cross = o->b2 * dy, level = o->c * dy * dy - o->k;
    ek_reach r = RASTER(span)(o, dy, width);
    if (r.first > r.last)
      continue;
    reach[y].first = r.first < reach[y].first ? r.first : reach[y].first;
    reach[y].last = r.last > reach[y].last ? r.last : reach[y].last;
    float *row = light + (int64_t)y * stride;
    for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
      v8f dx = lane + ((float)x - o->u), z, e, left, zero = {0}, one = zero + 1.0f;
      RASTER(level8)(&dx, o->a, cross, level, &z, &e);
      v8f t = (e * o->c0 + o->rest) / (e + 1.0f);
      v8i clear = t > one;
      t = (v8f)((clear & (v8i)one) | (~clear & (v8i)t));
      memcpy(&left, row + x, sizeof left);
      left *= t;
      memcpy(row + x, &left, sizeof left);
    }
  }
}

RASTER_TARGET static inline float RASTER(sum)(const v8f *v) {
  return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) + (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

RASTER_TARGET static void RASTER(gather)(const ek_outline *o, const float *pull, int stride, int width, ek_moments *m) {
  const v8f lane = {0, 1, 2, 3, 4, 5, 6, 7};
  v8f zero = {0}, sz = zero, so = zero;
  for (int y = o->top; y <= o->bottom; y++) {
    float dy = (float)y - o->v, cross = o->b2 * dy, level = o->c * dy * dy - o->k;
    ek_reach r = RASTER(span)(o, dy, width);
    v8f s0 = zero, s1 = zero, s2 = zero;
    const float *row = pull + (int64_t)y * stride;
    for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES) {
      v8f dx = lane + ((float)x - o->u), z, e, g;
      RASTER(level8)(&dx, o->a, cross, level, &z, &e);
      memcpy(&g, row + x, sizeof g);
      /* One division for both s = 1 / d and 1 / t = d / n. */
      v8f d = e + 1.0f, n = e * o->c0 + o->rest, both = 1.0f / (d * n), s = n * both;
      v8i drawn = n < d;
      g = (v8f)(drawn & (v8i)(g * (d * d * both)));
      v8f w = g * s * (1.0f - s);
      s0 += w, s1 += w * dx, s2 += w * dx * dx, sz += w * z;
      so += (v8f)(drawn & (v8i)(g * (1.0f - n * s)));
    }
    double w = RASTER(sum)(&s0), wx = RASTER(sum)(&s1);
    m->w += w, m->wx += wx, m->wxx += RASTER(sum)(&s2);
    m->wy += w * dy, m->wxy += wx * dy, m->wyy += w * dy * dy;
  }
  m->wz += RASTER(sum)(&sz), m->o += RASTER(sum)(&so);
}

/* Eight pixels of light and mask. */
RASTER_TARGET static inline void RASTER(pixels8)(const float *light, uint32_t bits, v8f *t, v8i *on) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, zero = {0};
  v8f dark = (v8f)zero + EK_SPLAT_DARK;
  memcpy(t, light, sizeof *t);
  v8i below = *t < dark;
  *t = (v8f)((below & (v8i)dark) | (~below & (v8i)*t));
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

/* log((1 - t) / t) by the exponent and an artanh series of the mantissa m in [sqrt(1/2), sqrt(2)): below 2e-7. */
RASTER_TARGET static void RASTER(row_logits)(const float *light, int first, int last, float *logits) {
  const v8i zero = {0};
  v8f one = (v8f)zero + 1.0f, dark = (v8f)zero + EK_SPLAT_DARK;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t;
    memcpy(&t, light + x, sizeof t);
    v8i below = t < dark;
    t = (v8f)((below & (v8i)dark) | (~below & (v8i)t));
    v8f odds = (one - t) / t;
    v8i power = ((v8i)odds - 0x3f3504f3) >> 23;
    v8f m = (v8f)((v8i)odds - (power << 23)), z = (m - one) / (m + one), s = z * z;
    v8f p = s * (1.0f / 9) + 1.0f / 7;
    p = p * s + 1.0f / 5;
    p = p * s + 1.0f / 3;
    v8f out = __builtin_convertvector(power, v8f) * 0.693147181f + 2.0f * (z + z * s * p);
    int n = last - x < 7 ? last - x + 1 : 8;
    if (n == 8)
      memcpy(logits + x, &out, sizeof out);
    else
      memcpy(logits + x, &out, sizeof(float) * (size_t)n);
  }
}
