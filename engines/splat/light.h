/* light.h - what pixels of light say of a mask. Text of isas.h; see compare.c. */

ISA_TARGET static inline float ISA(lanes)(const v8f *v) {
  return (((*v)[0] + (*v)[4]) + ((*v)[2] + (*v)[6])) + (((*v)[1] + (*v)[5]) + ((*v)[3] + (*v)[7]));
}

/* Eight pixels of light and mask. */
ISA_TARGET static inline void ISA(pixels8)(const float *light, uint32_t bits, v8f *t, v8i *on) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, zero = {0};
  v8f dark = (v8f)zero + EK_SPLAT_DARK;
  memcpy(t, light, sizeof *t);
  *t = ISA_MAX(*t, dark);
  *on = ((zero + (int32_t)bits) & bit) != 0;
}

/* Adds the squared error of pixels first (a multiple of 8) to last; multiplies their likelihood into product 2^power.
 */
ISA_TARGET static void ISA(measure)(const float *light, const uint8_t *mask, int first, int last, double *squared,
                                    float *product, int32_t *power) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f one = (v8f)zero + 1.0f, product8 = one, squared8 = (v8f)zero;
  v8i power8 = zero;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t;
    v8i on, live = (lane + x) <= last;
    ISA(pixels8)(light + x, mask[x / 8], &t, &on);
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
  *squared += ISA(lanes)(&squared8);
  for (int i = 0; i < EK_SPLAT_LANES; i++)
    *power += power8[i], *product *= product8[i];
}

/* dL/dlogT of pixels first (a multiple of 8) to last, for the weights of the likelihood and of the squared error. */
ISA_TARGET static void ISA(differ)(const float *light, const uint8_t *mask, int first, int last, float nll,
                                   float squared, float *pull) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f one = (v8f)zero + 1.0f;
  for (int x = first; x <= last; x += EK_SPLAT_LANES) {
    v8f t;
    v8i on, live = (lane + x) <= last;
    ISA(pixels8)(light + x, mask[x / 8], &t, &on);
    v8f p = one - t, odds = t / p, y = (v8f)(on & (v8i)one);
    v8f g = (v8f)((on & (v8i)odds) | (~on & (v8i)-one)) * nll - (p - y) * t * (2.0f * squared);
    g = (v8f)(live & (v8i)g);
    memcpy(pull + x, &g, sizeof g);
  }
}

/* x = m 2^power, m in [sqrt(1/2), sqrt(2)), for normal x > 0. */
ISA_TARGET static inline void ISA(split)(const v8f *x, v8f *m, v8f *power) {
  v8i p = ((v8i)*x - 0x3f3504f3) >> 23;
  *m = (v8f)((v8i)*x - (p << 23)), *power = __builtin_convertvector(p, v8f);
}

/* log(m) + power log(2) with z = (m - 1) / (m + 1): artanh's series to z^7, below 3e-7. */
ISA_TARGET static inline void ISA(series)(const v8f *z, const v8f *power, v8f *out) {
  v8f s = *z * *z, p = ((s * (1.0f / 7) + 1.0f / 5) * s + 1.0f / 3) * s, twice = *z + *z;
  *out = *power * 0.693147181f + (twice * p + twice);
}

/* The logarithms of eight pixels' light and of what it lacks, with one division for both. */
ISA_TARGET static inline void ISA(logs)(const v8f *light, v8f *t, v8f *log_t, v8f *log_p) {
  v8f zero = {0}, one = zero + 1.0f, low = zero + EK_SPLAT_DARK, high = one - EK_SPLAT_DARK, tm, pm, tp, pp;
  *t = ISA_MAX(*light, low);
  *t = ISA_MIN(*t, high); /* padding of the rows is anything */
  v8f p = one - *t;
  ISA(split)(t, &tm, &tp);
  ISA(split)(&p, &pm, &pp);
  v8f up = tm + 1.0f, down = pm + 1.0f, both = 1.0f / (up * down);
  v8f zt = (tm - 1.0f) * (down * both), zp = (pm - 1.0f) * (up * both);
  ISA(series)(&zt, &tp, log_t);
  ISA(series)(&zp, &pp, log_p);
}

/* Log-odds of a row's pixels, up to whole vectors. */
ISA_TARGET static void ISA(logits)(const float *light, int width, float *out) {
  for (int x = 0; x < width; x += EK_SPLAT_LANES) {
    v8f l, t, off, on;
    memcpy(&l, light + x, sizeof l);
    ISA(logs)(&l, &t, &off, &on);
    on -= off;
    memcpy(out + x, &on, sizeof on);
  }
}

/* What a mask adds in a block of up to eight by eight pixels, of which `wide` columns and `rows` rows are there. */
ISA_TARGET static void ISA(block)(const float *light, int stride, const uint8_t *mask, int columns, int rows, int wide,
                                  ek_block_score *out) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  v8f nll = (v8f)zero, squared = nll, entropy = nll;
  v8i predicted = zero, hit = zero, live = lane < wide;
  int observed = 0;
  for (int y = 0; y < rows; y++, light += stride, mask += columns) {
    uint32_t bits = *mask & (0xff00u >> wide) & 255u;
    v8f l, t, off, on;
    memcpy(&l, light, sizeof l);
    ISA(logs)(&l, &t, &off, &on);
    v8i is = ((zero + (int32_t)bits) & bit) != 0, robot = t < 0.5f;
    v8f p = 1.0f - t, likely = CHOOSE(is, on, off), miss = CHOOSE(is, t, p);
    nll -= likely, squared += miss * miss, entropy -= p * on + t * off;
    predicted += robot, hit += robot & is; /* a comparison yields -1 */
    observed += __builtin_popcount(bits);
  }
  nll = (v8f)(live & (v8i)nll), squared = (v8f)(live & (v8i)squared), entropy = (v8f)(live & (v8i)entropy);
  predicted &= live, hit &= live;
  *out = (ek_block_score){.nll = ISA(lanes)(&nll),
                          .squared_err = ISA(lanes)(&squared),
                          .entropy = ISA(lanes)(&entropy),
                          .observed = observed};
  for (int i = 0; i < EK_SPLAT_LANES; i++)
    out->predicted -= predicted[i], out->intersection -= hit[i];
}

/* Which of up to eight blocks from column i on have a pixel that is on: not 0 in its byte. */
ISA_TARGET static inline uint64_t ISA(any)(const band *d, int i) {
  uint64_t any = 0, eight;
  for (int y = 0; y < d->rows; y++) {
    const uint8_t *mask = d->masks + y * d->columns + i;
    if (d->columns - i >= 8) {
      memcpy(&eight, mask, sizeof eight);
      any |= eight;
      continue;
    }
    for (int k = 0; k < d->columns - i; k++)
      any |= (uint64_t)mask[k] << 8 * k;
  }
  return any;
}

/* A block that nothing touched: only the mask is counted, where any of it is on. */
ISA_TARGET static inline void ISA(bare)(const band *d, const blank *none, int i, int any, ek_block_score *out) {
  int wide = d->width - EK_BLOCK * i < EK_BLOCK ? d->width - EK_BLOCK * i : EK_BLOCK, n = wide * d->rows, on = 0;
  for (int y = 0; any && y < d->rows; y++)
    on += __builtin_popcount(d->masks[y * d->columns + i] & (0xff00u >> wide) & 255u);
  out->nll = n * none->softplus - on * none->odds;
  out->squared_err = n * none->squared + on * none->twice;
  out->entropy = n * none->entropy;
  out->observed = on, out->predicted = none->odds > 0 ? n : 0, out->intersection = none->odds > 0 ? on : 0;
}

ISA_TARGET static void ISA(blocks)(const band *d, const blank *none, ek_block_score *out) {
  uint64_t any = 0;
  for (int i = 0; i < d->columns; i++, any >>= 8) {
    int wide = d->width - EK_BLOCK * i < EK_BLOCK ? d->width - EK_BLOCK * i : EK_BLOCK;
    any = i % 8 ? any : ISA(any)(d, i);
    if (d->cells >> (EK_BLOCK * i >> d->cell) & 1)
      ISA(block)(d->light + EK_BLOCK * i, d->stride, d->masks + i, d->columns, d->rows, wide, &out[i]);
    else
      ISA(bare)(d, none, i, any & 255, &out[i]);
  }
}
