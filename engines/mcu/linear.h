/* linear.h - fully connected layers. */

static void ek_linear(const ek_weights *l, const int8_t *in, int8_t *out, ek_in *scratch) {
  const ek_in *x = ek_widened(in, l->length, scratch);
  const int8_t *w = l->weights;
  const ek_block *b = l->blocks;
  for (int row = 0; row < l->rows; row += 4, b++) {
    int32_t sum[4] = {0, 0, 0, 0};
    w = ek_dot(sum, x, w, l->length);
    ek_settle(sum);
    ek_requantize(l, b, sum, out + row, l->rows - row);
  }
}
