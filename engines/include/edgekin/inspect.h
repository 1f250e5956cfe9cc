/* inspect.h - part of edgekin.h: what pictures say about the body. */

/* ---- inspector (engines/inspect): does the body differ from its model, how, and where
 * ---------------------------------------------------------------------------------- */

#define EK_CLASS_NONE 0
#define EK_CLASS_BODY 1
#define EK_CLASS_ENCODER 2
#define EK_CLASS_CAMERA 3
#define EK_CLASS_APPEARANCE 4 /* something else is seen, or the robot is not */
#define EK_CLASS_SENSOR 5     /* pictures or joint angles are old */

#define EK_SIGN_DEVIATION 0   /* the body has deviated as a hypothesis says */
#define EK_SIGN_LOST 1        /* a link and all beyond are not seen */
#define EK_SIGN_UNEXPLAINED 2 /* no deviation makes the picture */
#define EK_SIGN_LAG 3         /* pictures are of another time than the joint angles */
#define EK_SIGN_FROZEN 4      /* pictures repeat while joints move */
#define EK_SIGN_STALE 5       /* joint angles repeat while commands move */
#define EK_SIGN_OFFSET 6      /* an encoder is off its command, and follows it */
#define EK_SIGN_STUCK 7       /* a joint does not follow its command */

/* One way to differ: up to three deviations that are free together. */
#define EK_MAX_HYPOTHESES 64
typedef struct {
  int32_t n, index[3];
  int32_t kind; /* EK_CLASS_BODY or EK_CLASS_CAMERA */
  int32_t part; /* any number; hypotheses of one part are no rivals */
} ek_hypothesis;

/* What healthy pictures taught (edgekin/detection/inspection.py); arrays are copied. Variances of the mean of n
 * pictures of one pose are bias^2 + frame^2 / n. */
typedef struct {
  int n_deviations, n_hypotheses, n_links, n_joints, n_regions;
  const ek_deviation *deviations;
  const ek_hypothesis *hypotheses;
  const double *edge_px;          /* (n_links) see ek_body_soften */
  const double *prior;            /* (n_deviations) standard deviation of what may happen */
  const double *mean;             /* (n_deviations) that healthy pictures seem to have */
  const double *bias, *frame;     /* (n_deviations) its standard deviation from pose to pose, and picture to picture */
  const int32_t *own_axis;        /* (n_joints) the deviation that turns about the joint's axis, or -1 */
  double noise_bias, noise_frame; /* of squared residuals, in units of their weights */
  double floor;                   /* see ek_body_inform */
  const float *centroids;         /* (n_regions, n_joints) rad */
  const float *misfit, *misfit_spread; /* (n_regions) squared error of a healthy picture, its standard deviation */
  const float *scale;                  /* (n_regions) factor of bias and frame there */
  double lag_prior;                    /* standard deviation of what pictures may lag, frames */
  double handicap[4];                  /* nats taken off what the last 1, 4, 16, 64 pictures say */
  double cell_rad;                     /* poses closer than this in every joint are one */
  double threshold;                    /* of evidence, nats */
  double found;                        /* a link is lost where the misfit without it is below ... */
  double uncovered;                    /* ... or, where it hid what was never learned, below such a share of it */
  double explained, unexplained;       /* standard deviations of the misfit: below is healthy; a CUSUM begins above */
  double unexplained_sum;              /* its threshold */
  double rival;                        /* a hypothesis is named when it leads all others by so much, nats ... */
  int patience_frames;                 /* ... or after so many frames in which none did */
  double tracking_rad[16];             /* of the mean of eight frames' measured - commanded */
  double stuck_rad;                    /* motion of a command that tells an offset from a joint that stands */
  int frozen_frames, stale_frames;     /* repeats, while ... */
  double frozen_rad;                   /* ... a joint, or its command, moved by so much */
} ek_inspector_config;

typedef struct {
  int32_t alarm;                              /* EK_CLASS_*, latched: the first */
  int32_t sign;                               /* EK_SIGN_* of the alarm */
  int32_t hypothesis;                         /* the leading one, also before and after an alarm; -1: none */
  int32_t rival;                              /* the best of another part or class; -1: none */
  int32_t link, joint;                        /* of EK_SIGN_LOST; of EK_SIGN_OFFSET and _STUCK; -1: none */
  int32_t undecided;                          /* 1: the alarm could not tell hypothesis from rival */
  double evidence, against;                   /* nats: that anything deviates; that it is the rival, 0 or more */
  double size[3], spread[3];                  /* of its deviations: estimate and standard deviation, rad or share */
  double lag_s;                               /* of EK_SIGN_LAG, in frames */
  double misfit, fitted;                      /* squared error as modelled, and with the deviations */
  double misfit_z;                            /* of the latter, by the pose's region */
  double offset_rad[16];                      /* of measured - commanded, mean of eight frames; 0 without commands */
  double drift_rad[16], drift_spread_rad[16]; /* of every joint's encoder, by vision, over many poses */
  uint64_t frames, alarm_frame;               /* judged since the start; that of the alarm */
} ek_finding;

/* A body that is no longer as its model, arrays as long as the inspector has deviations and joints. */
typedef struct {
  double sizes[64];   /* of its deviations, rad or share: magnitude 0.8 at most */
  double offsets[16]; /* rad, as much at most: what encoders read too much, of commands */
  double worse;       /* times as high as of the model is its misfit, 1 to 100 */
  int32_t lost;       /* see ek_body_lose */
} ek_changed_body;

typedef struct ek_inspector ek_inspector;

/* Borrows the body, whose deviations are the inspector's from now on; the body outlives it. EK_E_BUSY where deviations
 * of the body are declared already. */
ek_inspector *ek_inspector_create(ek_body *body, const ek_inspector_config *config, int *status);
void ek_inspector_destroy(ek_inspector *inspector);
/* One fresh picture. q, commanded (n_joints) rad; commanded NULL: not known. The body's picture is lost; its next run
 * is that of the healthy body. */
int ek_inspector_update(ek_inspector *inspector, const float *q, const float *commanded, const uint8_t *masks,
                        ek_finding *finding);
/* What the last picture left; not while a loop shows pictures. */
int ek_inspector_found(const ek_inspector *inspector, ek_finding *finding);
/* Forgets all evidence and the alarm. */
void ek_inspector_reset(ek_inspector *inspector);
/* The body that is healthy from now on; NULL: the model. Forgets all evidence. EK_E_RANGE: it is too far from the
 * model, or has no such link. */
int ek_inspector_accept(ek_inspector *inspector, const ek_changed_body *body);
/* information (n_deviations^2), score (n_deviations) of the last picture around the healthy body, sizes
 * (n_deviations) of the fit: for whoever calibrates. */
int ek_inspector_look(const ek_inspector *inspector, double *information, double *score, double *sizes);
/* What a picture says around a body, without a fit: misfit is its squared error, information and score as
 * ek_body_inform has them, both or neither NULL. Leaves evidence, alarm and the healthy body as they are. */
int ek_inspector_measure(ek_inspector *inspector, const float *q, const uint8_t *masks, const ek_changed_body *body,
                         double *information, double *score, double *misfit);
