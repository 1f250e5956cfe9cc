/* avx512.h - what the kernels for AVX-512 with VNNI share. With EK_EMULATE_AVX512 every instruction that AVX2 has not
 * is a function in plain C, so that the tests run these files on any AVX2 CPU. */
#ifndef EK_NATIVE_AVX512_H
#define EK_NATIVE_AVX512_H

#include "avx2.h"

#ifdef EK_EMULATE_AVX512
#include "avx512_emulated.h"
#define TARGET512 TARGET
#else
#define TARGET512 __attribute__((target("avx2,fma,popcnt,avx512f,avx512vl,avx512bw,avx512vnni")))
#endif
#define INLINE512 static inline __attribute__((always_inline)) TARGET512

/* Adds the products of 4 unsigned and 4 signed bytes of each lane, and of 2 words. In place: the compiler would copy
 * every sum before and behind the intrinsic. */
#ifdef EK_EMULATE_AVX512
INLINE512 void add_bytes(__m512i *sum, __m512i x, __m512i w) {
  *sum = em_dpbusd_epi32(*sum, x, w);
}

INLINE512 void add_words(__m512i *sum, __m512i x, __m512i w) {
  *sum = em_dpwssd_epi32(*sum, x, w);
}
#else
INLINE512 void add_bytes(__m512i *sum, __m512i x, __m512i w) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(w));
}

INLINE512 void add_words(__m512i *sum, __m512i x, __m512i w) {
  __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(w));
}
#endif

/* The upper half of each 64-bit lane in its lower one. */
INLINE512 __m512i upper512(__m512i x) {
  return _mm512_srli_epi64(x, 32);
}

/* requantize_by of 16 channels. */
INLINE512 __m128i requantize512(__m512i acc, __m512i m, int by, int relu) {
  __m512i round = _mm512_set1_epi64(INT64_C(1) << (by - 1)), y;
  __m512i even = _mm512_add_epi64(_mm512_mul_epi32(acc, m), round);
  __m512i odd = _mm512_add_epi64(_mm512_mul_epi32(upper512(acc), upper512(m)), round);
  if (by == 32) {
    y = _mm512_mask_blend_epi32(0xAAAA, upper512(even), odd);
  } else {
    __m128i shift = _mm_cvtsi32_si128(by);
    odd = _mm512_slli_epi64(_mm512_srl_epi64(odd, shift), 32);
    y = _mm512_mask_blend_epi32(0xAAAA, _mm512_srl_epi64(even, shift), odd);
  }
  return _mm_max_epi8(_mm512_cvtsepi32_epi8(y), _mm_set1_epi8(relu ? 0 : -127));
}

#endif
