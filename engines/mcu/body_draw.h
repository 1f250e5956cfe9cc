/* body_draw.h - an outline takes light from the pixels that it covers: 254 is all of it.
 *
 * Rows are drawn from the outline's middle upwards and downwards, pixels from the middle of the row to both sides,
 * until the fade reaches 1: it only grows on the way, by differences that are exact. So no root is taken and no pixel
 * outside is tried.
 */
enum { EK_LIGHT = 254, EK_OPAQUE = 255, EK_STEP_BITS = 6, EK_STEPS = 64 }; /* steps: of a table of cover, by fade */

EK_INLINE void ek_dim(uint8_t *p, uint32_t cover) {
  *p = (uint8_t)(*p - ((*p * cover + 128) >> 8));
}

/* From pixel x of a row on, to the right (step 1) or to the left (-1). */
EK_INLINE void ek_side(uint8_t *row, int width, int x, int step, int32_t fade, int32_t grow, int32_t twice,
                       const uint8_t *cover) {
  for (; step > 0 ? x < 0 : x >= width; x += step, fade += grow, grow += twice)
    if (fade >= EK_FADED)
      return;
  uint8_t *p = row + x;
  int n = step > 0 ? width - x : x + 1;
  for (; n > 0 && fade < EK_FADED / EK_STEPS; n--, p += step, fade += grow, grow += twice)
    if (cover[0] == EK_OPAQUE)
      *p = 0;
    else
      ek_dim(p, cover[0]);
  for (; n > 0 && fade < EK_FADED; n--, p += step, fade += grow, grow += twice)
    ek_dim(p, cover[fade >> (EK_FADE_BITS - EK_STEP_BITS)]);
}

static void ek_row(uint8_t *row, int width, int32_t middle, int32_t fade, int32_t a, const uint8_t *cover) {
  int32_t x = (middle + 0x7FFF) >> 16, off = x * 65536 - middle, grow = (int32_t)(((int64_t)a * off) >> 15);
  fade += ek_high_product(a, off * off);
  ek_side(row, width, x, 1, fade, a + grow, 2 * a, cover);
  ek_side(row, width, x - 1, -1, fade + a - grow, 3 * a - grow, 2 * a, cover);
}

static void ek_draw(const ek_outline *o, const uint8_t *cover, uint8_t *light, int width, int height) {
  int32_t y = (o->v + 0x7FFF) >> 16, off = y * 65536 - o->v, grow = (int32_t)(((int64_t)o->d * off) >> 15),
          g = o->d + grow;
  int32_t from = o->inner + ek_high_product(o->d, off * off), fade = from;
  int32_t start = o->u + (int32_t)(((int64_t)o->slope * off) >> 16), middle = start;
  for (int32_t k = y; fade < EK_FADED && k < height; k++, fade += g, g += 2 * o->d, middle += o->slope)
    if (k >= 0)
      ek_row(light + k * width, width, middle, fade, o->a, cover);
  fade = from + o->d - grow, g = 3 * o->d - grow, middle = start - o->slope;
  for (int32_t k = y - 1; fade < EK_FADED && k >= 0; k--, fade += g, g += 2 * o->d, middle -= o->slope)
    if (k < height)
      ek_row(light + k * width, width, middle, fade, o->a, cover);
}
