/* pose.h - rigid transforms: row-major 3x4 [R | t]. */
#ifndef EK_CORE_POSE_H
#define EK_CORE_POSE_H

/* out = a b; out is neither of them. */
static inline void ek_pose_compose(const double *a, const double *b, double *out) {
  for (int r = 0; r < 3; r++)
    for (int c = 0; c < 4; c++)
      out[4 * r + c] =
          a[4 * r] * b[c] + a[4 * r + 1] * b[4 + c] + a[4 * r + 2] * b[8 + c] + (c == 3 ? a[4 * r + 3] : 0);
}

#endif
