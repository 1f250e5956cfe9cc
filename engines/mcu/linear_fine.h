/* linear_fine.h - a fully connected layer of inputs in 16 bits: the one that reads the joints. */

static void ek_linear_fine(const ek_weights *l, const int16_t *x, int8_t *out) {
  const int8_t *w = l->weights;
  const ek_block *b = l->blocks;
  for (int row = 0; row < l->rows; row += 4, b++) {
    int32_t sum[4] = {0, 0, 0, 0};
    w = ek_dot_fine(sum, x, w, l->length);
    ek_requantize(l, b, sum, out + row, l->rows - row);
  }
}
