/* upconv.h - a map that is enlarged and then convolved with 3x3: convolved first, in 16 bits (docs/formats.md). */

/* As ek_place, in 1/2^15. */
typedef struct {
  uint16_t first, second;
} ek_fine_place;

typedef struct {
  ek_weights of; /* rows: nine places of the kernel, of each the outputs */
  const ek_fine_place *rows, *columns;
  const int16_t *bias, *multiplier; /* (outputs) of the sums after the shift */
  int32_t height, width, channels, to_height, to_width, outputs, shift;
} ek_enlargement;

EK_INLINE int32_t ek_between(int32_t a, int32_t b, int32_t f) {
  return a + (((b - a) * f + (1 << 14)) >> 15);
}

/* The nine places' sums of every pixel of a row, shifted. */
static void ek_stamps(const ek_enlargement *e, const int8_t *in, int16_t *stamps, ek_in *scratch) {
  int n = 9 * e->outputs;
  for (int x = 0; x < e->width; x++, in += e->channels, stamps += n) {
    const ek_in *v = ek_widened(in, e->of.length, scratch);
    const int8_t *w = e->of.weights;
    for (int row = 0; row < n; row += 4) {
      int32_t sum[4] = {0, 0, 0, 0};
      w = ek_dot_plain(sum, v, w, e->of.length);
      for (int i = 0; i < 4 && row + i < n; i++)
        stamps[row + i] = (int16_t)((sum[i] + (1 << e->shift >> 1)) >> e->shift);
    }
  }
}

/* Enlarges a row and adds the kernel's columns: (3, to_width, outputs). */
static void ek_enlarge_row(const ek_enlargement *e, const int16_t *stamps, int16_t *out) {
  int n = e->outputs;
  for (int ky = 0; ky < 3; ky++)
    for (int x = 0; x < e->to_width; x++)
      for (int o = 0; o < n; o++) {
        int32_t sum = 0;
        for (int kx = 0; kx < 3; kx++) {
          int p = x + kx - 1;
          if (p < 0 || p >= e->to_width)
            continue;
          const int16_t *a = stamps + e->columns[p].first * 9 * n + (3 * ky + kx) * n + o;
          sum += ek_between(a[0], a[e->columns[p].first + 1 < e->width ? 9 * n : 0], e->columns[p].second);
        }
        *out++ = (int16_t)sum;
      }
}

/* scratch: stamps (width, 9, outputs), three kept rows (3, to_width, outputs), then a pixel for ek_widened. */
static void ek_upconv(const ek_enlargement *e, const int8_t *in, int8_t *out, int16_t *scratch) {
  int n = e->outputs, line = 3 * e->to_width * n, kept = 0;
  int16_t *stamps = scratch, *lines = stamps + e->width * 9 * n;
  ek_in *pixel = (ek_in *)(void *)(lines + 3 * line);
  for (int y = 0; y < e->to_height; y++) {
    int last = e->rows[y + 1 < e->to_height ? y + 1 : y].first + 1;
    for (; kept <= last && kept < e->height; kept++) {
      ek_stamps(e, in + kept * e->width * e->channels, stamps, pixel);
      ek_enlarge_row(e, stamps, lines + kept % 3 * line);
    }
    for (int i = 0; i < e->to_width * n; i++) {
      int32_t sum = e->bias[i % n];
      for (int ky = 0; ky < 3; ky++) {
        int p = y + ky - 1, at = ky * e->to_width * n + i;
        if (p < 0 || p >= e->to_height)
          continue;
        int a = e->rows[p].first, b = a + 1 < e->height ? a + 1 : a;
        sum += ek_between(lines[a % 3 * line + at], lines[b % 3 * line + at], e->rows[p].second);
      }
      sum = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
      *out++ = (int8_t)ek_clipped((sum * e->multiplier[i % n] + (1 << 14)) >> 15, e->of.least);
    }
  }
}
