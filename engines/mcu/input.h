/* input.h - joint angles in 2^-28 of a turn become the 16 bits that the first layer reads. */

/* x y / 2^30, rounded down. */
EK_INLINE int32_t ek_q30(int32_t x, int32_t y) {
  return (int32_t)(((int64_t)x * y) >> 30);
}

/* The sine of an angle in 2^-32 of a turn, in 2^-30, off by 2^-27 at most: Taylor's series of sin and cos(x pi / 4) for
 * |x| <= 1. */
static int32_t ek_sine(uint32_t turn) {
  uint32_t quarter = (turn + (UINT32_C(1) << 29)) >> 30;
  int32_t x = (int32_t)(turn - (quarter << 30)) * 2, s = ek_q30(x, x), y;
  if (quarter & 1) {
    y = 3856 + ek_q30(s, -26);
    y = -350031 + ek_q30(s, y);
    y = 17023473 + ek_q30(s, y);
    y = -331168970 + ek_q30(s, y);
    y = (INT32_C(1) << 30) + ek_q30(s, y);
  } else {
    y = -39273 + ek_q30(s, 336);
    y = 2674041 + ek_q30(s, y);
    y = -86699834 + ek_q30(s, y);
    y = ek_q30(x, 843314857 + ek_q30(s, y));
  }
  return quarter & 2 ? -y : y;
}
