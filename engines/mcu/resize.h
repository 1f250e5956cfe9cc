/* resize.h - bilinear enlargement with weights in 1/256. */

/* Where an output of one axis lies: between `first` and the next (or the same, at the end), `second` / 256 of the way.
 */
typedef struct {
  uint16_t first, second;
} ek_place;

static void ek_resize(const int8_t *in, int height, int width, int channels, const ek_place *rows,
                      const ek_place *columns, int to_height, int to_width, int8_t *out) {
  for (int y = 0; y < to_height; y++) {
    const int8_t *top = in + rows[y].first * width * channels;
    const int8_t *bottom = top + (rows[y].first + 1 < height ? width * channels : 0);
    int32_t wy = rows[y].second;
    for (int x = 0; x < to_width; x++) {
      int at = columns[x].first * channels, next = columns[x].first + 1 < width ? channels : 0;
      int32_t wx = columns[x].second;
      for (int c = at; c < at + channels; c++) {
        int32_t upper = top[c] * (256 - wx) + top[c + next] * wx,
                lower = bottom[c] * (256 - wx) + bottom[c + next] * wx;
        *out++ = (int8_t)((upper * (256 - wy) + lower * wy + (1 << 15)) >> 16);
      }
    }
  }
}
