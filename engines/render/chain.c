/* chain.c - forward kinematics of a tree of joints. */
#include "scene.h"

#include "../core/joints.h"
#include "../core/pose.h"
#include "../core/status.h"

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
    ek_joint_motion(joint, joint->coordinate < 0 ? joint->rest : q[joint->coordinate], moved);
    ek_pose_compose(joint->origin, moved, local);
    ek_pose_compose(link_poses + 12 * joint->parent, local, link_poses + 12 * joint->child);
  }
  return EK_OK;
}
