/* noise.c - what a segmentation does to silhouettes: pixels flip along their outlines, or anywhere. */
#include "scene.h"

#include <math.h>
#include <string.h>

#include "../core/status.h"

typedef struct {
  uint64_t state;
  double scale;   /* 1 / log(1 - share) */
  uint64_t ahead; /* candidates to leave alone before the next flip */
} flips_t;

/* splitmix64 (Steele, Lea, Flood 2014). */
static inline uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/* Candidates between two flips are geometrically distributed, so only flips cost a draw. */
static inline uint64_t gap(flips_t *f) {
  double u = (double)((next_random(&f->state) >> 11) + 1) * 0x1p-53; /* (0, 1] */
  double skipped = log(u) * f->scale;
  return skipped < 0x1p62 ? (uint64_t)skipped : 1ull << 62;
}

static void begin(flips_t *f, double share, uint64_t seed, uint64_t mask, uint64_t stream) {
  f->state = seed;
  f->state = next_random(&f->state) ^ mask;
  f->state = next_random(&f->state) ^ stream;
  f->scale = 1.0 / log1p(-share); /* -0 for a share of 1: every gap is 0 */
  f->ahead = share > 0 ? gap(f) : ~0ull;
}

/* Which of the candidates (bits) flip. */
static inline uint64_t flip(flips_t *f, uint64_t candidates) {
  uint64_t n = (uint64_t)__builtin_popcountll(candidates), out = 0, at = 0;
  while (f->ahead < n) {
    for (; at < f->ahead; at++)
      candidates &= candidates - 1;
    out |= candidates & -candidates;
    f->ahead += 1 + gap(f);
  }
  f->ahead -= n;
  return out;
}

static inline void load_row(const uint8_t *bytes, int row_bytes, int words, uint64_t *row) {
  memset(row, 0, sizeof *row * (size_t)words);
  memcpy(row, bytes, (size_t)row_bytes);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  for (int w = 0; w < words; w++)
    row[w] = __builtin_bswap64(row[w]);
#endif
}

static inline void store_row(const uint64_t *row, int row_bytes, int words, uint8_t *bytes) {
  uint64_t swapped[EK_RENDER_WORDS];
  for (int w = 0; w < words; w++) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    swapped[w] = __builtin_bswap64(row[w]);
#else
    swapped[w] = row[w];
#endif
  }
  memcpy(bytes, swapped, (size_t)row_bytes);
}

/* The pixels of word w whose neighbour left, right, above or below is of the other kind. */
static inline uint64_t outline(const uint64_t *above, const uint64_t *row, const uint64_t *below, int w, int words,
                               const uint64_t *inside) {
  uint64_t x = row[w], before = w > 0 ? row[w - 1] : 0, after = w + 1 < words ? row[w + 1] : 0;
  uint64_t left = x ^ (x >> 1 | before << 63), right = x ^ (x << 1 | after >> 63);
  if (w == 0)
    left &= ~0ull >> 1; /* nothing stands left of the picture */
  right &= inside[w] << 1 | (w + 1 < words ? inside[w + 1] >> 63 : 0);
  return (left | right | (x ^ above[w]) | (x ^ below[w])) & inside[w];
}

static void disturb(uint8_t *mask, int width, int height, const uint64_t *inside, flips_t *edges, flips_t *all) {
  int words = (width + 63) / 64, row_bytes = (width + 7) / 8;
  uint64_t buffer[3][EK_RENDER_WORDS]; /* three rows as they were */
  load_row(mask, row_bytes, words, buffer[0]);
  for (int r = 0; r < height; r++) {
    const uint64_t *row = buffer[r % 3];
    uint64_t *next = buffer[(r + 1) % 3], out[EK_RENDER_WORDS], any = 0;
    if (r + 1 < height)
      load_row(mask + (r + 1) * row_bytes, row_bytes, words, next);
    const uint64_t *above = r > 0 ? buffer[(r + 2) % 3] : row, *below = r + 1 < height ? next : row;
    for (int w = 0; w < words; w++) {
      uint64_t flipped = flip(edges, outline(above, row, below, w, words, inside)) ^ flip(all, inside[w]);
      out[w] = row[w] ^ flipped;
      any |= flipped;
    }
    if (any)
      store_row(out, row_bytes, words, mask + r * row_bytes);
  }
}

int ek_mask_noise(uint8_t *masks, int n, int width, int height, double boundary, double anywhere, uint64_t seed,
                  uint64_t first) {
  if ((!masks && n > 0) || n < 0 || width < 1 || height < 1 || width > EK_RENDER_MAX_PX || height > EK_RENDER_MAX_PX)
    return EK_E_ARGUMENT;
  if (!(boundary >= 0 && boundary <= 1) || !(anywhere >= 0 && anywhere <= 1))
    return EK_E_RANGE;
  uint64_t inside[EK_RENDER_WORDS];
  int words = (width + 63) / 64;
  for (int w = 0; w < words; w++)
    inside[w] = width - 64 * w >= 64 ? ~0ull : ~0ull << (64 - (width - 64 * w));
  for (int i = 0; i < n; i++) {
    flips_t edges, all;
    begin(&edges, boundary, seed, first + (uint64_t)i, 1);
    begin(&all, anywhere, seed, first + (uint64_t)i, 2);
    disturb(masks + (size_t)i * (size_t)height * (size_t)((width + 7) / 8), width, height, inside, &edges, &all);
  }
  return EK_OK;
}
