/* kernels.h - the kernels of a training step, once for every instruction set: the includer defines TAIL_TARGET,
 * TAIL(name) and TAIL_FMA. */

/* Rows at n_rows places of the spread, for PICTURES pictures from s on: sum[r][.] = rows[r] . code. */
TAIL_TARGET static inline void TAIL(products)(const float *const *rows, int n_rows, const float *columns, int room,
                                              int code, v8f (*sum)[2]) {
  for (int r = 0; r < n_rows; r++)
    sum[r][0] = sum[r][1] = (v8f){0};
  for (int k = 0; k < code; k++, columns += room) {
    v8f first = *(const v8f *)columns, second = *(const v8f *)(columns + LANES);
    for (int r = 0; r < n_rows; r++) {
      v8f w = SPREAD(rows[r][k]);
      sum[r][0] = TAIL_FMA(w, first, sum[r][0]), sum[r][1] = TAIL_FMA(w, second, sum[r][1]);
    }
  }
}

/* The linear layer with its ReLU, for cells from to to - 1 of the first maps of all pictures. */
TAIL_TARGET static void TAIL(spread)(const ek_tail *t, const ek_tail_batch *b, int from, int to) {
  const ek_map *m = &t->shape[0];
  int code = t->layout.code, cells = m->rows * m->columns;
  for (int at = from; at < to; at++)
    for (int c = 0; c < m->channels; c += ROWS) {
      int n = m->channels - c < ROWS ? m->channels - c : ROWS;
      const float *rows[ROWS];
      for (int r = 0; r < n; r++)
        rows[r] = b->spread + ((size_t)(c + r) * (size_t)cells + (size_t)at) * (size_t)code;
      for (int s = 0; s < b->n; s += PICTURES) {
        v8f sum[ROWS][2];
        if (n == ROWS)
          TAIL(products)(rows, ROWS, t->columns + s, t->room, code, sum);
        else
          TAIL(products)(rows, n, t->columns + s, t->room, code, sum);
        for (int r = 0; r < n; r++) {
          float bias = b->bias[(size_t)(c + r) * (size_t)cells + (size_t)at];
          for (int k = 0; k < PICTURES && s + k < b->n; k++) {
            float x = sum[r][k / LANES][k % LANES] + bias;
            cell(&t->first[s + k], at / m->columns, at % m->columns)[c + r] = x > 0 ? x : 0;
          }
        }
      }
    }
}

/* What the slopes of cells from to to - 1 mean for the linear layer, and for the codes, added to those of the part. */
TAIL_TARGET static void TAIL(gather)(const ek_tail *t, const ek_tail_batch *b, int from, int to, int part) {
  const ek_map *m = &t->shape[0];
  int code = t->layout.code, cells = m->rows * m->columns;
  float *dcode = t->dcode + (size_t)part * (size_t)t->room * (size_t)code;
  float share = (float)(1.0 / ((double)b->n * t->layout.n_views * t->layout.height * t->layout.width));
  for (int at = from; at < to; at++)
    for (int c = 0; c < m->channels; c++) {
      size_t row = (size_t)c * (size_t)cells + (size_t)at;
      const float *w = b->spread + row * (size_t)code;
      float *dw = b->dspread + row * (size_t)code, total = 0;
      memset(dw, 0, sizeof(float) * (size_t)code);
      for (int s = 0; s < b->n; s++) {
        float g = share * cell(&t->dfirst[s], at / m->columns, at % m->columns)[c];
        if (g == 0)
          continue;
        total += g;
        const float *x = t->rows + (size_t)s * (size_t)code;
        float *dx = dcode + (size_t)s * (size_t)code;
        for (int k = 0; k < code; k += LANES) {
          *(loose_v8f *)(dw + k) = TAIL_FMA(SPREAD(g), *(const v8f *)(x + k), *(loose_v8f *)(dw + k));
          *(v8f *)(dx + k) = TAIL_FMA(SPREAD(g), *(const loose_v8f *)(w + k), *(v8f *)(dx + k));
        }
      }
      b->dbias[row] = total;
    }
}

/* out[p][o] = bias[o] + added[p][o] + sum of in[p + tap][i] w[tap][i][o]; bias and added may be NULL, ReLU where
 * asked. weights (9, in->channels, out->padded). */
TAIL_TARGET static void TAIL(convolve)(const ek_map *in, const float *weights, const float *bias, const ek_map *added,
                                       const ek_map *out, int relu) {
  int pitch = (in->columns + 2) * in->padded;
  for (int y = 0; y < in->rows; y++)
    for (int x = 0; x < in->columns; x += BLOCK)
      for (int o = 0; o < out->padded; o += LANES) {
        /* The last block of a row overlaps the one before: the same sums twice. */
        int at = x + BLOCK <= in->columns ? x : in->columns - BLOCK;
        size_t place = (size_t)((y + 1) * (in->columns + 2) + at + 1) * (size_t)out->padded + (size_t)o;
        v8f sum[BLOCK];
        for (int b = 0; b < BLOCK; b++)
          sum[b] = bias ? *(const v8f *)(bias + o) : (v8f){0};
        for (int b = 0; added && b < BLOCK; b++)
          sum[b] += *(const v8f *)(added->data + place + b * out->padded);
        for (int tap = 0; tap < 9; tap++) {
          const float *from = in->data + (y + tap / 3) * pitch + (at + tap % 3) * in->padded;
          const float *w = weights + (size_t)tap * (size_t)in->channels * (size_t)out->padded + o;
          for (int i = 0; i < in->channels; i++, w += out->padded)
            for (int b = 0; b < BLOCK; b++)
              sum[b] = TAIL_FMA(SPREAD(from[b * in->padded + i]), *(const v8f *)w, sum[b]);
        }
        float *to = out->data + place;
        for (int b = 0; b < BLOCK; b++)
          *(v8f *)(to + b * out->padded) = relu ? (v8f)((v8i)sum[b] & (sum[b] > 0)) : sum[b];
      }
}

/* dweights[tap][i][o] += sum of in[p + tap][i] dout[p][o]; weights are padded to LANES inputs, too. */
TAIL_TARGET static void TAIL(correlate)(const ek_map *in, const ek_map *dout, float *dweights) {
  int pitch = (in->columns + 2) * in->padded;
  for (int tap = 0; tap < 9; tap++)
    for (int i = 0; i < in->padded; i += LANES)
      for (int o = 0; o < dout->padded; o += LANES) {
        v8f sum[LANES] = {{0}};
        for (int y = 0; y < in->rows; y++) {
          const float *x = in->data + (y + tap / 3) * pitch + tap % 3 * in->padded + i;
          const float *g = dout->data + ((y + 1) * (in->columns + 2) + 1) * dout->padded + o;
          for (int c = 0; c < in->columns; c++, x += in->padded, g += dout->padded)
            for (int k = 0; k < LANES; k++)
              sum[k] = TAIL_FMA(SPREAD(x[k]), *(const v8f *)g, sum[k]);
        }
        for (int k = 0; k < LANES; k++)
          *(v8f *)(dweights + ((size_t)(tap * in->padded + i + k)) * (size_t)dout->padded + o) += sum[k];
      }
}

/* x becomes e^x, for x in [-87, 0], to a few units of float32's last place. */
TAIL_TARGET static inline void TAIL(power)(v8f *x) {
  const v8f magic = SPREAD(0x1.8p23f);
  v8f t = *x * 1.44269504f, n = (t + magic) - magic, f = t - n;
  v8f p = SPREAD(1.5403530e-4f);
  p = TAIL_FMA(p, f, SPREAD(1.3333558e-3f)), p = TAIL_FMA(p, f, SPREAD(9.6181291e-3f));
  p = TAIL_FMA(p, f, SPREAD(5.5504109e-2f)), p = TAIL_FMA(p, f, SPREAD(2.4022651e-1f));
  p = TAIL_FMA(p, f, SPREAD(6.9314718e-1f)), p = TAIL_FMA(p, f, SPREAD(1.0f));
  *x = (v8f)((v8i)p + (__builtin_convertvector(n, v8i) << 23));
}

/* Loss and derivative of n logits (a multiple of LANES, at most PRODUCTS * LANES) against their targets; where inside
 * is 0 a logit counts for nothing. Returns the loss; adds to *excess the squares beyond the
 * limit, to *squared the squared errors of the probabilities; bend is half the derivative of those. */
TAIL_TARGET static double TAIL(differ)(const ek_tail_layout *l, const float *logit, const float *target,
                                       const float *inside, float *slope, float *bend, int n, double *excess,
                                       double *squared) {
  const v8f low = SPREAD((float)l->smoothing), limit = SPREAD((float)l->logit_limit);
  const float pull = (float)(2 * l->range_weight);
  v8f linear = {0}, product = SPREAD(1.0f), beyond = {0}, squares = {0};
  for (int i = 0; i < n; i += LANES) {
    v8f z = *(const v8f *)(logit + i), y = *(const v8f *)(target + i), in = *(const v8f *)(inside + i);
    v8i positive = z > 0;
    y = CHOOSE(y > low, y, low), y = CHOOSE(y < 1 - low, y, 1 - low);
    v8f size = CHOOSE(positive, z, -z), e = -CHOOSE(size < 80, size, SPREAD(80.0f));
    TAIL(power)(&e);
    v8f share = 1 / (1 + e), p = CHOOSE(positive, share, 1 - share);
    v8f over = CHOOSE(size > limit, size - limit, SPREAD(0.0f)) * in;
    linear += (CHOOSE(positive, z, SPREAD(0.0f)) - z * y) * in;
    product *= 1 + e * in;
    beyond += over * over;
    v8f error = (p - y) * in;
    squares += error * error;
    *(v8f *)(bend + i) = error * p * (1 - p);
    *(v8f *)(slope + i) = error + pull * CHOOSE(positive, over, -over);
  }
  double loss = 0;
  for (int k = 0; k < LANES; k++)
    loss += (double)linear[k] + log((double)product[k]), *excess += (double)beyond[k], *squared += (double)squares[k];
  return loss;
}
