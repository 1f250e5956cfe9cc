/* deviate.h - how a body differs from its model: what it takes to draw it so, and to ask a picture about it.
 *
 * Whatever deviates, the matter of a link moves in seven ways in a camera's frame: it turns about and shifts along
 * three axes as a rigid body does, and stretches along one direction of its own. So pictures are asked about these
 * flows of each link (flow.c), and the answer serves any list of deviations: their information is J' M J with J from
 * the flows to the deviations (deviate.c).
 *
 * A sharp edge answers to a motion within its own width alone. So the slopes are those of a second, soft picture, and
 * what they are multiplied with is the residual of the sharp one, which a healthy body leaves near zero. */
#ifndef EK_SPLAT_DEVIATE_H
#define EK_SPLAT_DEVIATE_H

#include "body.h"

#define EK_FLOWS 7
#define EK_FLOW_ROW 8 /* floats in memory: seven and, in products of a link with itself, the residual */
/* Records that a picture may have of each of its pixels on average. A pixel at an outline has one or two. */
#define EK_FLOW_DEPTH 4

/* x' = turn x + shift: the velocity of a link's matter in the camera's frame. */
typedef struct {
  float turn[9], shift[3];
} ek_flow;

/* How a pixel's probability answers to one link's flows. */
typedef struct {
  float g[EK_FLOW_ROW];
  int32_t group, next; /* next: record of the same pixel, or -1 */
} ek_flow_pixel;

struct ek_deviator {
  int n;
  ek_deviation list[EK_MAX_DEVIATIONS];
  double size[EK_MAX_DEVIATIONS];
  double axis[EK_MAX_DEVIATIONS][3]; /* as it stands in the last run: in the world, or in its camera's frame */
  ek_pose *shape;                    /* (n_links) the stretch of what is drawn of a link */
  ek_pose *cameras;                  /* (n_views) world to camera with its deviations */
  int n_groups;                      /* links with ellipsoids */
  int32_t *group, *link;             /* (n_links) -1 where nothing is drawn; (n_groups) */
  int16_t *through;                  /* (n, n_groups) joint by which the link leaves the deviating one */
  float *slope;                      /* (n_ellipsoids, 5, EK_FLOW_ROW) see flow.h */
  float *products;                   /* (n_groups, n_groups, EK_FLOW_ROW, EK_FLOW_ROW) of a view; rows before columns */
  uint8_t *met;                      /* (n_groups, n_groups) whether any pixel added to them */
  float *jacobian, *half;            /* (n_groups, EK_FLOWS, EK_MAX_DEVIATIONS); products with it */
  int32_t *head;                     /* (height, width) first record of a pixel, or -1 */
  int32_t *touched;                  /* pixels that have one */
  ek_flow_pixel *records;            /* (capacity) */
  int n_touched, n_records, capacity;
  float *edge_px;       /* (n_links) */
  ek_outline *outlines; /* as the body's, but soft */
  float *light;
  uint64_t *cells;
};

/* deviate.c */
void ek_deviator_free(ek_deviator *d);
/* After the body's parameters have changed. */
void ek_deviator_reset(ek_body *b);
/* The joint's place in its parent as the parent's stretch leaves it; the link as its turns leave it. */
void ek_deviate_place(const ek_body *b, int joint, double *place);
void ek_deviate_link(ek_body *b, int link);
void ek_deviate_camera(ek_body *b, int view);
/* Of a link's stretch, in the world; 0 where it has none. */
const double *ek_deviate_direction(const ek_deviator *d, int link);

/* flow.c */
/* Fills products and met of one view. The body has the soft picture, its deviator the sharp one. */
void ek_body_flow(ek_body *b, int view, const uint8_t *mask, float floor);
/* J' M J (n, EK_MAX_DEVIATIONS) and J' r (n) of those products and the jacobian; what lies beyond n is lost. */
void ek_body_project_flow(ek_body *b, float *information, float *score);

#endif
