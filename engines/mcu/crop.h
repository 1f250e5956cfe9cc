/* crop.h - keeps the top left of a map that is `width` pixels wide; in place where in and out are the same. */

static void ek_crop(const int8_t *in, int width, int channels, int to_height, int to_width, int8_t *out) {
  for (int y = 0; y < to_height; y++, in += width * channels)
    for (int i = 0; i < to_width * channels; i++)
      *out++ = in[i];
}
