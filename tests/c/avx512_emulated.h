/* avx512_emulated.h - the instructions of AVX-512 that engines/native uses, in plain C, lane by lane from Intel's
 * manual. For CPUs that have AVX2 alone: each intrinsic is replaced by a function that AVX2 can run. */
#ifndef EK_TESTS_AVX512_EMULATED_H
#define EK_TESTS_AVX512_EMULATED_H
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* 64-byte vectors as arguments, of functions that are always inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

#define EMULATED static inline __attribute__((always_inline, target("avx2,fma")))

typedef union {
  __m512i all;
  __m512 floats;
  __m256i half[2];
  __m128i quarter[4];
  int8_t i8[64];
  uint8_t u8[64];
  int16_t i16[32];
  uint16_t u16[32];
  int32_t i32[16];
  uint32_t u32[16];
  float f32[16];
  int64_t i64[8];
  uint64_t u64[8];
} em_lanes;

/* A function of two registers, lane by lane of one type. */
#define EMULATED_LANES(name, type, field, lanes, expression)                                                           \
  EMULATED __m512i em_##name(__m512i first, __m512i second) {                                                          \
    em_lanes x = {first}, y = {second}, out;                                                                           \
    for (int i = 0; i < (lanes); i++) {                                                                                \
      type a = x.field[i], b = y.field[i];                                                                             \
      (void)a, (void)b;                                                                                                \
      out.field[i] = (type)(expression);                                                                               \
    }                                                                                                                  \
    return out.all;                                                                                                    \
  }
EMULATED_LANES(add_epi64, uint64_t, u64, 8, a + b)
EMULATED_LANES(abs_epi8, int8_t, i8, 64, a < 0 ? -a : a)
EMULATED_LANES(mul_epi32, int64_t, i64, 8, (int64_t)(int32_t)a *(int32_t)b)

EMULATED_LANES(add_epi16, uint16_t, u16, 32, a + b)
EMULATED_LANES(sub_epi16, uint16_t, u16, 32, a - b)
EMULATED_LANES(add_epi32, uint32_t, u32, 16, a + b)
EMULATED_LANES(mulhrs_epi16, int16_t, i16, 32, (a * b + (1 << 14)) >> 15)
EMULATED_LANES(adds_epi16, int16_t, i16, 32, a + b > INT16_MAX ? INT16_MAX : a + b < INT16_MIN ? INT16_MIN : a + b)

/* The lower or the upper halves of each 128 bits, bytes or words of both in turn. */
#define EMULATED_UNPACK(name, field, width, upper)                                                                     \
  EMULATED __m512i em_##name(__m512i first, __m512i second) {                                                          \
    em_lanes x = {first}, y = {second}, out;                                                                           \
    for (int i = 0; i < 64 / (width); i++) {                                                                           \
      int lanes = 16 / (width), from = i / lanes * lanes + (upper)*lanes / 2 + i % lanes / 2;                          \
      out.field[i] = i % 2 ? y.field[from] : x.field[from];                                                            \
    }                                                                                                                  \
    return out.all;                                                                                                    \
  }
EMULATED_UNPACK(unpacklo_epi8, i8, 1, 0)
EMULATED_UNPACK(unpackhi_epi8, i8, 1, 1)
EMULATED_UNPACK(unpacklo_epi16, i16, 2, 0)
EMULATED_UNPACK(unpackhi_epi16, i16, 2, 1)

EMULATED __m512i em_dpwssd_epi32(__m512i sums, __m512i first, __m512i second) {
  em_lanes s = {sums}, x = {first}, y = {second};
  for (int i = 0; i < 32; i++)
    s.u32[i / 2] += (uint32_t)((int32_t)x.i16[i] * y.i16[i]);
  return s.all;
}

EMULATED __m512i em_permutex2var_epi64(__m512i a, __m512i which, __m512i b) {
  em_lanes x = {a}, w = {which}, y = {b}, out;
  for (int i = 0; i < 8; i++)
    out.i64[i] = w.i64[i] & 8 ? y.i64[w.i64[i] & 7] : x.i64[w.i64[i] & 7];
  return out.all;
}

EMULATED __m512i em_shuffle_i64x2(__m512i a, __m512i b, int which) {
  em_lanes x = {a}, y = {b}, out;
  for (int i = 0; i < 4; i++)
    out.quarter[i] = (i < 2 ? x : y).quarter[which >> 2 * i & 3];
  return out.all;
}

EMULATED __m512i em_setr_epi64(int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g, int64_t h) {
  em_lanes x = {.i64 = {a, b, c, d, e, f, g, h}};
  return x.all;
}

EMULATED __m512i em_set1_epi16(int16_t v) {
  em_lanes x;
  for (int i = 0; i < 32; i++)
    x.i16[i] = v;
  return x.all;
}

EMULATED __m512i em_broadcast_i32x4(__m128i v) {
  em_lanes x = {.quarter = {v, v, v, v}};
  return x.all;
}

EMULATED __m512i em_maskz_loadu_epi16(uint32_t mask, const void *from) {
  em_lanes x = {0};
  for (int i = 0; i < 32; i++)
    if (mask >> i & 1)
      memcpy(&x.i16[i], (const char *)from + 2 * i, 2);
  return x.all;
}

EMULATED __m512i em_sra_epi32(__m512i v, __m128i by) {
  em_lanes x = {v};
  for (int i = 0; i < 16; i++)
    x.i32[i] >>= _mm_cvtsi128_si32(by);
  return x.all;
}

EMULATED __m256i em_cvtsepi32_epi16(__m512i v) {
  em_lanes x = {v}, out = {0};
  for (int i = 0; i < 16; i++)
    out.i16[i] = (int16_t)(x.i32[i] > INT16_MAX ? INT16_MAX : x.i32[i] < INT16_MIN ? INT16_MIN : x.i32[i]);
  return out.half[0];
}

EMULATED __m256i em_cvtsepi16_epi8(__m512i v) {
  em_lanes x = {v}, out = {0};
  for (int i = 0; i < 32; i++)
    out.i8[i] = (int8_t)(x.i16[i] > INT8_MAX ? INT8_MAX : x.i16[i] < INT8_MIN ? INT8_MIN : x.i16[i]);
  return out.half[0];
}

EMULATED __m512i em_dpbusd_epi32(__m512i sums, __m512i unsigned_bytes, __m512i signed_bytes) {
  em_lanes s = {sums}, u = {unsigned_bytes}, v = {signed_bytes};
  for (int i = 0; i < 64; i++)
    s.u32[i / 4] += (uint32_t)((int32_t)u.u8[i] * v.i8[i]);
  return s.all;
}

EMULATED uint64_t em_movepi8_mask(__m512i v) {
  em_lanes x = {v};
  uint64_t mask = 0;
  for (int i = 0; i < 64; i++)
    mask |= (uint64_t)(x.i8[i] < 0) << i;
  return mask;
}

EMULATED __m512i em_mask_sub_epi8(__m512i kept, uint64_t mask, __m512i a, __m512i b) {
  em_lanes k = {kept}, x = {a}, y = {b};
  for (int i = 0; i < 64; i++)
    if (mask >> i & 1)
      k.u8[i] = (uint8_t)(x.u8[i] - y.u8[i]);
  return k.all;
}

EMULATED __m512i em_mask_blend_epi32(uint32_t mask, __m512i a, __m512i b) {
  em_lanes x = {a}, y = {b};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1)
      x.i32[i] = y.i32[i];
  return x.all;
}

EMULATED __m512i em_srl_epi64(__m512i v, __m128i by) {
  em_lanes x = {v};
  uint64_t shift = (uint64_t)_mm_cvtsi128_si64(by);
  for (int i = 0; i < 8; i++)
    x.u64[i] = shift < 64 ? x.u64[i] >> shift : 0;
  return x.all;
}

EMULATED __m512i em_srli_epi64(__m512i v, int by) {
  return em_srl_epi64(v, _mm_cvtsi32_si128(by));
}

EMULATED __m512i em_slli_epi64(__m512i v, int by) {
  em_lanes x = {v};
  for (int i = 0; i < 8; i++)
    x.u64[i] <<= by;
  return x.all;
}

EMULATED __m128i em_cvtsepi32_epi8(__m512i v) {
  em_lanes x = {v}, out = {0};
  for (int i = 0; i < 16; i++)
    out.i8[i] = (int8_t)(x.i32[i] > INT8_MAX ? INT8_MAX : x.i32[i] < INT8_MIN ? INT8_MIN : x.i32[i]);
  return out.quarter[0];
}

EMULATED __m512i em_set1_epi32(int v) {
  em_lanes x;
  for (int i = 0; i < 16; i++)
    x.i32[i] = v;
  return x.all;
}

EMULATED __m512i em_set1_epi64(int64_t v) {
  em_lanes x;
  for (int i = 0; i < 8; i++)
    x.i64[i] = v;
  return x.all;
}

EMULATED __m512 em_set1_ps(float v) {
  em_lanes x;
  for (int i = 0; i < 16; i++)
    x.f32[i] = v;
  return x.floats;
}

EMULATED __m512i em_loadu_si512(const void *from) {
  em_lanes x;
  memcpy(&x, from, sizeof x);
  return x.all;
}

EMULATED __m512i em_castsi256_si512(__m256i low) {
  em_lanes x = {0};
  x.half[0] = low;
  return x.all;
}

EMULATED __m256i em_extracti64x4_epi64(__m512i v, int which) {
  em_lanes x = {v};
  return x.half[which];
}

EMULATED __m512i em_inserti64x4(__m512i v, __m256i half, int which) {
  em_lanes x = {v};
  x.half[which] = half;
  return x.all;
}

EMULATED __m512 em_max_ps(__m512 a, __m512 b) {
  em_lanes x = {.floats = a}, y = {.floats = b};
  for (int i = 0; i < 16; i++)
    x.f32[i] = x.f32[i] > y.f32[i] ? x.f32[i] : y.f32[i];
  return x.floats;
}

EMULATED __m512 em_fmadd_ps(__m512 a, __m512 b, __m512 sum) {
  em_lanes x = {.floats = a}, y = {.floats = b}, s = {.floats = sum};
  for (int i = 0; i < 16; i++)
    s.f32[i] = __builtin_fmaf(x.f32[i], y.f32[i], s.f32[i]);
  return s.floats;
}

#define _mm512_abs_epi8(a) em_abs_epi8(a, a)
#define _mm512_add_epi16 em_add_epi16
#define _mm512_add_epi32 em_add_epi32
#define _mm512_add_epi64 em_add_epi64
#define _mm512_adds_epi16 em_adds_epi16
#define _mm512_broadcast_i32x4 em_broadcast_i32x4
#define _mm512_castps_si512(v) ((__m512i)(v))
#define _mm512_castsi256_si512 em_castsi256_si512
#define _mm512_castsi512_ps(v) ((__m512)(v))
#define _mm512_castsi512_si256(v) em_extracti64x4_epi64(v, 0)
#define _mm512_cvtsepi16_epi8 em_cvtsepi16_epi8
#define _mm512_cvtsepi32_epi16 em_cvtsepi32_epi16
#define _mm512_cvtsepi32_epi8 em_cvtsepi32_epi8
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64 em_extracti64x4_epi64
#define _mm512_fmadd_ps em_fmadd_ps
#undef _mm512_inserti64x4
#define _mm512_inserti64x4 em_inserti64x4
#define _mm512_loadu_si512 em_loadu_si512
#define _mm512_mask_blend_epi32 em_mask_blend_epi32
#define _mm512_mask_sub_epi8 em_mask_sub_epi8
#define _mm512_maskz_loadu_epi16 em_maskz_loadu_epi16
#define _mm512_max_ps em_max_ps
#define _mm512_movepi8_mask em_movepi8_mask
#define _mm512_mul_epi32 em_mul_epi32
#define _mm512_mulhrs_epi16 em_mulhrs_epi16
#define _mm512_permutex2var_epi64 em_permutex2var_epi64
#define _mm512_set1_epi16 em_set1_epi16
#define _mm512_set1_epi32 em_set1_epi32
#define _mm512_set1_epi64 em_set1_epi64
#define _mm512_set1_ps em_set1_ps
#undef _mm512_setr_epi64
#define _mm512_setr_epi64 em_setr_epi64
#define _mm512_setzero_si512() em_set1_epi32(0)
#undef _mm512_shuffle_i64x2
#define _mm512_shuffle_i64x2 em_shuffle_i64x2
#define _mm512_slli_epi64 em_slli_epi64
#define _mm512_sra_epi32 em_sra_epi32
#define _mm512_srl_epi64 em_srl_epi64
#define _mm512_srli_epi64 em_srli_epi64
#define _mm512_sub_epi16 em_sub_epi16
#define _mm512_unpackhi_epi16 em_unpackhi_epi16
#define _mm512_unpackhi_epi8 em_unpackhi_epi8
#define _mm512_unpacklo_epi16 em_unpacklo_epi16
#define _mm512_unpacklo_epi8 em_unpacklo_epi8

#endif
