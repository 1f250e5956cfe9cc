/* weights.h - a body model in a weight file (docs/formats.md, "Ellipsoids"). */
#ifndef EK_SPLAT_WEIGHTS_H
#define EK_SPLAT_WEIGHTS_H

#include "edgekin.h"

/* Reads the block of an `ellipsoids` layer, checking all of it, and opens the body. NULL with *status otherwise. The
 * pictures must be of the size that the layer says. */
ek_body *ek_body_read(const uint8_t *block, size_t bytes, int isa, const int size[4], int *status);

/* What a body model knows of every pixel besides its logit; (n_views, height, stride), zero beyond the picture. */
typedef struct {
  float *logit, *softplus, *probability; /* softplus: log(1 + e^logit) */
  int stride;
  float empty[3]; /* the three where no ellipsoid reaches */
} ek_known;

/* Pixels of a row that any ellipsoid of the last run reaches, (n_views, height) pairs first, last; first > last: none.
 * NULL where there is a static layer, which reaches them all. */
const int16_t *ek_body_reach(const ek_body *body);
int ek_body_stride(const ek_body *body);
/* Fills the maps, which have room for them, for a picture without ellipsoids. */
void ek_body_begin(const ek_body *body, ek_known *known);
/* Brings the maps from the run before to the last one. */
void ek_body_refresh(ek_body *body, ek_known *known);

#endif
