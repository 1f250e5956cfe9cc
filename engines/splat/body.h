/* body.h - how an opened body model looks inside: soft ellipsoids on a kinematic tree, seen by pinhole cameras.
 *
 * One ellipsoid leaves the share t of the light: t = 1 - o (1 - f^2 (3 - 2 f)), f = 1/2 + k (d^2 - 1) / 6 within [0,
 * 1], with o its opacity, k its sharpness and d the distance from its outline's centre in units of the outline: a
 * sigmoid of slope k / 4 with ends, and without an exponential or a division. A pixel shows the robot with probability
 * 1 - T, T the product of all t: no order, no sorting.
 *
 * Passes: pose (chain.c) -> outline (outlines.c) -> light (raster.c), and the same backwards, exactly.
 */
#ifndef EK_SPLAT_BODY_H
#define EK_SPLAT_BODY_H

#include "edgekin.h"

/* Below this opacity an ellipsoid is not drawn. */
#define EK_SPLAT_FAINT 1e-3
/* From the middle of an ellipsoid's edge to where it ends, in units of 1 / (2 k): the slope is that of a sigmoid. */
#define EK_SPLAT_EDGE 3.0
/* Light that is left at least: the logit of a pixel stays below 13.9. */
#define EK_SPLAT_DARK 0x1p-20f
#define EK_SPLAT_LANES 8
/* Outlines of fewer columns are drawn as boxes. */
#define EK_SPLAT_NARROW 33
/* Pixels of a row that become empty at once; pictures are allocated so much longer. */
#define EK_SPLAT_CLEARED 64

typedef double ek_pose[12]; /* row-major 3x4 [R | t] */

/* An ellipsoid of the parameters, unpacked. */
typedef struct {
  double centre[3], axes[9]; /* link's frame, m; columns of axes are the half axes */
  double rise, reach;        /* of the fade with d^2; how far d^2 goes beyond 1 */
  double opacity;
} ek_ellipsoid;

/* Its outline in one view. Pixel (x, y) is sampled at (x, y) of these coordinates. outlines.h writes it as a vector of
 * eight numbers and two pairs of ends. */
typedef struct {
  float u, v;     /* centre, px */
  float a, b2, c; /* fade = (a dx + b2 dy) dx + c dy^2 + inner */
  float inner;
  float opacity, rest; /* rest = 1 - opacity */
  int16_t top, bottom; /* rows, inclusive; top > bottom: not seen */
  int16_t left, right; /* columns, inclusive */
} ek_outline;

/* Sums over the pixels of an outline, with w = dL/dt f (1 - f) and d from its centre. */
typedef struct {
  double w, wx, wy, wxx, wxy, wyy; /* w, w dx, w dy, ... */
  double wf;                       /* w (f - 1/2) */
  double o;                        /* dL/dt (1 - f^2 (3 - 2 f)) */
} ek_moments;

typedef struct {
  int16_t first, last; /* pixels of a row that an outline reaches; first > last: none */
} ek_reach;

/* Up to eight ellipsoids of one link, side by side. */
typedef struct {
  float centre[3][EK_SPLAT_LANES], axes[9][EK_SPLAT_LANES], rise[EK_SPLAT_LANES], reach[EK_SPLAT_LANES];
  float opacity[EK_SPLAT_LANES], rest[EK_SPLAT_LANES];
  int32_t of[EK_SPLAT_LANES], n, link;
} ek_pack;

/* A camera's lens, as outlines need it. */
typedef struct {
  float fx, fy, cx, cy, near_m, low_pass_px2;
  int width, height;
} ek_lens;

typedef struct ek_deviator ek_deviator; /* deviate.h */

struct ek_body {
  ek_body_layout layout; /* its pointers are copies of its own */
  int width, height, stride;
  int64_t n_parameters, n_background;
  double sample[2]; /* where a pixel is sampled, px from its upper-left corner */
  float *parameters;
  ek_ellipsoid *ellipsoids; /* (n_ellipsoids) */
  ek_pose *corrected;       /* (n_joints) origin with its correction */
  ek_pose *motion;          /* (n_joints) of the last run */
  ek_pose *links;           /* (n_links) in the world */
  ek_pose *cameras;         /* (n_views) world to camera, corrected */
  double (*lens)[4];        /* (n_views) fx fy cx cy, corrected */
  ek_pose *seen;            /* (n_views, n_links) link to camera */
  ek_outline *outlines;     /* (n_views, n_ellipsoids) */
  float *light;             /* (n_views, height, stride) T */
  float *empty;             /* the same without ellipsoids */
  float *pull;              /* the same: dL / d log T */
  ek_pack *packs;           /* those that can be seen */
  int n_packs;
  int cell;              /* a row's cells are 2^cell pixels wide: at most 64 of them */
  uint64_t *touched;     /* (n_views, height) cells that an ellipsoid reaches, or all where there is a static layer */
  double odds, softplus; /* log-odds of a pixel that nothing touches; log(1 + e^odds) */
  float *travel;         /* (n_ellipsoids) how hard the pictures pulled, summed */
  void *scratch;         /* gradients of poses */
  uint8_t *hidden;       /* (n_links) not drawn */
  int lost;              /* the link that is not there, with all beyond; 0: none, a robot keeps its root */
  ek_deviator *deviator; /* NULL: the body is as its model */
};

typedef struct {
  ek_pose *links, *seen, *cameras;
  double (*lens)[4];
} ek_body_gradient;

/* chain.c */
/* Adds to da, db what dout means for out = a b; da or db may be NULL. */
void ek_pose_compose_back(const double *a, const double *b, const double *dout, double *da, double *db);
void ek_rotation(const double *quaternion, double *rotation, int row_stride);
/* Adds to dquaternion. */
void ek_rotation_back(const double *quaternion, const double *drotation, int row_stride, double *dquaternion);
void ek_body_correct(ek_body *body);
void ek_body_pose(ek_body *body, const float *q);
void ek_body_pose_back(const ek_body *body, ek_body_gradient *g, float *dparameters, float *dq);

/* outlines.c */
void ek_body_pack(ek_body *body);
/* edge_px (n_links): outlines fade over so much at least; NULL: as they are. */
void ek_body_outline(ek_body *body, const float *edge_px);

/* project.c */
void ek_body_unpack(ek_body *body);
/* dellipsoid: adds to the 12 parameters; may be NULL. */
void ek_body_project_back(ek_body *body, int view, int ellipsoid, const ek_moments *m, ek_body_gradient *g,
                          float *dellipsoid);

/* raster.c */
void ek_body_draw(ek_body *body);
void ek_body_gather(const ek_body *body, int view, int ellipsoid, ek_moments *moments);

/* compare.c */
/* Log-odds of a row's pixels; writes whole vectors. */
void ek_body_log_odds(const ek_body *body, int64_t row, float *log_odds);
/* Negative log-likelihood and squared error of the masks, summed. */
void ek_body_measure(const ek_body *body, const uint8_t *masks, double *nll, double *squared);
/* Squared error of the pixels that are on. */
double ek_body_missed(const ek_body *body, const uint8_t *masks);
/* How far the middle of a mask is from that of what is drawn in a view, px; 0: one of them is empty. */
int ek_body_shift(const ek_body *body, int view, const uint8_t *masks, double shift[2]);
/* Fills pull where a gradient can go. */
void ek_body_differ(ek_body *body, const uint8_t *masks, double nll, double squared);

#endif
