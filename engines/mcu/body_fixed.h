/* body_fixed.h - the fixed-point arithmetic of body models. */

/* a b / 2^32, rounded down. */
EK_INLINE int32_t ek_high_product(int32_t a, int32_t b) {
  return (int32_t)(((int64_t)a * b) >> 32);
}

EK_INLINE int64_t ek_dot3(const int32_t *a, const int32_t *b) {
  return (int64_t)a[0] * b[0] + (int64_t)a[1] * b[1] + (int64_t)a[2] * b[2];
}

/* v 2^left; left may be negative. */
EK_INLINE int32_t ek_shifted(int32_t v, int left) {
  return left >= 0 ? (int32_t)((uint32_t)v << left) : v >> (left < -31 ? 31 : -left);
}

/* Zeros in front of v > 0. */
EK_INLINE int ek_zeros(uint32_t v) {
#if defined(__GNUC__)
  return __builtin_clz(v);
#else
  int n = 0;
  for (; v < UINT32_C(0x80000000); v <<= 1)
    n++;
  return n;
#endif
}

/* 2^62 / z for z >= 2^31, off by 2^-29 of it: a division to 16 bits, then a step of Newton's method. */
static int32_t ek_reciprocal(uint32_t z) {
  uint32_t y = UINT32_MAX / (z >> 16);
  int32_t miss = (int32_t)(0 - (uint32_t)(((uint64_t)z * y) >> 16)); /* 2^32 (1 - z y / 2^48) */
  return (int32_t)(y << 14) + (int32_t)(((int64_t)y * miss) >> 18);
}
