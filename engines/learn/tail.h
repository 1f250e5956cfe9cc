/* tail.h - how an opened tail of a decoder in training looks inside. */
#ifndef EK_LEARN_TAIL_H
#define EK_LEARN_TAIL_H

#include "edgekin.h"
#include "team.h"

/* EK_TAIL_PICTURES: that are spread at once. EK_TAIL_PARTS: shares of a batch and of the map, whose sums are added in
 * this order whoever made them. */
enum { EK_TAIL_LANES = 8, EK_TAIL_BLOCK = 5, EK_TAIL_PARTS = 8, EK_TAIL_PICTURES = 16 };

/* (rows + 2, columns + 2, padded), channels innermost and rounded up to LANES, zero at the borders. */
typedef struct {
  int rows, columns, channels, padded;
  float *data;
} ek_map;

/* What one thread works in: input of each convolution but the first, and the logits. */
typedef struct {
  ek_map maps[EK_TAIL_CONVS + 1], slopes[EK_TAIL_CONVS + 1];
  float *target, *bend; /* (cells of the last map without borders, padded) */
} ek_tail_desk;

/* Sums over a share of the pictures. */
typedef struct {
  float *dweights[EK_TAIL_CONVS], *dbias[EK_TAIL_CONVS]; /* (9, in padded, out padded), (out padded) */
  double loss, excess, beyond, active, logs, depth;
} ek_tail_sums;

struct ek_tail {
  ek_tail_layout layout;
  int isa, n_maps, room; /* room: pictures of a batch that there is space for */
  int64_t n_parameters;
  ek_team *team;
  ek_map shape[EK_TAIL_CONVS + 1]; /* without data */
  float *forward[EK_TAIL_CONVS], *backward[EK_TAIL_CONVS], *bias[EK_TAIL_CONVS];
  float *inside, *deep; /* (cells of the last map, padded) 1 where a logit, or a depth, stands in the picture */
  int64_t *pixel;       /* the same: where, 0 where neither does */
  ek_tail_desk desks[EK_TEAM_MAX];
  ek_tail_sums sums[EK_TAIL_PARTS];
  ek_map *first, *dfirst; /* (room) the map that the code is spread over, of every picture, and its slopes */
  float *rows, *columns;  /* the codes, (room, code) and (code, room) */
  float *dcode;           /* (PARTS, room, code) */
};

/* step.c: everything of a batch but the parameters' order. */
void ek_tail_sweep(ek_tail *tail, ek_tail_batch *batch);

#endif
