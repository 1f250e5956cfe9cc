/* conv.h - convolutions, transposed ones among them, in phases.
 *
 * A transposed convolution of stride s gives s x s interleaved pictures; each is a convolution of its own with a part
 * of the kernel: output y sees the rows (y + pad) / s - t of the input, through the kernel's rows (y + pad) % s + s t.
 * A plain convolution is the one with stride 1 and the kernel turned round. The exporter has parted and turned the
 * kernels; here every output is a sum over `taps` segments of `taps` pixels. Rows of the input are kept with zeros
 * around them, so that nothing is asked at the borders.
 */
enum { EK_MOST_TAPS = 15 };

typedef struct {
  uint8_t places; /* of a row of outputs */
  uint8_t still;  /* 0: they are computed; else the number of their output in `rest`, from 1 */
} ek_span;

typedef struct {
  ek_weights of;                /* the phases one after another, phase (y, x) as number y s + x */
  uint32_t phase_bytes;         /* weights of a phase */
  uint16_t height, width;       /* of the input */
  uint16_t to_height, to_width; /* of the output */
  uint16_t channels;            /* of the input */
  uint16_t pitch;               /* numbers of a kept row, zeros included */
  uint8_t stride, taps, pad;    /* pad: of the transposed convolution */
  uint8_t before;               /* zero pixels before a kept row */
  const ek_span *spans;         /* of all rows, for ek_conv_spans */
  const int8_t *rest;           /* outputs that no joint changes */
} ek_convolution;

EK_INLINE void ek_keep(const ek_convolution *c, const int8_t *in, int y, ek_in *row) {
  int n = c->width * c->channels;
  const int8_t *x = in + (size_t)y * (size_t)n;
  row += c->before * c->channels;
  for (int i = 0; i < n; i++)
    row[i] = x[i];
}

/* Outputs of one phase of a row: x, x + stride, ... before last */
EK_INLINE void ek_phase(const ek_convolution *c, const ek_in *const *rows, int x, int last, const int8_t *weights,
                        int8_t *out, int plain) {
  int taps = c->taps, rows_of = c->of.rows;
  int at = ((x + c->pad) / c->stride - (taps - 1) + c->before) * c->channels;
  for (; x < last; x += c->stride, at += c->channels) {
    const int8_t *w = weights;
    const ek_block *b = c->of.blocks;
    int8_t *to = out + x * rows_of;
    for (int row = 0; row < rows_of; row += 4, b++) {
      int32_t sum[4] = {0, 0, 0, 0};
      for (int t = 0; t < taps; t++)
        w = plain ? ek_dot_plain(sum, rows[t] + at, w, c->of.length) : ek_dot(sum, rows[t] + at, w, c->of.length);
      if (!plain)
        ek_settle(sum);
      ek_requantize(&c->of, b, sum, to + row, rows_of - row);
    }
  }
}

/* Outputs x to last of a row, all phases of it; first: the number of the first of them. */
EK_INLINE void ek_places(const ek_convolution *c, const ek_in *const *rows, int first, int x, int last, int8_t *out,
                         int plain) {
  for (int i = x; i < x + c->stride && i < last; i++)
    ek_phase(c, rows, i, last, c->of.weights + (size_t)(first + (i + c->pad) % c->stride) * c->phase_bytes, out, plain);
}

/* A row of outputs by its spans; returns those of the next. */
EK_INLINE const ek_span *ek_spans(const ek_convolution *c, const ek_in *const *rows, int first, const ek_span *span,
                                  int8_t *out) {
  for (int x = 0, last; x < c->to_width; x = last, span++) {
    last = x + span->places;
    if (!span->still)
      ek_places(c, rows, first, x, last, out, 0);
    else
      for (int8_t *to = out + x * c->of.rows; to != out + last * c->of.rows; to += c->of.rows)
        for (int i = 0; i < c->of.rows; i++)
          to[i] = c->rest[(span->still - 1) * c->of.rows + i];
  }
  return span;
}

/* lines: (taps + 1) pitch numbers. */
EK_INLINE void ek_convolve(const ek_convolution *c, const int8_t *in, int8_t *out, ek_in *lines, int plain, int some) {
  const ek_in *rows[EK_MOST_TAPS];
  int taps = c->taps, kept = 0;
  ek_in *zero = lines + taps * c->pitch;
  for (int i = 0; i < (taps + 1) * c->pitch; i++)
    lines[i] = 0;
  const ek_span *span = c->spans;
  for (int y = 0; y < c->to_height; y++) {
    int top = (y + c->pad) / c->stride - (taps - 1), first = (y + c->pad) % c->stride * c->stride;
    for (; kept < top + taps && kept < c->height; kept++)
      ek_keep(c, in, kept, lines + kept % taps * c->pitch);
    for (int t = 0; t < taps; t++) {
      int row = top + t;
      rows[t] = row < 0 || row >= c->height ? zero : lines + row % taps * c->pitch;
    }
    if (some)
      span = ek_spans(c, rows, first, span, out);
    else
      ek_places(c, rows, first, 0, c->to_width, out, plain);
    out += c->to_width * c->of.rows;
  }
}

EK_COPIED void ek_conv(const ek_convolution *c, const int8_t *in, int8_t *out, ek_in *lines) {
  ek_convolve(c, in, out, lines, 0, 0);
}
