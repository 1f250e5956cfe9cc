/* roofline.c - what this core can do at most, measured: multiply-accumulates with every operand in registers, in the
 * instruction mix of the engine's kernels, and reads of a buffer. Each kernel runs for about a tenth of a millisecond a
 * turn; the best turn counts, since a disturbed one says nothing about the core. */
#include "engine.h"
#include "../core/status.h"
#include <stdlib.h>

#define CHAINS 10 /* independent accumulators: more than latency x throughput of a multiply-add on any core so far */
#define STEPS 1024
#define MIN_TURNS 20

typedef int64_t (*kernel)(void); /* runs STEPS steps; returns the multiply-accumulates of all of them */

/* ---- scalar: one multiply and one add an element, as scalar.c does it */

static int64_t scalar_int8(void) {
  int32_t acc[4] = {0}, x = 3, w = 5;
  for (int i = 0; i < STEPS; i++)
    for (int c = 0; c < 4; c++) {
      __asm__ volatile("" : "+r"(x), "+r"(w));
      acc[c] += x * w;
      __asm__ volatile("" : "+r"(acc[c]));
    }
  return STEPS * 4;
}

static int64_t scalar_fp32(void) {
  volatile float start = 0.5f;
  float a = start, b = start, c = start, d = start, x = start, w = start;
  for (int i = 0; i < STEPS; i++) {
    a += x * w, b += x * w, c += x * w, d += x * w;
#if defined(__x86_64__)
    __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(x), "+x"(w));
#elif defined(__aarch64__)
    __asm__ volatile("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d), "+w"(x), "+w"(w));
#endif
  }
  start = a + b + c + d;
  return STEPS * 4;
}

/* A kernel of CHAINS accumulators of one vector type; `step` makes acc[c] anew from itself, `where` is its register. */
#define CHAINED(name, target, vector, where, start, step, macs)                                                        \
  target static int64_t name(void) {                                                                                   \
    vector acc[CHAINS];                                                                                                \
    _Pragma("GCC unroll 10") for (int c = 0; c < CHAINS; c++) acc[c] = start;                                          \
    for (int i = 0; i < STEPS; i++) {                                                                                  \
      _Pragma("GCC unroll 10") for (int c = 0; c < CHAINS; c++) {                                                      \
        acc[c] = step;                                                                                                 \
        __asm__ volatile("" : where(acc[c]));                                                                          \
      }                                                                                                                \
    }                                                                                                                  \
    return (int64_t)STEPS * CHAINS * (macs);                                                                           \
  }

#if defined(__x86_64__)
#include <immintrin.h>

/* The densest run of avx2.c: four vpmaddubsw summed in 16 bits, widened once by vpmaddwd: 128 products. */
__attribute__((target("avx2"))) static int64_t avx2_int8(void) {
  enum { PIXELS = 4 };
  __m256i acc[PIXELS], x[PIXELS], w = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (int p = 0; p < PIXELS; p++)
    acc[p] = _mm256_setzero_si256(), x[p] = _mm256_set1_epi8((char)p);
  for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 4
    for (int p = 0; p < PIXELS; p++) {
      __m256i t = _mm256_maddubs_epi16(x[p], w);
#pragma GCC unroll 3
      for (int k = 0; k < 3; k++) {
        __asm__ volatile("" : "+x"(x[p])); /* another operand each time, as far as the compiler knows */
        t = _mm256_add_epi16(t, _mm256_maddubs_epi16(x[p], w));
      }
      acc[p] = _mm256_add_epi32(acc[p], _mm256_madd_epi16(t, one));
      __asm__ volatile("" : "+x"(acc[p]), "+x"(x[p]));
    }
  }
  return (int64_t)STEPS * PIXELS * 128;
}

CHAINED(avx2_fp32, __attribute__((target("avx2,fma"))), __m256, "+x", _mm256_setzero_ps(),
        _mm256_fmadd_ps(_mm256_set1_ps(0.5f), _mm256_set1_ps(0.25f), acc[c]), 8)
/* vpdpbusd: 64 products into 16 sums. */
CHAINED(avx512_vnni_int8, __attribute__((target("avx512f,avx512bw,avx512vnni"))), __m512i, "+v", _mm512_setzero_si512(),
        _mm512_dpbusd_epi32(acc[c], _mm512_set1_epi8(1), _mm512_set1_epi8(1)), 64)
CHAINED(avx512_fp32, __attribute__((target("avx512f"))), __m512, "+v", _mm512_setzero_ps(),
        _mm512_fmadd_ps(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.25f), acc[c]), 16)
#endif

#if defined(__aarch64__)
#include <arm_neon.h>

/* sdot: 16 products into 4 sums. */
CHAINED(dotprod_int8, __attribute__((target("arch=armv8.2-a+dotprod"))), int32x4_t, "+w", vdupq_n_s32(0),
        vdotq_s32(acc[c], vdupq_n_s8(1), vdupq_n_s8(1)), 16)
CHAINED(neon_fp32, , float32x4_t, "+w", vdupq_n_f32(0), vfmaq_f32(acc[c], vdupq_n_f32(0.5f), vdupq_n_f32(0.25f)), 4)

/* smull and sadalp: 8 products into 4 sums. */
static int64_t neon_int8(void) {
  int32x4_t acc[CHAINS];
  int8x8_t x = vdup_n_s8(1), w = vdup_n_s8(1);
#pragma GCC unroll 10
  for (int c = 0; c < CHAINS; c++)
    acc[c] = vdupq_n_s32(0);
  for (int i = 0; i < STEPS; i++) {
#pragma GCC unroll 10
    for (int c = 0; c < CHAINS; c++) {
      __asm__ volatile("" : "+w"(x));
      acc[c] = vpadalq_s16(acc[c], vmull_s8(x, w));
      __asm__ volatile("" : "+w"(acc[c]));
    }
  }
  return (int64_t)STEPS * CHAINS * 8;
}
#endif

static kernel kernel_of(int isa, int precision) {
  int int8 = precision == EK_PRECISION_INT8;
  switch (isa) {
  case EK_ISA_SCALAR:
    return int8 ? scalar_int8 : scalar_fp32;
#if defined(__x86_64__)
  case EK_ISA_AVX2:
    return int8 ? avx2_int8 : avx2_fp32;
  case EK_ISA_AVX512:
    if (!int8)
      return avx512_fp32;
    return __builtin_cpu_supports("avx512vnni") ? avx512_vnni_int8 : avx2_int8;
#endif
#if defined(__aarch64__)
  case EK_ISA_NEON:
    if (int8)
      return ek_has_dotprod() ? dotprod_int8 : neon_int8;
    return neon_fp32;
#endif
  default:
    return NULL;
  }
}

/* The best work per ns of any turn; turn(args) works and says how much that was. */
static double best_rate(int64_t (*turn)(const void *args), const void *args, int64_t budget_ns) {
  double best = 0;
  int64_t start = ek_clock_ns(), before = start;
  for (int i = 0; i < MIN_TURNS || before - start < budget_ns; i++) {
    int64_t work = turn(args), now = ek_clock_ns();
    double rate = (double)work / (double)(now - before > 0 ? now - before : 1);
    best = rate > best ? rate : best;
    before = now;
  }
  return best;
}

static int64_t turn_of_kernel(const void *args) {
  kernel run = *(const kernel *)args;
  int64_t macs = 0;
  for (int i = 0; i < 8; i++)
    macs += run();
  return macs;
}

double ek_roofline_gmacs(int isa, int precision, int64_t budget_ns) {
  if ((precision != EK_PRECISION_FP32 && precision != EK_PRECISION_INT8) || budget_ns < 0)
    return EK_E_ARGUMENT;
  isa = isa == EK_ISA_AUTO ? ek_isa_best() : isa;
  kernel run = ek_isa_supported(isa) ? kernel_of(isa, precision) : NULL;
  if (!run)
    return EK_E_UNSUPPORTED;
  return best_rate(turn_of_kernel, &run, budget_ns);
}

/* ---- reading */

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t read_avx2(const uint8_t *p, int64_t bytes) {
  __m256i s[4];
  for (int i = 0; i < 4; i++)
    s[i] = _mm256_setzero_si256();
  for (int64_t at = 0; at < bytes; at += 256)
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
      s[i % 4] = _mm256_or_si256(s[i % 4], _mm256_load_si256((const __m256i *)(p + at + 32 * i)));
  s[0] = _mm256_or_si256(_mm256_or_si256(s[0], s[1]), _mm256_or_si256(s[2], s[3]));
  return (uint64_t)_mm256_extract_epi64(s[0], 0);
}
#endif

typedef uint64_t v2u __attribute__((vector_size(16)));

static uint64_t read_base(const uint8_t *p, int64_t bytes) {
  v2u s[4] = {{0}, {0}, {0}, {0}};
  for (int64_t at = 0; at < bytes; at += 256)
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
      s[i % 4] |= *(const v2u *)(p + at + 16 * i);
  s[0] |= s[1] | s[2] | s[3];
  return s[0][0] | s[0][1];
}

static uint64_t read_all(const uint8_t *p, int64_t bytes) {
#if defined(__x86_64__)
  if (ek_isa_supported(EK_ISA_AVX2))
    return read_avx2(p, bytes);
#endif
  return read_base(p, bytes);
}

typedef struct {
  const uint8_t *buffer;
  int64_t bytes, passes;
} reading;

static int64_t turn_of_reading(const void *args) {
  const reading *r = args;
  volatile uint64_t sink = 0;
  for (int64_t i = 0; i < r->passes; i++)
    sink = sink | read_all(r->buffer, r->bytes);
  return r->bytes * r->passes;
}

double ek_roofline_read_gb_s(int64_t buffer_bytes, int64_t budget_ns) {
  if (buffer_bytes < 256 || buffer_bytes > (INT64_C(1) << 31) || budget_ns < 0)
    return EK_E_ARGUMENT;
  int64_t bytes = buffer_bytes / 256 * 256, room = bytes;
  uint8_t *buffer = ek_huge(&room); /* as the engine's weights */
  if (!buffer)
    return EK_E_MEMORY;
  reading all = {buffer, bytes, bytes < 100000 ? 100000 / bytes : 1}; /* a turn of several microseconds at least */
  double best = best_rate(turn_of_reading, &all, budget_ns);
  free(buffer);
  return best;
}
