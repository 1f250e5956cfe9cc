/* weights.h - a body model in a weight file (docs/formats.md, "Ellipsoids"). */
#ifndef EK_SPLAT_WEIGHTS_H
#define EK_SPLAT_WEIGHTS_H

#include "edgekin.h"

/* Reads the block of an `ellipsoids` layer, checking all of it, and opens the body. NULL with *status otherwise. The
 * pictures must be of the size that the layer says. */
ek_body *ek_body_read(const uint8_t *block, size_t bytes, int isa, const int size[4], int *status);

/* Pixels of a row that any ellipsoid of the last run reaches, (n_views, height) pairs first, last; first > last: none.
 * NULL where there is a static layer, which reaches them all. */
const int16_t *ek_body_reach(const ek_body *body);
/* The logit of a pixel that none reaches. */
float ek_body_empty_logit(const ek_body *body);
int ek_body_size(const ek_body *body);
/* Brings logits (n_views, height, width) from those of the run before to those of the last one. */
void ek_body_refresh(ek_body *body, float *logits);

#endif
