/* joints.h - what every engine asks of the joint angles that it is given, and where they move a link. */
#ifndef EK_CORE_JOINTS_H
#define EK_CORE_JOINTS_H

#include "edgekin.h"
#include "status.h"
#include <math.h>
#include <string.h>

/* Beyond this the float32 angle itself is coarser than a millirad and range reduction would lose bits. */
#define EK_JOINT_MAX_RAD 1e4f

/* EK_OK, EK_E_NONFINITE or EK_E_RANGE. */
static inline int ek_joints_check(const float *joints, int n) {
  for (int i = 0; i < n; i++) {
    if (!isfinite(joints[i]))
      return EK_E_NONFINITE;
    if (fabsf(joints[i]) > EK_JOINT_MAX_RAD)
      return EK_E_RANGE;
  }
  return EK_OK;
}

/* The pose (3x4) that a coordinate gives a link. Rodrigues: R = cos I + sin [a]x + (1 - cos) a a^T. */
static inline void ek_joint_motion(const ek_joint *joint, double q, double *out) {
  const double *a = joint->axis;
  int slides = joint->kind == EK_JOINT_PRISMATIC;
  for (int r = 0; r < 3; r++) {
    for (int k = 0; k < 3; k++)
      out[4 * r + k] = r == k;
    out[4 * r + 3] = slides ? q * a[r] : 0;
  }
  if (joint->kind != EK_JOINT_REVOLUTE)
    return;
  double c = cos(q), s = sin(q), v = 1 - c;
  for (int r = 0; r < 3; r++)
    for (int k = 0; k < 3; k++)
      out[4 * r + k] = v * a[r] * a[k] + (r == k ? c : 0);
  out[1] -= s * a[2], out[4] += s * a[2];
  out[2] += s * a[1], out[8] -= s * a[1];
  out[6] -= s * a[0], out[9] += s * a[0];
}

#endif
