/* score_fp32.h - the comparison with a mask for FP32 logits, in vectors of the compiler. Included once per instruction
 * set, with SCORE(name) naming and SCORE_TARGET choosing it: one text, the same bits (no contraction). It is text and
 * not inlined code because gcc splits wide vectors by the target of the function that it first sees them in. */

/* exp(-a) for a in [0, 87]: 2^n by the exponent bits, the rest by a Taylor polynomial to r^6, |r| <= ln 2 / 2: 2e-7. */
SCORE_TARGET static inline void SCORE(exp_negative)(const v8f *a, v8f *out) {
  v8f t = *a * -1.44269504f;
  v8i n = __builtin_convertvector(t - 0.5f, v8i);
  v8f nf = __builtin_convertvector(n, v8f);
  v8f r = (*a * -1.0f - nf * 0.693359375f) - nf * -2.12194440e-4f;
  v8f p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  *out = p * (v8f)((n + 127) << 23);
}

/* log(1 + e) for e in [0, 1] = 2 artanh(z), z = e / (2 + e) <= 1/3: odd series to z^13, error below 1e-8. */
SCORE_TARGET static inline void SCORE(log1p_unit)(const v8f *ratio, v8f *out) {
  v8f z = *ratio, t = z * z;
  v8f p = t * (1.0f / 13) + 1.0f / 11;
  p = p * t + 1.0f / 9;
  p = p * t + 1.0f / 7;
  p = p * t + 1.0f / 5;
  p = p * t + 1.0f / 3;
  p = p * t + 1.0f;
  *out = 2.0f * z * p;
}

/* Eight pixels; live: all-ones for those inside the row, observed: for those that show the robot. */
SCORE_TARGET static inline void SCORE(score8)(const v8f *logit, const v8i *live, const v8i *observed, partial *s) {
  v8f l = *logit, zero = {0}, e, tail;
  v8i positive = l > zero;
  v8f a = (v8f)((v8i)l & 0x7fffffff);
  v8i big = a > zero + 87.0f;
  a = (v8f)((~big & (v8i)a) | (big & (v8i)(zero + 87.0f)));
  SCORE(exp_negative)(&a, &e);
  /* One division for both 1 / (1 + e) and e / (2 + e). */
  v8f both = 1.0f / ((e + 1.0f) * (e + 2.0f)), inverse = (e + 2.0f) * both, ratio = e * ((e + 1.0f) * both);
  SCORE(log1p_unit)(&ratio, &tail);
  v8f p = (v8f)((positive & (v8i)inverse) | (~positive & (v8i)(e * inverse)));
  v8f nll = (v8f)(positive & (v8i)l) + tail - (v8f)(*observed & (v8i)l);
  v8f miss = p - (v8f)(*observed & (v8i)(zero + 1.0f));
  s->nll += (v8f)(*live & (v8i)nll);
  s->squared += (v8f)(*live & (v8i)(miss * miss));
  v8f entropy = (v8f)(positive & (v8i)l) + tail - (v8f)(*live & (v8i)(l * p));
  s->entropy += (v8f)(*live & (v8i)entropy);
  s->intersection += positive & *observed;
  s->predicted += positive;
  s->observed += *observed;
}

/* One row, into the columns of its blocks. */
SCORE_TARGET static inline void SCORE(row_fp32)(const float *logits, const uint8_t *mask, int width, partial *s) {
  const v8i bit = {128, 64, 32, 16, 8, 4, 2, 1}, lane = {0, 1, 2, 3, 4, 5, 6, 7}, zero = {0};
  for (int x = 0; x < width; x += 8, s++) {
    int n = width - x < 8 ? width - x : 8;
    uint32_t bits = mask[x / 8] & (0xff00u >> n);
    v8f l = {0};
    if (n == 8)
      memcpy(&l, logits + x, sizeof l);
    else
      memcpy(&l, logits + x, sizeof(float) * (size_t)n);
    v8i live = lane < n, observed = ((zero + (int32_t)bits) & bit) != 0;
    SCORE(score8)(&l, &live, &observed, s);
  }
}

SCORE_TARGET static inline void SCORE(picture_fp32)(const ek_engine *e, const uint8_t *masks) {
  const float *logits = e->logits.data;
  int width = e->info.width, height = e->info.height, columns = e->block_columns;
  ek_block_score *blocks = e->blocks;
  for (int view = 0; view < e->info.n_views; view++)
    for (int y = 0; y < height; y += EK_BLOCK, blocks += columns) {
      int rows = height - y < EK_BLOCK ? height - y : EK_BLOCK;
      memset(e->partials, 0, sizeof(partial) * (size_t)columns);
      for (int i = 0; i < rows; i++, logits += width, masks += columns)
        SCORE(row_fp32)(logits, masks, width, e->partials);
      finish_blocks(e->partials, columns, blocks);
    }
}
