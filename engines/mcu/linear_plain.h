/* linear_plain.h - a fully connected layer of layout "pairs" whose sums could be too large to be packed. */

static void ek_linear_plain(const ek_weights *l, const int8_t *in, int8_t *out, ek_in *scratch) {
  ek_linear_fine(l, ek_widened(in, l->length, scratch), out);
}
