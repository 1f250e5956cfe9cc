/* dot_wide.h - layout "wide", for MVE: sixteen inputs (eight in 16 bits) of a row, then of the next; rows are padded.
 */
typedef int8_t ek_in;
#define ek_dot_plain ek_dot /* of weights that are not packed */
#define EK_CHUNK 16
#define EK_ADD_CHUNK                                                                                                   \
  {                                                                                                                    \
    EK_LOAD;                                                                                                           \
    a0 = EK_ROW(a0, 0), a1 = EK_ROW(a1, 1), a2 = EK_ROW(a2, 2), a3 = EK_ROW(a3, 3);                                    \
  }

#if defined(EK_MVE)
#define EK_ROW(a, r) vmladavaq_s8(a, v, vldrbq_s8(w + 16 * (r)))
#define EK_ROW_FINE(a, r) vmladavaq_s16(a, v, vldrbq_s16(w + 8 * (r)))
#define EK_LOAD int8x16_t v = vldrbq_s8(x)
#define EK_LOAD_FINE int16x8_t v = vldrhq_s16(x)
#else
EK_INLINE int32_t ek_row(int32_t a, const int8_t *x, const int8_t *w) {
  for (int i = 0; i < 16; i++)
    a += x[i] * w[i];
  return a;
}

EK_INLINE int32_t ek_row_fine(int32_t a, const int16_t *x, const int8_t *w) {
  for (int i = 0; i < 8; i++)
    a += x[i] * w[i];
  return a;
}
#define EK_ROW(a, r) ek_row(a, x, w + 16 * (r))
#define EK_ROW_FINE(a, r) ek_row_fine(a, x, w + 8 * (r))
#define EK_LOAD
#define EK_LOAD_FINE
#endif

/* Adds to four sums n inputs, a multiple of sixteen; returns the weights that follow. */
EK_INLINE const int8_t *ek_dot(int32_t *sum, const ek_in *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (int i = n / 16; i > 0; i--, x += 16, w += 64)
    EK_ADD_CHUNK
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

/* The same of inputs in 16 bits; n is a multiple of eight. */
EK_INLINE const int8_t *ek_dot_fine(int32_t *sum, const int16_t *x, const int8_t *w, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (int i = n / 8; i > 0; i--, x += 8, w += 32) {
    EK_LOAD_FINE;
    a0 = EK_ROW_FINE(a0, 0), a1 = EK_ROW_FINE(a1, 1), a2 = EK_ROW_FINE(a2, 2), a3 = EK_ROW_FINE(a3, 3);
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
