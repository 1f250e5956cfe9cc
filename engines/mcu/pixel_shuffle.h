/* pixel_shuffle.h - (height, width, channels f f) to (height f, width f, channels). */

static void ek_pixel_shuffle(const int8_t *in, int height, int width, int channels, int f, int8_t *out) {
  int wide = width * f * channels;
  for (int y = 0; y < height; y++, out += f * wide)
    for (int x = 0; x < width; x++)
      for (int c = 0; c < channels; c++)
        for (int fy = 0; fy < f; fy++, in += f) {
          int8_t *to = out + fy * wide + x * f * channels + c;
          if (channels == 1 && f == 4) {
            __builtin_memcpy(to, in, 4);
            continue;
          }
          for (int fx = 0; fx < f; fx++)
            to[fx * channels] = in[fx];
        }
}
