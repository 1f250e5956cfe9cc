/* project.c - from what is pulled at an outline to its ellipsoid, in double.
 *
 * With x its centre in the camera's frame and M = R A its half axes there, W = M M^T - x x^T is its dual quadric. In
 * normalised coordinates the outline has the centre n = W_{.z} / W_zz and the shape h = n n^T - W / W_zz; the lens
 * makes pixels of them, and a low-pass keeps slivers wider than the sampling. Source: Hartley and Zisserman, Multiple
 * View Geometry, 2nd ed., section 8.3 (C* = P Q* P^T). */
#include "body.h"

#include <math.h>

void ek_body_unpack(ek_body *b) {
  for (int i = 0; i < b->layout.n_ellipsoids; i++) {
    const float *p = b->parameters + EK_ELLIPSOID_FLOATS * i;
    ek_ellipsoid *e = &b->ellipsoids[i];
    double q[4] = {p[6], p[7], p[8], p[9]};
    ek_rotation(q, e->axes, 3);
    for (int k = 0; k < 9; k++)
      e->axes[k] *= exp(p[3 + k % 3]);
    for (int k = 0; k < 3; k++)
      e->centre[k] = p[k];
    e->rise = exp(p[10]) / (2 * EK_SPLAT_EDGE), e->reach = 0.5 / e->rise;
    e->opacity = fmin(1 / (1 + exp(-p[11])), 1 - EK_SPLAT_DARK);
  }
}

/* What both directions need. */
typedef struct {
  double m[9], x[3];                 /* half axes and centre in the camera's frame */
  double wxx, wxy, wyy, wxz, wyz, g; /* W; g = W_zz */
  double nx, ny, hxx, hxy, hyy;
  double cxx, cxy, cyy, det; /* px^2 */
} geometry;

/* 0: behind the camera, the camera is inside, or there is nothing to see. */
static int see(const ek_body *b, int view, int i, geometry *o) {
  const ek_ellipsoid *e = &b->ellipsoids[i];
  if (e->opacity < EK_SPLAT_FAINT)
    return 0;
  const double *t = b->seen[view * b->layout.n_links + b->layout.link_of_ellipsoid[i]], *lens = b->lens[view];
  for (int r = 0; r < 3; r++, t += 4) {
    o->x[r] = t[0] * e->centre[0] + t[1] * e->centre[1] + t[2] * e->centre[2] + t[3];
    for (int c = 0; c < 3; c++)
      o->m[3 * r + c] = t[0] * e->axes[c] + t[1] * e->axes[3 + c] + t[2] * e->axes[6 + c];
  }
  const double *mx = o->m, *my = o->m + 3, *mz = o->m + 6, x = o->x[0], y = o->x[1], z = o->x[2];
  double szz = mz[0] * mz[0] + mz[1] * mz[1] + mz[2] * mz[2];
  o->g = szz - z * z;
  if (!(z > b->layout.cameras[view].near_m && o->g < -0.01 * z * z))
    return 0;
  o->wxx = mx[0] * mx[0] + mx[1] * mx[1] + mx[2] * mx[2] - x * x;
  o->wxy = mx[0] * my[0] + mx[1] * my[1] + mx[2] * my[2] - x * y;
  o->wyy = my[0] * my[0] + my[1] * my[1] + my[2] * my[2] - y * y;
  o->wxz = mx[0] * mz[0] + mx[1] * mz[1] + mx[2] * mz[2] - x * z;
  o->wyz = my[0] * mz[0] + my[1] * mz[1] + my[2] * mz[2] - y * z;
  double inverse = 1 / o->g;
  o->nx = o->wxz * inverse, o->ny = o->wyz * inverse;
  o->hxx = o->nx * o->nx - o->wxx * inverse, o->hxy = o->nx * o->ny - o->wxy * inverse;
  o->hyy = o->ny * o->ny - o->wyy * inverse;
  o->cxx = lens[0] * lens[0] * o->hxx + b->layout.low_pass_px2, o->cxy = lens[0] * lens[1] * o->hxy;
  o->cyy = lens[1] * lens[1] * o->hyy + b->layout.low_pass_px2;
  o->det = o->cxx * o->cyy - o->cxy * o->cxy;
  return o->det > 0;
}

/* From dL/d(centre, shape in px) to the dual quadric: dw = xx xy yy xz yz zz, each counted once. */
static void quadric_back(const geometry *o, const double *lens, const double du[2], const double dc[3], double dw[6],
                         double dlens[4]) {
  double inverse = 1 / o->g, fx = lens[0], fy = lens[1];
  double hxx = fx * fx * dc[0], hxy = fx * fy * dc[1], hyy = fy * fy * dc[2];
  dlens[0] += 2 * fx * o->hxx * dc[0] + fy * o->hxy * dc[1] + o->nx * du[0];
  dlens[1] += 2 * fy * o->hyy * dc[2] + fx * o->hxy * dc[1] + o->ny * du[1];
  dlens[2] += du[0], dlens[3] += du[1];
  double nx = fx * du[0] + 2 * o->nx * hxx + o->ny * hxy, ny = fy * du[1] + 2 * o->ny * hyy + o->nx * hxy;
  dw[0] = -hxx * inverse, dw[1] = -hxy * inverse, dw[2] = -hyy * inverse;
  dw[3] = nx * inverse, dw[4] = ny * inverse;
  dw[5] = (o->wxx * hxx + o->wxy * hxy + o->wyy * hyy - o->wxz * nx - o->wyz * ny) * inverse * inverse;
}

static void parameters_back(const ek_ellipsoid *e, const float *p, const double *pose, const double dm[9],
                            const double dx[3], float *dp) {
  double q[4] = {p[6], p[7], p[8], p[9]}, dq[4] = {0}, drotation[9];
  for (int c = 0; c < 3; c++) {
    double along = 0, radius = exp(p[3 + c]);
    for (int r = 0; r < 3; r++) {
      double da = pose[r] * dm[c] + pose[4 + r] * dm[3 + c] + pose[8 + r] * dm[6 + c];
      along += da * e->axes[3 * r + c];
      drotation[3 * r + c] = da * radius;
    }
    dp[c] += (float)(pose[c] * dx[0] + pose[4 + c] * dx[1] + pose[8 + c] * dx[2]);
    dp[3 + c] += (float)along;
  }
  ek_rotation_back(q, drotation, 3, dq);
  for (int k = 0; k < 4; k++)
    dp[6 + k] += (float)dq[k];
}

void ek_body_project_back(ek_body *b, int view, int i, const ek_moments *m, ek_body_gradient *g, float *dp) {
  geometry o;
  if (!see(b, view, i, &o))
    return;
  const ek_ellipsoid *e = &b->ellipsoids[i];
  int at = view * b->layout.n_links + b->layout.link_of_ellipsoid[i];
  double steep = 6 * e->opacity, scale = steep * e->rise; /* dt/df = 6 o f (1 - f) */
  double a = o.cyy / o.det, h = -o.cxy / o.det, c = o.cxx / o.det;
  double du[2] = {-2 * scale * (a * m->wx + h * m->wy), -2 * scale * (h * m->wx + c * m->wy)};
  /* dL/dC = -P G P with P the inverse of C and G the moments. */
  double pxx = a * m->wxx + h * m->wxy, pxy = a * m->wxy + h * m->wyy;
  double pyx = h * m->wxx + c * m->wxy, pyy = h * m->wxy + c * m->wyy;
  double dc[3] = {-scale * (pxx * a + pxy * h), -2 * scale * (pxx * h + pxy * c), -scale * (pyx * h + pyy * c)};
  double dw[6], dm[9], dx[3];
  quadric_back(&o, b->lens[view], du, dc, dw, g->lens[view]);
  const double full[9] = {dw[0], dw[1] / 2, dw[3] / 2, dw[1] / 2, dw[2], dw[4] / 2, dw[3] / 2, dw[4] / 2, dw[5]};
  double *dpose = g->seen[at];
  for (int r = 0; r < 3; r++) {
    const double *f = full + 3 * r;
    dx[r] = -2 * (f[0] * o.x[0] + f[1] * o.x[1] + f[2] * o.x[2]);
    for (int k = 0; k < 3; k++)
      dm[3 * r + k] = 2 * (f[0] * o.m[k] + f[1] * o.m[3 + k] + f[2] * o.m[6 + k]);
    for (int k = 0; k < 3; k++)
      dpose[4 * r + k] += dm[3 * r] * e->axes[3 * k] + dm[3 * r + 1] * e->axes[3 * k + 1] +
                          dm[3 * r + 2] * e->axes[3 * k + 2] + dx[r] * e->centre[k];
    dpose[4 * r + 3] += dx[r];
  }
  b->travel[i] += (float)hypot(du[0], du[1]);
  if (!dp)
    return;
  parameters_back(e, b->parameters + EK_ELLIPSOID_FLOATS * i, b->seen[at], dm, dx, dp);
  dp[10] += (float)(steep * m->wf);
  dp[11] -= (float)(m->o * e->opacity * (1 - e->opacity));
}
