/* score.h - how pictures of a body model are compared with masks by an engine, block by block. */
#ifndef EK_SPLAT_SCORE_H
#define EK_SPLAT_SCORE_H

#include "edgekin.h"

/* Fills blocks (n_views, ceil(height / EK_BLOCK), ceil(width / EK_BLOCK)); masks as for ek_engine_score. */
void ek_body_score(const ek_body *body, const uint8_t *masks, ek_block_score *blocks);

#endif
