/* chain.c - poses of the links with their corrections, and the derivatives of everything that a pose depends on. */
#include "deviate.h"

#include <math.h>
#include <string.h>

#include "../core/joints.h"
#include "../core/pose.h"

void ek_pose_compose_back(const double *a, const double *b, const double *dout, double *da, double *db) {
  for (int r = 0; r < 3 && da; r++) {
    for (int k = 0; k < 3; k++)
      for (int c = 0; c < 4; c++)
        da[4 * r + k] += dout[4 * r + c] * b[4 * k + c];
    da[4 * r + 3] += dout[4 * r + 3];
  }
  for (int k = 0; k < 3 && db; k++)
    for (int c = 0; c < 4; c++)
      db[4 * k + c] += a[k] * dout[c] + a[4 + k] * dout[4 + c] + a[8 + k] * dout[8 + c];
}

void ek_rotation(const double *q, double *r, int row) {
  double s = 2 / (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  double w = q[0], x = q[1], y = q[2], z = q[3];
  r[0] = 1 - s * (y * y + z * z), r[1] = s * (x * y - w * z), r[2] = s * (x * z + w * y);
  r += row;
  r[0] = s * (x * y + w * z), r[1] = 1 - s * (x * x + z * z), r[2] = s * (y * z - w * x);
  r += row;
  r[0] = s * (x * z - w * y), r[1] = s * (y * z + w * x), r[2] = 1 - s * (x * x + y * y);
}

void ek_rotation_back(const double *q, const double *g, int row, double *dq) {
  double length = sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]), d[4];
  double w = q[0] / length, x = q[1] / length, y = q[2] / length, z = q[3] / length;
  const double *g0 = g, *g1 = g + row, *g2 = g + 2 * row;
  d[0] = 2 * (z * (g1[0] - g0[1]) + y * (g0[2] - g2[0]) + x * (g2[1] - g1[2]));
  d[1] = 2 * (y * (g0[1] + g1[0]) + z * (g0[2] + g2[0]) + w * (g2[1] - g1[2]) - 2 * x * (g1[1] + g2[2]));
  d[2] = 2 * (x * (g0[1] + g1[0]) + z * (g1[2] + g2[1]) + w * (g0[2] - g2[0]) - 2 * y * (g0[0] + g2[2]));
  d[3] = 2 * (x * (g0[2] + g2[0]) + y * (g1[2] + g2[1]) + w * (g1[0] - g0[1]) - 2 * z * (g0[0] + g1[1]));
  /* The length of q does not matter: only what is across it counts. */
  double along = d[0] * w + d[1] * x + d[2] * y + d[3] * z;
  dq[0] += (d[0] - along * w) / length, dq[1] += (d[1] - along * x) / length;
  dq[2] += (d[2] - along * y) / length, dq[3] += (d[3] - along * z) / length;
}

/* A correction: 2 tan(angle / 2) axis (3), then a shift (3): rotation vector for small angles, smooth for all. */
static void correction(const float *p, double *out) {
  double q[4] = {1, p[0] / 2.0, p[1] / 2.0, p[2] / 2.0};
  ek_rotation(q, out, 4);
  for (int i = 0; i < 3; i++)
    out[4 * i + 3] = p[3 + i];
}

static void correction_back(const float *p, const double *dout, float *dp) {
  double q[4] = {1, p[0] / 2.0, p[1] / 2.0, p[2] / 2.0}, dq[4] = {0};
  ek_rotation_back(q, dout, 4, dq);
  for (int i = 0; i < 3; i++) {
    dp[i] += (float)(dq[i + 1] / 2);
    dp[3 + i] += (float)dout[4 * i + 3];
  }
}

static const float *joint_parameters(const ek_body *b, int joint) {
  return b->parameters + EK_ELLIPSOID_FLOATS * b->layout.n_ellipsoids + EK_CORRECTION_FLOATS * joint;
}

static const float *camera_parameters(const ek_body *b, int view) {
  return joint_parameters(b, b->layout.n_joints) + EK_CAMERA_FLOATS * view;
}

void ek_body_correct(ek_body *b) {
  memcpy(b->links[0], b->layout.base, sizeof(ek_pose)); /* no joint moves it */
  for (int j = 0; j < b->layout.n_joints; j++) {
    ek_pose move;
    correction(joint_parameters(b, j), move);
    ek_pose_compose(b->layout.joints[j].origin, move, b->corrected[j]);
  }
  for (int v = 0; v < b->layout.n_views; v++) {
    const ek_camera *camera = &b->layout.cameras[v];
    const float *p = camera_parameters(b, v);
    ek_pose move;
    correction(p, move);
    ek_pose_compose(move, camera->world_to_cam, b->cameras[v]);
    b->lens[v][0] = camera->fx * exp(p[6]), b->lens[v][1] = camera->fy * exp(p[7]);
    b->lens[v][2] = camera->cx + p[8] - b->sample[0], b->lens[v][3] = camera->cy + p[9] - b->sample[1];
  }
}

void ek_body_pose(ek_body *b, const float *q) {
  const ek_body_layout *l = &b->layout;
  const ek_deviator *d = b->deviator;
  ek_pose place, local, shaped;
  for (int j = 0; j < l->n_joints; j++) {
    const ek_joint *joint = &l->joints[j];
    ek_joint_motion(joint, joint->coordinate < 0 ? joint->rest : q[joint->coordinate], b->motion[j]);
    if (d) {
      memcpy(place, b->corrected[j], sizeof place);
      ek_deviate_place(b, j, place);
    }
    ek_pose_compose(d ? place : b->corrected[j], b->motion[j], local);
    ek_pose_compose(b->links[joint->parent], local, b->links[joint->child]);
    if (d)
      ek_deviate_link(b, joint->child);
  }
  for (int v = 0; v < l->n_views; v++) {
    if (d)
      ek_deviate_camera(b, v);
    for (int i = 0; i < l->n_links; i++) {
      if (d)
        ek_pose_compose(b->links[i], d->shape[i], shaped);
      ek_pose_compose(d ? d->cameras[v] : b->cameras[v], d ? shaped : b->links[i], b->seen[v * l->n_links + i]);
    }
  }
}

/* d/dq of the motion R(q): R [a]x for a revolute joint, the axis itself for a prismatic one. */
static double motion_back(const ek_joint *joint, const double *motion, const double *dmotion) {
  const double *a = joint->axis;
  double sum = 0;
  if (joint->kind == EK_JOINT_PRISMATIC)
    return dmotion[3] * a[0] + dmotion[7] * a[1] + dmotion[11] * a[2];
  for (int r = 0; r < 3; r++) {
    const double *m = motion + 4 * r, *d = dmotion + 4 * r;
    sum += d[0] * (m[1] * a[2] - m[2] * a[1]) + d[1] * (m[2] * a[0] - m[0] * a[2]) + d[2] * (m[0] * a[1] - m[1] * a[0]);
  }
  return sum;
}

static void joint_back(const ek_body *b, int j, const double *dlocal, float *dp, float *dq) {
  const ek_joint *joint = &b->layout.joints[j];
  ek_pose dcorrected = {0}, dmotion = {0}, dmove = {0};
  ek_pose_compose_back(b->corrected[j], b->motion[j], dlocal, dcorrected, dmotion);
  if (dq && joint->coordinate >= 0)
    dq[joint->coordinate] += (float)motion_back(joint, b->motion[j], dmotion);
  if (dp) {
    ek_pose move;
    correction(joint_parameters(b, j), move);
    ek_pose_compose_back(joint->origin, move, dcorrected, NULL, dmove);
    correction_back(joint_parameters(b, j), dmove, dp);
  }
}

static void camera_back(const ek_body *b, int v, const ek_body_gradient *g, float *dp) {
  const ek_camera *camera = &b->layout.cameras[v];
  ek_pose move, dmove = {0};
  correction(camera_parameters(b, v), move);
  ek_pose_compose_back(move, camera->world_to_cam, g->cameras[v], dmove, NULL);
  correction_back(camera_parameters(b, v), dmove, dp);
  dp[6] += (float)(g->lens[v][0] * b->lens[v][0]), dp[7] += (float)(g->lens[v][1] * b->lens[v][1]);
  dp[8] += (float)g->lens[v][2], dp[9] += (float)g->lens[v][3];
}

void ek_body_pose_back(const ek_body *b, ek_body_gradient *g, float *dparameters, float *dq) {
  const ek_body_layout *l = &b->layout;
  float *djoints = dparameters ? dparameters + EK_ELLIPSOID_FLOATS * l->n_ellipsoids : NULL;
  for (int v = 0; v < l->n_views; v++) {
    for (int i = 0; i < l->n_links; i++)
      ek_pose_compose_back(b->cameras[v], b->links[i], g->seen[v * l->n_links + i], g->cameras[v], g->links[i]);
    if (dparameters)
      camera_back(b, v, g, djoints + EK_CORRECTION_FLOATS * l->n_joints + EK_CAMERA_FLOATS * v);
  }
  for (int j = l->n_joints - 1; j >= 0; j--) {
    const ek_joint *joint = &l->joints[j];
    ek_pose local, dlocal = {0};
    ek_pose_compose(b->corrected[j], b->motion[j], local);
    ek_pose_compose_back(b->links[joint->parent], local, g->links[joint->child], g->links[joint->parent], dlocal);
    joint_back(b, j, dlocal, djoints ? djoints + EK_CORRECTION_FLOATS * j : NULL, dq);
  }
}
