/* conv_plain.h - a convolution of layout "pairs" whose sums could be too large to be packed. */

EK_COPIED void ek_conv_plain(const ek_convolution *c, const int8_t *in, int8_t *out, ek_in *lines) {
  ek_convolve(c, in, out, lines, 1, 0);
}
