/* dot_rows.h - layout "rows", for cores without vectors: of a block the weights of an input stand together, row by row.
 */
typedef int8_t ek_in;
#define ek_dot_plain ek_dot /* of weights that are not packed */
#define EK_CHUNK 2          /* inputs of a sparse block; adds them to a0 to a3: */
#define EK_ADD_CHUNK EK_STEP(0) EK_STEP(1)

#define EK_STEP(i)                                                                                                     \
  {                                                                                                                    \
    int32_t v = x[i];                                                                                                  \
    a0 += v * w[4 * (i)], a1 += v * w[4 * (i) + 1], a2 += v * w[4 * (i) + 2], a3 += v * w[4 * (i) + 3];                \
  }

/* Adds to four sums n inputs, a multiple of four; returns the weights that follow. */
EK_INLINE const int8_t *ek_dot(int32_t *sum, const ek_in *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (const ek_in *end = x + n; x != end; x += 4, w += 16) {
    EK_STEP(0) EK_STEP(1) EK_STEP(2) EK_STEP(3)
  }
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

/* The same of inputs in 16 bits. */
EK_INLINE const int8_t *ek_dot_fine(int32_t *sum, const int16_t *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (const int16_t *end = x + n; x != end; x += 4, w += 16) {
    EK_STEP(0) EK_STEP(1) EK_STEP(2) EK_STEP(3)
  }
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

EK_INLINE void ek_settle(int32_t *sum) {
  (void)sum;
}

EK_INLINE const ek_in *ek_widened(const int8_t *x, int n, ek_in *scratch) {
  (void)n, (void)scratch;
  return x;
}
