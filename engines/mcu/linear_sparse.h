/* linear_sparse.h - a fully connected layer of which only blocks of weights that are not zero are kept.
 *
 * chunks: for every block of rows how many chunks there are, then where in the input each begins.
 */

/* Adds to four sums n chunks of the input, those that `at` names; returns the weights that follow. */
EK_INLINE const int8_t *ek_dot_sparse(int32_t *sum, const ek_in *input, const int8_t *w, const uint16_t *at, int n) {
  int32_t a0 = sum[0], a1 = sum[1], a2 = sum[2], a3 = sum[3];
  for (const uint16_t *end = at + n; at != end; at++, w += 4 * EK_CHUNK) {
    const ek_in *x = input + *at;
    EK_ADD_CHUNK
  }
  sum[0] = a0, sum[1] = a1, sum[2] = a2, sum[3] = a3;
  return w;
}

static void ek_linear_sparse(const ek_weights *l, const int8_t *in, int8_t *out, ek_in *scratch) {
  const ek_in *x = ek_widened(in, l->length, scratch);
  const int8_t *w = l->weights;
  const uint16_t *at = l->chunks;
  const ek_block *b = l->blocks;
  for (int row = 0; row < l->rows; row += 4, b++) {
    int32_t sum[4] = {0, 0, 0, 0};
    int count = *at++;
    w = ek_dot_sparse(sum, x, w, at, count);
    at += count;
    ek_settle(sum);
    ek_requantize(l, b, sum, out + row, l->rows - row);
  }
}
