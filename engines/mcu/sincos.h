/* sincos.h - sines, then cosines, in 1/32767. */

static void ek_sincos(const int32_t *joints, int n, int16_t *out) {
  for (int i = 0; i < 2 * n; i++) {
    uint32_t turn = (uint32_t)joints[i % n] << 4;
    int32_t y = ek_sine(i < n ? turn : turn + (UINT32_C(1) << 30));
    out[i] = (int16_t)(((int64_t)y * 32767 + (INT32_C(1) << 29)) >> 30);
  }
}
