/* planes.h - of a map (pixels, channels) the first `views` channels one after another. */

static void ek_planes(const int8_t *in, int pixels, int channels, int views, int8_t *out) {
  for (int v = 0; v < views; v++)
    for (int p = 0; p < pixels; p++)
      *out++ = in[p * channels + v];
}
