/* linear_runs.h - a fully connected layer of which some blocks of rows have no weights, and give zeros.
 *
 * chunks: how many blocks of rows have none, how many then have weights, and so on to the last row.
 */

static void ek_linear_runs(const ek_weights *l, const int8_t *in, int8_t *out, ek_in *scratch) {
  const ek_in *x = ek_widened(in, l->length, scratch);
  const int8_t *w = l->weights;
  const uint16_t *run = l->chunks;
  const ek_block *b = l->blocks;
  for (int row = 0; row < l->rows;) {
    for (int end = row + 4 * *run++; row < end && row < l->rows; row++)
      out[row] = 0;
    for (int end = row + 4 * *run++; row < end; row += 4, b++) {
      int32_t sum[4] = {0, 0, 0, 0};
      w = ek_dot(sum, x, w, l->length);
      ek_settle(sum);
      ek_requantize(l, b, sum, out + row, l->rows - row);
    }
  }
}
