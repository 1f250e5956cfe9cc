/* reshape.h - the numbers of a map, channel by channel, in the shape of another. */

static void ek_reshape(const int8_t *in, int channels, int pixels, int to_channels, int to_pixels, int8_t *out) {
  for (int p = 0; p < to_pixels; p++)
    for (int c = 0; c < to_channels; c++) {
      int i = c * to_pixels + p;
      *out++ = in[i % pixels * channels + i / pixels];
    }
}
