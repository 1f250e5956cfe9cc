/* joints.h - what every engine asks of the joint angles that it is given. */
#ifndef EK_CORE_JOINTS_H
#define EK_CORE_JOINTS_H

#include "status.h"
#include <math.h>

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

#endif
