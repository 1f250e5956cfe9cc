/* linear_sparse.h - a fully connected layer of which only blocks of weights that are not zero are kept. */

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
