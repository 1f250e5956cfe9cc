/* depth.c - how far the drawn bodies are: for every pixel the nearest front of the ellipsoids that its ray meets.
 *
 * In coordinates where the ellipsoid is the unit ball, a ray t d meets it at the roots of a t^2 - 2 h t + c, with u and
 * w the images of the ray's direction and of the centre: a = u.u, h = u.w, c = w.w - 1. A direction with z = 1 makes t
 * the depth. On the soft rim outside every outline, the ellipsoid whose outline is nearest counts, where its ray
 * passes. */
#include "body.h"

#include <math.h>

#include "../core/status.h"

#define VISIBLE 0.3 /* opacity of what a ray does not look through */

typedef struct {
  double inverse[9], w[3], c; /* rows: the camera's frame to the ball's */
} ball;

static ball ball_of(const ek_body *b, int view, int i) {
  const ek_ellipsoid *e = &b->ellipsoids[i];
  const double *t = b->seen[view * b->layout.n_links + b->layout.link_of_ellipsoid[i]];
  ball out = {.c = -1};
  for (int k = 0; k < 3; k++) {
    double axis[3], square = 0;
    for (int r = 0; r < 3; r++) {
      axis[r] = t[4 * r] * e->axes[k] + t[4 * r + 1] * e->axes[3 + k] + t[4 * r + 2] * e->axes[6 + k];
      square += axis[r] * axis[r];
    }
    for (int r = 0; r < 3; r++) {
      double x = t[4 * r] * e->centre[0] + t[4 * r + 1] * e->centre[1] + t[4 * r + 2] * e->centre[2] + t[4 * r + 3];
      out.inverse[3 * k + r] = axis[r] / square;
      out.w[k] += out.inverse[3 * k + r] * x;
    }
    out.c += out.w[k] * out.w[k];
  }
  return out;
}

/* Brings a pixel's depth forward; rim: how near to an outline the rays came that met nothing, INFINITY once one did. */
static inline void meet(const ball *o, double dx, double dy, float *depth, float *rim) {
  double a = 0, h = 0;
  for (int k = 0; k < 3; k++) {
    double u = o->inverse[3 * k] * dx + o->inverse[3 * k + 1] * dy + o->inverse[3 * k + 2];
    a += u * u, h += u * o->w[k];
  }
  double left = h * h - a * o->c;
  if (left >= 0) {
    float z = (float)((h - sqrt(left)) / a);
    if (*rim < INFINITY || z < *depth)
      *depth = z;
    *rim = INFINITY;
    return;
  }
  float near = (float)(h * h / (a * o->c));
  if (near > *rim)
    *rim = near, *depth = (float)(h / a);
}

static void draw(const ek_body *b, int view, int i, float *depth, float *rim) {
  const ek_outline *outline = &b->outlines[view * b->layout.n_ellipsoids + i];
  if (b->ellipsoids[i].opacity < VISIBLE || outline->top > outline->bottom)
    return;
  const ball o = ball_of(b, view, i);
  const double *lens = b->lens[view];
  for (int y = outline->top; y <= outline->bottom; y++) {
    double dy = (y - lens[3]) / lens[1];
    for (int x = outline->left; x <= outline->right; x++) {
      double dx = (x - lens[2]) / lens[0];
      meet(&o, dx, dy, &depth[y * b->width + x], &rim[y * b->width + x]);
    }
  }
}

int ek_body_depth(ek_body *b, float *depth) {
  if (!b || !depth)
    return EK_E_ARGUMENT;
  int pixels = b->height * b->width;
  for (int view = 0; view < b->layout.n_views; view++, depth += pixels) {
    float *rim = b->pull + (int64_t)view * b->height * b->stride; /* as large as the picture at least */
    for (int i = 0; i < pixels; i++)
      depth[i] = INFINITY, rim[i] = -1;
    for (int i = 0; i < b->layout.n_ellipsoids; i++)
      draw(b, view, i, depth, rim);
  }
  return EK_OK;
}
