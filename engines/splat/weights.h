/* weights.h - a body model in a weight file (docs/formats.md, "Ellipsoids"). */
#ifndef EK_SPLAT_WEIGHTS_H
#define EK_SPLAT_WEIGHTS_H

#include "edgekin.h"

/* Reads the block of an `ellipsoids` layer, checking all of it, and opens the body. NULL with *status otherwise. The
 * pictures must be of the size that the layer says. */
ek_body *ek_body_read(const uint8_t *block, size_t bytes, int isa, const int size[4], int *status);

#endif
