/* inspector.h - how an inspector looks inside. One picture goes through: fit (fit.c: Gauss-Newton on the deviations) ->
 * evidence (evidence.c: means over pictures of a pose, sums over poses, Bayes factors) -> senses
 * (senses.c: what joints and commands say by themselves) -> verdict (decide.c; lost.c: links that are not there; lag.c:
 * pictures of the past). */
#ifndef EK_INSPECT_INSPECTOR_H
#define EK_INSPECT_INSPECTOR_H

#include "edgekin.h"

/* Means over the last 1, 4, 16, 64 pictures of a pose: a change shows in one where it is large, in many where not. */
#define EK_LEVELS 4
/* Poses that are remembered. */
#define EK_CELLS 32
/* Frames over which tracking errors are averaged. */
#define EK_TRACKED 8
/* Nats of evidence that has not been weighed yet. */
#define EK_NONE 1e9
/* How far a fit goes, and what may be accepted, rad or share. */
#define EK_FARTHEST 0.8
/* Estimates, and fits that have to go far, are pulled to the healthy body as by a prior so many times as wide. */
#define EK_FREER 2.0
/* Picks a hypothesis beside those of the list: pictures that lag. */
#define EK_LAG(config) ((config)->n_hypotheses)
/* Times its standard deviation that pictures lag at most. */
#define EK_LATEST 3.0

/* What is known about the deviations of one hypothesis: information (lower triangle) and score. */
typedef struct {
  double a[6], b[3];
} ek_block;

/* A mean of information and score over up to `window` pictures. */
typedef struct {
  double *a, *b, gain, velocity[EK_MAX_JOINTS];
  int n, window;
} ek_mean;

struct ek_inspector {
  ek_inspector_config config; /* its pointers are copies of its own */
  void *tables;
  ek_body *body;
  int mask_bytes, n, region;
  double usual, spread;                   /* misfit of a healthy picture of the pose, its standard deviation */
  double *wide_px;                        /* (n_links) edges that are felt from far */
  double *healthy;                        /* (n) sizes of the body that is held to be healthy */
  int lost;                               /* link that it has not, with all beyond; 0: none */
  double worse;                           /* times as high as of the model is its misfit */
  double *sizes;                          /* (n) of the fit */
  double *a, *b;                          /* information and score of the last picture, around healthy */
  double *work, *inverse, *trial, *scale; /* (n, n) twice, (n) twice */
  ek_mean levels[EK_LEVELS];
  int round;                   /* which of the longer means is evaluated next */
  float anchor[EK_MAX_JOINTS]; /* pose of the cell */
  int in_cell, suspect;        /* pictures of it; one of them was not explained */
  ek_block *cells;             /* (EK_CELLS, hypotheses + 1) sums from a cell until the present one */
  int n_cells, next_cell;
  ek_block *current;         /* (EK_LEVELS, hypotheses + 1) */
  double *evidence;          /* (EK_LEVELS, hypotheses + 1) */
  ek_block *best;            /* (hypotheses + 1) the sums behind the highest evidence of each */
  double *leading;           /* (hypotheses + 1) that evidence */
  double *made;              /* (hypotheses + 1) mean share of what deviations explain that one explains by itself */
  int *alone;                /* (hypotheses + 1) pictures of that mean */
  double *drift_a, *drift_b; /* (n_joints^2), (n_joints): joint by joint, over poses */
  double freer;              /* 1, or EK_FREER since a picture that was not explained otherwise */
  double misfit, fitted, z, mean_z, unexplained;
  double lost_z, lost_sum; /* what the best lost link leaves, standard deviations; by how much less than may be */
  double beyond, shown;    /* means of the misfit above a healthy one's, and of what of that is on */
  double missed;           /* of the misfit as modelled, what pixels have that are on */
  int probed, asked;       /* the hypothesis that is tried next by itself; how many were by now */
  int one_sided;           /* frames in a row in which something was only missing, or only more */
  int waited, lost_link, lost_still;
  int dirty, late; /* frames since which something unexplained was seen, or a picture that was late: counted down */
  float *past;     /* (ek_past_frames, n_joints) commands, or joints where there are none: a ring, `now` the last */
  int now, n_past;
  uint64_t late_frame; /* that late_misfit is of: what the best time of the past leaves */
  double late_misfit;
  uint64_t mask_hash;
  int seen, same_masks, same_joints, tracked; /* frames in a row */
  float still[EK_MAX_JOINTS];                 /* joints when the picture was first seen */
  float last_q[EK_MAX_JOINTS], last_command[EK_MAX_JOINTS];
  float still_command[EK_MAX_JOINTS];                               /* commands when the joint angles were first read */
  double velocity[EK_MAX_JOINTS];                                   /* rad a frame */
  double expected[EK_MAX_JOINTS];                                   /* of measured - commanded, accepted */
  double offset[EK_MAX_JOINTS];                                     /* mean of measured - commanded */
  int off_command;                                                  /* a joint is not where it was sent */
  int off[EK_MAX_JOINTS];                                           /* frames since which it is too large */
  double command_then[EK_MAX_JOINTS], measured_then[EK_MAX_JOINTS]; /* when that began */
  double command_good[EK_MAX_JOINTS];                               /* when the angle was near it last */
  ek_finding finding;
};

/* fit.c */
/* Fits the deviations to a picture; fills a, b, misfit, fitted. */
int ek_fit(ek_inspector *s, const float *q, const uint8_t *masks);
/* Squared error where one hypothesis alone is fitted, from its estimate. a and b are lost. */
int ek_fit_alone(ek_inspector *s, const float *q, const uint8_t *masks, int hypothesis, double *misfit);
/* Squared error of a body of such sizes. */
int ek_misfit_of(ek_inspector *s, const float *q, const uint8_t *masks, const double *sizes, double *misfit);
/* Squared error where a link and all beyond are missing, and what pixels have of it that are on. */
int ek_misfit_without(ek_inspector *s, const float *q, const uint8_t *masks, int link, double *misfit, double *missed);
/* The region of poses that one is in. */
int ek_region(const ek_inspector *s, const float *q);
/* How many standard deviations a misfit lies above that of healthy pictures of the region. */
double ek_misfit_z(const ek_inspector *s, double misfit);
/* The same of what a fit leaves of the misfit of the present picture. */
double ek_left_z(const ek_inspector *s, double misfit);
/* What pixels that are on have of a misfit (`missed`), beyond the half that they have of healthy ones. */
double ek_shown(const ek_inspector *s, double missed);

/* evidence.c */
void ek_evidence_reset(ek_inspector *s);
/* explained: whether deviations make the picture. */
void ek_evidence_add(ek_inspector *s, const float *q, int explained);
/* Estimate and standard deviation from the best sums of a hypothesis. */
void ek_estimate(const ek_inspector *s, int hypothesis, double size[3], double spread[3]);

/* senses.c */
void ek_senses_reset(ek_inspector *s);
/* 1: a picture like the last one, which says nothing new. */
int ek_senses_picture(ek_inspector *s, const float *q, const uint8_t *masks);
void ek_senses_joints(ek_inspector *s, const float *q, const float *commanded);

/* lost.c */
/* Whether the picture is as it should be without some link, and not for other deviations; raises the alarm where that
 * is clear, or has been so long enough. */
int ek_judge_lost(ek_inspector *s, const float *q, const uint8_t *masks, int *status);

/* lag.c */
/* Frames of the past that are remembered. */
int ek_past_frames(const ek_inspector_config *c);
void ek_past_add(ek_inspector *s, const float *joints);
/* Squared error of the healthy body at the time of the past that fits best. */
int ek_fit_late(ek_inspector *s, const float *q, const uint8_t *masks, double *misfit);

/* decide.c */
void ek_raise(ek_inspector *s, int kind, int sign);
int ek_decide(ek_inspector *s, const float *q, const uint8_t *masks);

#endif
