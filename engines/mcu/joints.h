/* joints.h - the angles themselves, in units of multiplier / 2^shift. */

static void ek_joints(const int32_t *joints, int n, int32_t multiplier, int shift, int16_t *out) {
  for (int i = 0; i < n; i++) {
    int64_t y = ((int64_t)joints[i] * multiplier + (INT64_C(1) << (shift - 1))) >> shift;
    out[i] = (int16_t)(y > 32767 ? 32767 : y < -32767 ? -32767 : y);
  }
}
