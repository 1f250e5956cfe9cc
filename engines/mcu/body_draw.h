/* body_draw.h - an outline takes light from the pixels that it covers: 254 is all of it, and a picture shows 127 less
 * what is left.
 *
 * Rows are drawn from the outline's middle upwards and downwards, pixels from the middle of the row to both sides,
 * until the fade reaches 1: it only grows on the way, by differences that are exact. So no root is taken and no pixel
 * outside is tried.
 */
enum {
  EK_NOTHING = -127,
  EK_ROBOT = 127,
  EK_OPAQUE = 255,
  EK_STEP_BITS = 6,
  EK_STEPS = 64 /* of a table of cover, by fade */
};

EK_INLINE void ek_dim(int8_t *p, int32_t cover) {
  *p = (int8_t)(*p + (((EK_ROBOT - *p) * cover + 128) >> 8));
}

/* From pixel x of a row on, to the right (step 1) or to the left (-1). */
EK_INLINE void ek_side(int8_t *row, int width, int x, int step, int32_t fade, int32_t grow, int32_t twice,
                       const uint8_t *cover) {
  for (; step > 0 ? x < 0 : x >= width; x += step, fade += grow, grow += twice)
    if (fade >= EK_FADED)
      return;
  if (step > 0 ? x >= width : x < 0)
    return;
  int8_t *p = row + x;
  const int8_t *end = step > 0 ? row + width : row - 1;
  if (cover[0] == EK_OPAQUE)
    for (; p != end && fade < EK_FADED / EK_STEPS; p += step, fade += grow, grow += twice)
      *p = EK_ROBOT;
  for (; p != end && fade < EK_FADED; p += step, fade += grow, grow += twice)
    ek_dim(p, cover[fade < 0 ? 0 : fade >> (EK_FADE_BITS - EK_STEP_BITS)]);
}

static void ek_row(int8_t *row, int width, int32_t middle, int32_t fade, int32_t a, const uint8_t *cover) {
  int32_t x = (middle + 0x7FFF) >> 16, off = x * 65536 - middle, grow = (int32_t)(((int64_t)a * off) >> 15);
  fade += ek_high_product(a, off * off);
  ek_side(row, width, x, 1, fade, a + grow, 2 * a, cover);
  ek_side(row, width, x - 1, -1, fade + a - grow, 3 * a - grow, 2 * a, cover);
}

static void ek_draw(const ek_outline *o, const uint8_t *cover, int8_t *picture, int width, int height) {
  int32_t y = (o->v + 0x7FFF) >> 16, off = y * 65536 - o->v, grow = (int32_t)(((int64_t)o->d * off) >> 15),
          g = o->d + grow;
  int32_t from = o->inner + ek_high_product(o->d, off * off), fade = from;
  int32_t start = o->u + (int32_t)(((int64_t)o->slope * off) >> 16), middle = start;
  for (int32_t k = y; fade < EK_FADED && k < height; k++, fade += g, g += 2 * o->d, middle += o->slope)
    if (k >= 0)
      ek_row(picture + k * width, width, middle, fade, o->a, cover);
  fade = from + o->d - grow, g = 3 * o->d - grow, middle = start - o->slope;
  for (int32_t k = y - 1; fade < EK_FADED && k >= 0; k--, fade += g, g += 2 * o->d, middle -= o->slope)
    if (k < height)
      ek_row(picture + k * width, width, middle, fade, o->a, cover);
}
