/* flow.c - how every pixel at an outline answers to the seven flows of the links there, and the products of that.
 *
 * With Q = x x' - M M' an ellipsoid's dual quadric (project.c: -W), a flow x' = L x + v of its matter changes it by
 * L Q + Q L' + v x' + x v'; with the outline's centre n = Q_.z / Q_zz and shape h = n n' - Q / Q_zz that is a quadratic
 * in the pixel's place: five numbers a flow. A pixel has a record of each link that it answers to; records of a pixel
 * are multiplied with each other, weighted, and summed over the picture. */
#include "deviate.h"

#include "../core/pose.h"

/* What pixels are recorded into, and read from. */
typedef struct {
  ek_deviator *d;
  const float *light, *sharp;
  const uint8_t *mask;
  int stride, width, height;
  float floor;
} ek_canvas;

/* The record of a pixel and a link; NULL where memory for more has ended. */
static inline ek_flow_pixel *record_of(ek_deviator *d, int32_t pixel, int group) {
  for (int32_t at = d->head[pixel]; at >= 0; at = d->records[at].next)
    if (d->records[at].group == group)
      return &d->records[at];
  if (d->n_records == d->capacity)
    return NULL;
  ek_flow_pixel *r = &d->records[d->n_records];
  if (d->head[pixel] < 0)
    d->touched[d->n_touched++] = pixel;
  *r = (ek_flow_pixel){.group = group, .next = d->head[pixel]};
  d->head[pixel] = d->n_records++;
  return r;
}

#define ISA_TEXT "flow.h"
#include "isas.h"

/* The flows of a link: turns about the camera's axes, shifts along them, its stretch. */
static void flows_of(const ek_body *b, int view, int link, ek_flow flows[EK_FLOWS]) {
  const double *direction = ek_deviate_direction(b->deviator, link);
  memset(flows, 0, sizeof *flows * EK_FLOWS);
  for (int k = 0; k < 3; k++) {
    int s = (k + 1) % 3, t = (k + 2) % 3;
    flows[k].turn[3 * t + s] = 1, flows[k].turn[3 * s + t] = -1;
    flows[3 + k].shift[k] = 1;
  }
  if (!direction)
    return;
  const double *camera = b->deviator->cameras[view], *seen = b->seen[view * b->layout.n_links + link];
  double e[3], along;
  for (int r = 0; r < 3; r++)
    e[r] = camera[4 * r] * direction[0] + camera[4 * r + 1] * direction[1] + camera[4 * r + 2] * direction[2];
  along = e[0] * seen[3] + e[1] * seen[7] + e[2] * seen[11];
  for (int r = 0; r < 3; r++) {
    for (int c = 0; c < 3; c++)
      flows[6].turn[3 * r + c] = (float)(e[r] * e[c]);
    flows[6].shift[r] = (float)(-e[r] * along);
  }
}

void ek_body_flow(ek_body *b, int view, const uint8_t *mask, float floor) {
  ek_deviator *d = b->deviator;
  const ek_outline *outlines = b->outlines + (int64_t)view * b->layout.n_ellipsoids;
  const int64_t picture = (int64_t)view * b->height * b->stride;
  const ek_canvas canvas = {d, b->light + picture, d->light + picture, mask, b->stride, b->width, b->height, floor};
  const float lens[2] = {(float)b->lens[view][0], (float)b->lens[view][1]};
  d->n_touched = d->n_records = 0;
  for (int i = 0; i < b->n_packs; i++) {
    const ek_pack *p = &b->packs[i];
    ek_flow flows[EK_FLOWS];
    float seen[12];
    flows_of(b, view, p->link, flows);
    for (int k = 0; k < 12; k++)
      seen[k] = (float)b->seen[view * b->layout.n_links + p->link][k];
    ISA_OF(b, slopes8)(p, seen, lens, flows, outlines, d->slope);
    for (int k = 0; k < p->n; k++) {
      const ek_outline *o = &outlines[p->of[k]];
      if (o->top <= o->bottom)
        ISA_OF(b, record)(o, d->slope + 5 * EK_FLOW_ROW * p->of[k], d->group[p->link], &canvas);
    }
  }
  memset(d->met, 0, (size_t)d->n_groups * (size_t)d->n_groups);
  ISA_OF(b, products)(&canvas);
}

void ek_body_project_flow(ek_body *b, float *information, float *score) {
  ISA_OF(b, project)(b->deviator, information, score);
}
