/* chain.c - forward kinematics of a tree of joints. */
#include "scene.h"

#include <math.h>
#include <string.h>

#include "../core/pose.h"
#include "../core/status.h"

/* Rodrigues: R = cos I + sin [a]x + (1 - cos) a a^T. */
static void motion(const ek_joint *joint, double q, double *out) {
  static const double identity[12] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
  const double *a = joint->axis;
  memcpy(out, identity, sizeof identity);
  if (joint->kind == EK_JOINT_PRISMATIC) {
    for (int r = 0; r < 3; r++)
      out[4 * r + 3] = q * a[r];
  } else if (joint->kind == EK_JOINT_REVOLUTE) {
    double c = cos(q), s = sin(q), v = 1 - c;
    for (int r = 0; r < 3; r++) {
      for (int k = 0; k < 3; k++)
        out[4 * r + k] = v * a[r] * a[k] + (r == k ? c : 0);
    }
    out[1] -= s * a[2], out[4] += s * a[2];
    out[2] += s * a[1], out[8] -= s * a[1];
    out[6] -= s * a[0], out[9] += s * a[0];
  }
}

int ek_forward_kinematics(const ek_joint *joints, int n_joints, const double *base, const double *q, int n_q,
                          double *link_poses, int n_links) {
  if ((!joints && n_joints > 0) || !base || (!q && n_q > 0) || !link_poses || n_links < 1 || n_joints != n_links - 1)
    return EK_E_ARGUMENT;
  for (int i = 0; i < n_q; i++) {
    if (!isfinite(q[i]))
      return EK_E_NONFINITE;
  }
  memcpy(link_poses, base, 12 * sizeof(double));
  for (int j = 0; j < n_joints; j++) {
    const ek_joint *joint = &joints[j];
    if (joint->parent < 0 || joint->parent >= n_links || joint->child < 1 || joint->child >= n_links)
      return EK_E_RANGE;
    if (joint->coordinate >= n_q)
      return EK_E_RANGE;
    double moved[12], local[12];
    motion(joint, joint->coordinate < 0 ? joint->rest : q[joint->coordinate], moved);
    ek_pose_compose(joint->origin, moved, local);
    ek_pose_compose(link_poses + 12 * joint->parent, local, link_poses + 12 * joint->child);
  }
  return EK_OK;
}
