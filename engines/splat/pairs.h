/* pairs.h - draws an outline of few columns with AVX-512: two rows of eight pixels in a register, raster.h's bits. */
#if defined(__x86_64__)
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f")))

typedef float v16f __attribute__((vector_size(64)));

AVX512 static inline void touch_rows(uint64_t *touched, int rows, uint64_t cells) {
  const __m512i all = _mm512_set1_epi64((int64_t)cells);
  for (; rows > 0; rows -= 8, touched += 8) {
    __mmask8 there = (__mmask8)(rows < 8 ? (1 << rows) - 1 : 255);
    _mm512_mask_storeu_epi64(touched, there, _mm512_or_si512(_mm512_maskz_loadu_epi64(there, touched), all));
  }
}

AVX512 static void draw_pairs(const ek_outline *o, const ek_picture *p) {
  const v16f zero = {0}, one = zero + 1.0f, least = zero + 0x1p-24f; /* see draw8 */
  const v16f lane = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
  const v16f row = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  const v16f a = zero + o->a, b2 = zero + o->b2, c = zero + o->c, inner = zero + o->inner;
  const v16f opacity = zero + o->opacity, rest = zero + o->rest, top = row + ((float)o->top - o->v);
  const int rows = o->bottom - o->top + 1;
  touch_rows(p->touched + o->top, rows, ek_cells(o->left, o->right, p->cell));
  for (int x = o->left; x <= o->right; x += EK_SPLAT_LANES) {
    float *upper = p->light + (int64_t)o->top * p->stride + x;
    v16f dx = lane + ((float)x - o->u), along = dx * a * dx + inner, slope = dx * b2, dy = top;
    for (int y = 0; y < rows; y += 2, dy += 2.0f, upper += 2 * p->stride) {
      float *lower = upper + (p->stride & -(y < rows - 1)); /* a row without another is its own other */
      v16f light = (v16f)_mm512_insertf64x4(_mm512_castpd256_pd512((__m256d)_mm256_loadu_ps(upper)),
                                            (__m256d)_mm256_loadu_ps(lower), 1);
      v16f f = dy * (dy * c + slope) + along;
      f = (v16f)_mm512_min_ps(_mm512_max_ps(f, zero), one);
      light *= f * f * (3.0f - (f + f)) * opacity + rest;
      light = (v16f)_mm512_max_ps(light, least);
      _mm256_storeu_ps(lower, (__m256)_mm512_extractf64x4_pd((__m512d)light, 1));
      _mm256_storeu_ps(upper, _mm512_castps512_ps256(light));
    }
  }
}

/* How an outline is drawn. */
#define DRAW_OF(body, o)                                                                                               \
  ((body)->layout.isa == EK_ISA_AVX512 && (o)->right - (o)->left < EK_SPLAT_NARROW ? draw_pairs : ISA_OF(body, draw))
#else
#define DRAW_OF(body, o) ISA_OF(body, draw)
#endif
