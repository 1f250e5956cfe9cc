/* conv_spans.h - a convolution that computes some spans of every row: elsewhere no joint ever changes its output. */

EK_COPIED void ek_conv_spans(const ek_convolution *c, const int8_t *in, int8_t *out, ek_in *lines) {
  ek_convolve(c, in, out, lines, 0, 1);
}
