/* score.h - a prediction against an observed mask. */

/* What a pixel adds that is off in the mask, by its prediction as an unsigned byte; with EK_LIKELY where it is above 0.
 * One that is on adds what its negative would: of a logit l, softplus(-l) and (1 - p)^2 are those of -l. That is found
 * one entry behind the complement's, and 0 has an entry of its own there, the last: where the negative is 0 or above,
 * the prediction is not. */
typedef struct {
  uint32_t nll, squared;
} ek_pixel;

enum { EK_LIKELY_AT = 28 }; /* eight pixels' squared errors fit below, and their number above */
#define EK_SQUARED ((UINT32_C(1) << EK_LIKELY_AT) - 1)
#define EK_QUIET UINT32_C(0x81818181) /* four pixels of which the model is as sure as can be that they are off */

typedef struct {
  uint32_t nll, squared;                               /* of a row: the exporter chose units in which they fit */
  uint32_t counted, predicted, observed, intersection; /* pixels */
} ek_sums;

/* Up to eight pixels. */
EK_INLINE void ek_score_byte(const int8_t *predicted, int n, uint32_t byte, const ek_pixel *pixels, ek_sums *s) {
  uint32_t nll = 0, all = 0, missed = 0, on = 0;
  s->counted += (uint32_t)n;
  if (!byte) {
    for (int i = 0; i < n; i++) {
      const ek_pixel *p = &pixels[(uint8_t)predicted[i]];
      nll += p->nll, all += p->squared;
    }
    s->nll += nll, s->squared += all & EK_SQUARED, s->predicted += all >> EK_LIKELY_AT;
    return;
  }
  for (int i = 0; i < n; i++) {
    int32_t is = (int32_t)(byte << (24 + i)) >> 31; /* -1: on */
    const ek_pixel *p = &pixels[(uint8_t)(predicted[i] ^ is) - is];
    nll += p->nll, all += p->squared, missed += p->squared & (uint32_t)is, on -= (uint32_t)is;
  }
  s->nll += nll, s->squared += all & EK_SQUARED;
  s->observed += on, s->intersection += on - (missed >> EK_LIKELY_AT);
  s->predicted += on + (all >> EK_LIKELY_AT) - 2 * (missed >> EK_LIKELY_AT);
}

/* Four pixels. Cores without unaligned loads would put them together one by one, though they mostly are aligned. */
EK_INLINE uint32_t ek_four(const int8_t *predicted) {
  uint32_t four;
#if defined(__riscv)
  if ((uintptr_t)predicted % 4 == 0) {
    __builtin_memcpy(&four, __builtin_assume_aligned(predicted, 4), 4);
    return four;
  }
#endif
  __builtin_memcpy(&four, predicted, 4);
  return four;
}

EK_INLINE int ek_quiet(const int8_t *predicted, int n) {
  for (; n >= 4; n -= 4, predicted += 4)
    if (ek_four(predicted) != EK_QUIET)
      return 0;
  for (; n > 0; n--, predicted++)
    if ((uint8_t)*predicted != (EK_QUIET & 0xFF))
      return 0;
  return 1;
}

/* How many of n pixels from here on, by eights, are quiet and off in the mask. Apart, where it has the registers. */
EK_APART int ek_skipped(const int8_t *predicted, int n, const uint8_t *mask) {
  const int8_t *at = predicted;
  uint32_t four;
  for (; n >= 32; n -= 32, mask += 4, at += 32) {
    __builtin_memcpy(&four, mask, 4);
    if (four || !ek_quiet(at, 32))
      break;
  }
  for (; n >= 8 && !*mask && ek_quiet(at, 8); n -= 8, mask++)
    at += 8;
  return (int)(at - predicted);
}

/* predicted (rows, width); mask (rows, ceil(width / 8)), the first pixel in the highest bit. */
static void ek_score(const int8_t *predicted, int rows, int width, const uint8_t *mask, const ek_pixel *pixels,
                     edgekin_score_t *score) {
  ek_sums s = {0, 0, 0, 0, 0, 0};
  uint64_t nll = 0, squared = 0;
  int tail = width % 8;
  for (int y = 0; y < rows; y++) {
    const int8_t *end = predicted + (width - tail);
    s.nll = s.squared = 0;
    for (;;) {
      int skipped = ek_skipped(predicted, (int)(end - predicted), mask);
      predicted += skipped, mask += skipped / 8;
      if (predicted == end)
        break;
      do {
        ek_score_byte(predicted, 8, *mask++, pixels, &s);
        predicted += 8;
      } while (predicted < end && (*mask || !ek_quiet(predicted, 8)));
    }
    if (tail && (*mask || !ek_quiet(predicted, tail)))
      ek_score_byte(predicted, tail, *mask, pixels, &s);
    predicted += tail, mask += tail > 0;
    nll += s.nll, squared += s.squared;
  }
  uint32_t quiet = (uint32_t)(rows * width) - s.counted;
  nll += (uint64_t)pixels[0x81].nll * quiet, squared += (uint64_t)(pixels[0x81].squared & EK_SQUARED) * quiet;
  *score = (edgekin_score_t){nll, squared, s.predicted, s.observed, s.intersection};
}
