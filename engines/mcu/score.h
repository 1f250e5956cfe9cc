/* score.h - logits against an observed mask. */

/* What a pixel adds that is off in the mask, by its logit as an unsigned byte. One that is on adds what its negative
 * would: softplus(-l) and (1 - p)^2 are those of -l. */
typedef struct {
  uint32_t nll, squared;
} ek_pixel;

/* logits (rows, width); mask (rows, ceil(width / 8)), the first pixel in the highest bit. */
static void ek_score(const int8_t *logits, int rows, int width, const uint8_t *mask, const ek_pixel *pixels,
                     edgekin_score_t *score) {
  edgekin_score_t s = {0, 0, 0, 0, 0};
  for (int y = 0; y < rows; y++) {
    uint32_t nll = 0, squared = 0; /* of a row: the exporter chose units in which they fit */
    for (int x = 0; x < width; x += 8) {
      int bits = *mask++, n = width - x < 8 ? width - x : 8;
      for (int i = 0; i < n; i++, bits <<= 1) {
        int logit = *logits++, on = bits >> 7 & 1;
        const ek_pixel *p = &pixels[(uint8_t)(on ? -logit : logit)];
        nll += p->nll, squared += p->squared;
        s.predicted += logit > 0, s.observed += (uint32_t)on, s.intersection += (uint32_t)(on & (logit > 0));
      }
    }
    s.nll += nll, s.squared_err += squared;
  }
  *score = s;
}
