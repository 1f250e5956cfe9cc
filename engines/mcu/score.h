/* score.h - a prediction against an observed mask. */

/* What a pixel adds that is off in the mask, by its prediction as an unsigned byte; with EK_LIKELY where it is above 0.
 * One that is on adds what its negative would: of a logit l, softplus(-l) and (1 - p)^2 are those of -l. */
typedef struct {
  uint32_t nll, squared;
} ek_pixel;

enum { EK_LIKELY_AT = 28 }; /* eight pixels' squared errors fit below, and their number above */
#define EK_SQUARED ((UINT32_C(1) << EK_LIKELY_AT) - 1)
#define EK_QUIET UINT32_C(0x81818181) /* four pixels of which the model is as sure as can be that they are off */

/* predicted (rows, width); mask (rows, ceil(width / 8)), the first pixel in the highest bit. */
static void ek_score(const int8_t *predicted, int rows, int width, const uint8_t *mask, const ek_pixel *pixels,
                     edgekin_score_t *score) {
  edgekin_score_t s = {0, 0, 0, 0, 0};
  uint32_t quiet = 0, words[2];
  for (int y = 0; y < rows; y++) {
    uint32_t nll = 0, squared = 0; /* of a row: the exporter chose units in which they fit */
    for (int x = 0; x < width; x += 8, predicted += 8) {
      int bits = *mask++, n = width - x < 8 ? width - x : 8;
      if (!bits && n == 8) {
        uint32_t few = 0;
        __builtin_memcpy(words, predicted, 8);
        if (words[0] == EK_QUIET && words[1] == EK_QUIET) {
          quiet++;
          continue;
        }
        for (int i = 0; i < 8; i++) {
          const ek_pixel *p = &pixels[(uint8_t)predicted[i]];
          nll += p->nll, few += p->squared;
        }
        s.predicted += few >> EK_LIKELY_AT, squared += few & EK_SQUARED;
        continue;
      }
      for (int i = 0; i < n; i++, bits <<= 1) {
        int value = predicted[i], on = bits >> 7 & 1, likely = value > 0;
        const ek_pixel *p = &pixels[(uint8_t)(on ? -value : value)];
        nll += p->nll, squared += p->squared & EK_SQUARED;
        s.predicted += (uint32_t)likely, s.observed += (uint32_t)on, s.intersection += (uint32_t)(on & likely);
      }
    }
    predicted -= (8 - width % 8) % 8;
    s.nll += nll, s.squared_err += squared;
  }
  s.nll += (uint64_t)pixels[0x81].nll * (8 * quiet),
      s.squared_err += (uint64_t)(pixels[0x81].squared & EK_SQUARED) * (8 * quiet);
  *score = s;
}
