/* edgekin.h - the public C API of the device side, and the single source of the Python binding.
 *
 * Everything below is written in the subset of C that cffi's cdef() reads: the build strips lines between
 * "cffi:off" and "cffi:on" markers and feeds the rest to the binding, so no struct is mirrored by hand.
 *
 * Conventions: every length is in elements unless it ends in _bytes; times are CLOCK_MONOTONIC nanoseconds; angles are
 * radians; distances metres. Masks are bit-packed row by row as numpy.packbits does: pixel x of row y is bit
 * (7 - x % 8) of byte y * row_bytes + x / 8 with row_bytes = (width + 7) / 8. Functions that can fail return 0 or a
 * negative ek_status. Nothing here prints, exits, or allocates after its *_open / *_create function returned.
 */
/* cffi:off */
#ifndef EDGEKIN_H
#define EDGEKIN_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* cffi:on */

#define EK_ABI_VERSION 1
#define EK_MAX_JOINTS 16
#define EK_MAX_VIEWS 4

/* ---- status --------------------------------------------------------------------------------------------------- */

/* One line of text for a status returned by any function of this header; never NULL. The list of codes and their
 * strings is the X-macro EK_STATUS_LIST in core/status.h. */
const char *ek_status_text(int status);
const char *ek_status_name(int status);
int ek_status_count(void);

/* ---- renderer (engines/render) ---------------------------------------------------------------------------------- */

#define EK_CONVENTION_CENTER 0 /* a pixel is sampled at its centre */
#define EK_CONVENTION_TINYRENDERER                                                                                     \
  1 /* at its lower-left corner; no back faces, no triangles of |2 area| <= 0.01 px^2 */

/* Pinhole camera, OpenCV axes: x right, y down, z forward; pixel (0, 0) spans [0, 1) x [0, 1). */
typedef struct {
  int width, height;       /* pixels */
  double fx, fy, cx, cy;   /* pixels */
  double near_m;           /* metres; nearer geometry is clipped */
  double world_to_cam[12]; /* row-major 3x4 [R | t] */
} ek_camera;

typedef struct ek_scene ek_scene; /* the triangles of every link, in link frames */

/* vertices (n_vertices, 3) m, in the link's frame; triangles (n_triangles, 3) indices; link_of_triangle (n_triangles)
 * link index in [0, n_links). Copies everything. NULL with *status set when an index is out of range or memory ends. */
ek_scene *ek_scene_create(const float *vertices, int n_vertices, const int32_t *triangles,
                          const int32_t *link_of_triangle, int n_triangles, int n_links, int *status);
void ek_scene_destroy(ek_scene *scene);

/* A joint of the kinematic tree, in tree order: a joint's parent link is placed before its child. Link 0 is the root.
 */
#define EK_JOINT_FIXED 0
#define EK_JOINT_REVOLUTE 1
#define EK_JOINT_PRISMATIC 2
typedef struct {
  int32_t kind, parent, child; /* EK_JOINT_*, link indices */
  int32_t coordinate;          /* index into q, or -1: held at rest */
  double rest;                 /* rad or m */
  double axis[3];              /* unit, in the joint's frame */
  double origin[12];           /* row-major 3x4: joint frame in the parent link's at q = 0 */
} ek_joint;

/* base (3, 4) pose of link 0 in the world, q rad or m. link_poses (n_links, 3, 4): every link must hang on the tree. */
int ek_forward_kinematics(const ek_joint *joints, int n_joints, const double *base, const double *q, int n_q,
                          double *link_poses, int n_links);

/* One scene renders for one thread at a time. link_poses (n_links, 3, 4) row-major link-to-world. mask_out (height *
 * row_bytes) bit-packed. */
int ek_render_mask(ek_scene *scene, const ek_camera *camera, int convention, const double *link_poses,
                   uint8_t *mask_out);
/* depth_out (height, width) metres along the camera's z; +inf where there is no robot. */
int ek_render_depth(ek_scene *scene, const ek_camera *camera, int convention, const double *link_poses,
                    float *depth_out);

/* Flips pixels of n bit-packed masks (height * row_bytes each) in place, independently: those with a 4-neighbour of the
 * other kind with probability `boundary`, all with probability `anywhere`. Mask i draws from its own stream, which
 * depends on seed and first + i alone. */
int ek_mask_noise(uint8_t *masks, int n, int width, int height, double boundary, double anywhere, uint64_t seed,
                  uint64_t first);

/* ---- engine (engines/native) --------------------------------------------------------------------------------------
 */

#define EK_ISA_AUTO 0
#define EK_ISA_SCALAR 1
#define EK_ISA_AVX2 2
#define EK_ISA_AVX512 3
#define EK_ISA_NEON 4
#define EK_ISA_CUDA 5 /* of engines that ek_cuda_open made; ek_engine_open does not take it */

#define EK_PRECISION_FP32 0
#define EK_PRECISION_INT8 1
#define EK_PRECISION_FP16 2 /* of arithmetic on a GPU; weight files have the other two */

typedef struct ek_engine ek_engine; /* one network with its arena; not shared between threads */

typedef struct {
  int n_joints, n_views, height, width;
  int precision, isa;    /* isa: the one chosen, never AUTO */
  int n_layers, n_depth; /* n_depth: n_views where the network has a depth head, else 0 */
  int64_t parameters, macs, weight_bytes, arena_bytes;
} ek_engine_info;

/* What one frame's comparison with the prediction yields; summed over all views. */
typedef struct {
  double nll;         /* negative log-likelihood of the observed mask, nats, summed over pixels */
  double squared_err; /* sum over pixels of (probability - observed)^2 */
  double entropy;     /* of the prediction, nats, summed over pixels: how unsure the model is by itself */
  int32_t n_pixels;
  int32_t intersection, union_; /* pixels of (probability > 0.5) and observed: IoU = intersection / union_ */
} ek_score;

/* The same for a block of EK_BLOCK x EK_BLOCK pixels; those at the right and lower edge may be smaller. */
#define EK_BLOCK 8
typedef struct {
  double nll, squared_err, entropy;
  int32_t predicted, observed, intersection; /* pixels */
} ek_block_score;

/* blob: a weight file (docs/formats.md) already in memory; validated whole, copied and packed for the ISA. */
ek_engine *ek_engine_open(const uint8_t *blob, size_t blob_bytes, int isa, int *status);
void ek_engine_close(ek_engine *engine);
int ek_engine_describe(const ek_engine *engine, ek_engine_info *info);
/* joints (n_joints) rad. The prediction stays inside the engine until the next run. An INT8 engine whose joints are
 * near those of the run before computes only what has changed: the same bits, in less time. */
int ek_engine_run(ek_engine *engine, const float *joints);
/* Computes the last run anew, whole: its weights are in the caches afterwards. */
int ek_engine_rehearse(ek_engine *engine);
/* logits (n_views, height, width): natural-log odds of the last run. INT8 engines dequantize. */
int ek_engine_logits(const ek_engine *engine, float *logits);
/* INT8 engines only: the integer logits (n_views, height, width) and their scale. */
int ek_engine_logits_int8(const ek_engine *engine, int8_t *logits, float *scale);
/* depth (n_views, height, width) m along each camera's z, where the robot is; only of networks with a depth head. */
int ek_engine_depth(const ek_engine *engine, float *depth);
/* masks (n_views, height * row_bytes) bit-packed: the observation that the last run is compared with. */
int ek_engine_score(const ek_engine *engine, const uint8_t *masks, ek_score *score);
/* blocks (n_views, ceil(height / EK_BLOCK), ceil(width / EK_BLOCK)): where the last score came from. */
int ek_engine_blocks(const ek_engine *engine, ek_block_score *blocks);
int ek_isa_supported(int isa);
int ek_isa_best(void);

/* ---- engine on a GPU (engines/cuda)
 * ------------------------------------------------------------------------------------ */

#define EK_CUDA_IO_MAPPED 0  /* the GPU reads and writes pinned memory of the host */
#define EK_CUDA_IO_COPY 1    /* copies before and behind the kernel */
#define EK_CUDA_IO_MANAGED 2 /* one buffer that moves */
#define EK_CUDA_WAIT_SPIN 0
#define EK_CUDA_WAIT_BLOCK 1 /* leaves the core to others: later by a wake-up */

typedef struct {
  const char *library; /* NULL: libcuda.so.1 */
  int device;          /* its number */
  int precision;       /* EK_PRECISION_INT8 of int8 weight files; FP32 or FP16 of others, FP32 of body models */
  int io, wait;        /* EK_CUDA_IO_*, EK_CUDA_WAIT_* */
  int graph;           /* 1: a CUDA graph is replayed; 0: every tick is enqueued */
  int cooperative;     /* 1: one launch a tick, whose blocks wait for each other; 0: a launch for each barrier */
  int blocks, threads; /* of a launch; 0: chosen by what fits */
} ek_cuda_options;

typedef struct {
  char name[64];
  int sm, n_sm, driver;   /* 10 major + minor, multiprocessors, version of the driver's CUDA */
  int blocks, threads;    /* of a launch */
  int n_launches;         /* of a tick */
  int io, wait;           /* as used */
  int graph, cooperative; /* as used */
  int64_t memory_bytes;   /* of the GPU: constants and maps */
  char note[512];         /* what is not as it was asked for, and why; else empty */
} ek_cuda_info;

/* blob: a weight file. module: the kernels (engines/cuda/kernels.cu) as a cubin for this GPU, or as PTX. The engine has
 * the GPU's primary context, a stream and memory of its own, which ek_engine_close gives back; every function of
 * engines but the profile's serves it. ek_engine_run and ek_engine_score are one launch, which begins with the score.
 */
ek_engine *ek_cuda_open(const uint8_t *blob, size_t blob_bytes, const uint8_t *module, size_t module_bytes,
                        const ek_cuda_options *options, int *status);
int ek_cuda_describe(const ek_engine *engine, ek_cuda_info *info);

/* What a network of another library's takes and gives. */
typedef struct {
  int n_joints, n_views, n_depth, height, width; /* n_depth: n_views or 0 */
} ek_cuda_shape;

/* One frame of it on the GPU: addresses of 256 bytes' alignment, the same for every frame; depth 0: there is none. */
typedef struct {
  uint64_t joints; /* (n_joints) float, rad; read */
  uint64_t logits; /* (n_views, height, width) float, natural-log odds; written */
  uint64_t depth;  /* (n_depth, height, width) float, m; written */
  void *stream;    /* CUstream */
} ek_cuda_frame;

/* A network that another library runs: TensorRT. All of it is called with the GPU's context current. load and enqueue
 * return 0, or write a line of at most why_bytes into why and return something else. */
typedef struct {
  void *self;
  int (*load)(void *self, ek_cuda_shape *shape, char *why, int why_bytes);
  int (*enqueue)(void *self, const ek_cuda_frame *frame, char *why, int why_bytes);
  void (*release)(void *self); /* once, in any case, after the graph has gone and before the memory does */
} ek_cuda_guest;

/* The guest is loaded, enqueued once and captured into the graph that is replayed for every tick; its precision is
 * FP32, that of what it gives. Where that cannot be, enqueue is called for every tick and info.note says why. Scores
 * are made on the CPU. As for ek_cuda_open otherwise; blocks, threads, cooperative and precision are not read. */
ek_engine *ek_cuda_open_guest(const ek_cuda_guest *guest, const ek_cuda_options *options, int *status);
/* Finds a GPU without opening an engine: name, sm, n_sm and driver of the info. */
int ek_cuda_probe(const char *library, int device, ek_cuda_info *info);
/* What the driver said to the last failure of this thread's calls; empty where it was not asked. */
const char *ek_cuda_why(void);

/* ---- body model (engines/splat): soft ellipsoids on the kinematic tree, drawn and differentiated exactly
 * -------------------------------------------------------------------------------------------------------- */

/* The parameters lie in one array, and so do their derivatives:
 * ellipsoids (n_ellipsoids, 12): centre (3) m in the link's frame; log of the half axes (3), log m; quaternion w x y z
 *   (4) of any length; log of the sharpness; log-odds of the opacity;
 * joints (n_joints, 6): correction of the joint's origin, applied behind it: 2 tan(angle / 2) times the axis (3), m
 * (3); cameras (n_views, 10): correction of world_to_cam, applied before it, as for joints (6); log of a factor of fx,
 * fy; shift of cx, cy px; background (n_views, height, width), where the layout has it: log-odds that a pixel is on
 * without the robot. */
#define EK_ELLIPSOID_FLOATS 12
#define EK_CORRECTION_FLOATS 6
#define EK_CAMERA_FLOATS 10

typedef struct {
  int n_joints, n_links, n_q, n_views, n_ellipsoids; /* n_joints = n_links - 1 */
  const ek_joint *joints;
  double base[12];          /* as for ek_forward_kinematics */
  const ek_camera *cameras; /* of one size */
  const int32_t *link_of_ellipsoid;
  int convention;      /* EK_CONVENTION_* */
  int background;      /* 1: with the static layer */
  int isa;             /* EK_ISA_* */
  double low_pass_px2; /* added to the shape of every outline */
  double empty;        /* probability of a pixel that nothing reaches, without a background */
} ek_body_layout;

/* Weights of what a picture's loss is made of, with p the probability and y the mask. */
typedef struct {
  double nll;         /* of the negative log-likelihood, nats, summed over pixels */
  double squared;     /* of the sum of (p - y)^2 */
  double log_squared; /* of log(1 + that sum): what a mean of PSNRs is made of */
} ek_body_loss;

typedef struct ek_body ek_body; /* a model with its pictures; not shared between threads */

ek_body *ek_body_create(const ek_body_layout *layout, int *status); /* copies everything; parameters are zero */
void ek_body_destroy(ek_body *body);
int64_t ek_body_n_parameters(const ek_body *body);
int ek_body_set(ek_body *body, const float *parameters);
/* q (n_q) rad or m. The pictures stay inside until the next run. */
int ek_body_run(ek_body *body, const float *q);
int ek_body_logits(const ek_body *body, float *logits); /* (n_views, height, width) */
/* run for n pictures: q (n, n_q); probability (n, n_views, height, width) that a pixel shows the robot. */
int ek_body_predict(ek_body *body, const float *q, int n, float *probability);
/* Depth of the last run's nearest fronts (n_views, height, width), metres along the camera's z; +inf where no ellipsoid
 * is near. Uses the memory of ek_body_compare's derivative, which is lost. */
int ek_body_depth(ek_body *body, float *depth);
/* The loss of the last run, and its derivative kept for ek_body_backward. masks as for ek_engine_score. */
int ek_body_compare(ek_body *body, const uint8_t *masks, const ek_body_loss *loss, double *value);
/* Keeps the derivative of any other loss instead: dlogits (n_views, height, width). */
int ek_body_pull(ek_body *body, const float *dlogits);
/* ADDS to dparameters (n_parameters) and dq (n_q) what the kept derivative means for them; either may be NULL. Exact,
 * but where less than 2^-20 of the light is left: there logits end, and derivatives go on as if they did not. */
int ek_body_backward(ek_body *body, float *dparameters, float *dq);
/* run, compare, backward for n pictures: q (n, n_q), masks (n, ...). value: sum of the losses; ADDS to dparameters. */
int ek_body_learn(ek_body *body, const float *q, const uint8_t *masks, int n, const ek_body_loss *loss, double *value,
                  float *dparameters);
/* travel (n_ellipsoids): lengths of the derivatives with respect to the outlines' centres, summed since last asked. */
int ek_body_travel(ek_body *body, float *travel);

/* The body model that an engine runs, which goes with the engine; NULL where it runs a network. */
ek_body *ek_engine_body(ek_engine *engine);

/* How a body may differ from its model. Turns of one link or camera act in the order of the list. */
#define EK_DEVIATION_TURN 0         /* rad: the link and all beyond turn about an axis through the link's origin */
#define EK_DEVIATION_STRETCH 1      /* share: the link grows along an axis, what hangs on it moves; one per link */
#define EK_DEVIATION_CAMERA_TURN 2  /* rad: the world turns before the camera, about an axis of the camera's frame */
#define EK_DEVIATION_CAMERA_SHIFT 3 /* m: the world shifts before the camera */
#define EK_MAX_DEVIATIONS 64
typedef struct {
  int32_t kind, of; /* EK_DEVIATION_*; link (not the root), or view */
  double axis[3];   /* unit, in the link's or the camera's frame */
} ek_deviation;

/* Declares n deviations, all of size 0, instead of those before; n = 0: none. Allocates. While there are some,
 * ek_body_backward refuses with EK_E_ARGUMENT. */
int ek_body_deviations(ek_body *body, const ek_deviation *list, int n);
/* sizes (n) of the declared deviations from the next run on: magnitude below 3, of stretches below 0.9. */
int ek_body_deviate(ek_body *body, const double *sizes);
/* edge_px (n_links), 0 to 100, 0 at first: the slopes of ek_body_inform are those of outlines that fade over so many
 * pixels at least. A sharp edge says nothing about motions beyond its own width. */
int ek_body_soften(ek_body *body, const double *edge_px);
/* A link and all beyond it are not drawn from the next run on; -1: all are that are not lost. */
int ek_body_hide(ek_body *body, int link);
/* A link (not the root) and all beyond it are not there from the next run on, whatever is hidden; 0: all are. */
int ek_body_lose(ek_body *body, int link);
/* What the last run and an observation say about the deviations, around their sizes: with p the run's probability, s
 * that of the soft outlines, J = ds / d size and w = 1 / (s (1 - s) + floor) for every pixel, information (n, n) = J' w
 * J and score (n) = J' w (mask - p). Pixels that answer to a link's motion with less than a hundredth of an edge's
 * slope are left out. */
int ek_body_inform(ek_body *body, const uint8_t *masks, double floor, double *information, double *score);

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

/* ---- decoder training (engines/learn): the last layers of a compact decoder, their loss and its exact derivative
 * ------------------------------------------ */

#define EK_TAIL_CONVS 8

/* A linear layer with a ReLU that spreads a code over a map, 3x3 convolutions of pad 1 with ReLU between them, then a
 * pixel shuffle and a crop at the upper left. */
typedef struct {
  int32_t code, rows, columns, channels; /* units of the code, a multiple of 8; map of at least 5 columns */
  int32_t n_convs, out[EK_TAIL_CONVS];   /* outputs of each; the last has n_views * factor^2, twice that with depth */
  int32_t residual;                      /* all but the last are pairs that add what goes into the first */
  int32_t depth;                         /* the last one's second half is depth */
  int32_t n_views, factor, height, width;
  int32_t isa, n_threads;               /* EK_ISA_*; the results are the same for any number of threads */
  double smoothing;                     /* targets are kept this far from 0 and 1 */
  double logit_limit, feature_limit;    /* beyond these a penalty on squares begins: see edgekin/training/losses.py */
  double range_weight, activity_weight; /* the latter of the mean of every map between layers */
  double log_squared; /* weight of log(squared error of a picture per pixel + 1e-4): what a mean of PSNRs is made of */
  double depth_weight, depth_middle_m, depth_unit_m; /* of the mean error in m; depth at 0 and what 1 adds to it */
} ek_tail_layout;

typedef struct {
  const float *spread, *bias; /* of the linear layer: (channels, rows, columns, code) and (channels, rows, columns) */
  const float *convs;         /* of each convolution weights (O, I, 3, 3), then bias (O) */
  const float *code;          /* (n, code) */
  const float *targets;       /* (n, n_views, height, width) probabilities */
  const float *depth;         /* (n_depth, n_views, height, width) m of the first pictures, infinite off the robot */
  int32_t n, n_depth;
  float *dspread, *dbias, *dconvs, *dcode; /* derivatives of loss + penalty, written */
  double loss, penalty;                    /* mean cross-entropy, nats; what else is minimised. Written */
} ek_tail_batch;

typedef struct ek_tail ek_tail; /* not shared between threads: it has its own */

ek_tail *ek_tail_create(const ek_tail_layout *layout, int *status);
void ek_tail_destroy(ek_tail *tail);
int64_t ek_tail_n_parameters(const ek_tail *tail); /* of the convolutions */
int ek_tail_learn(ek_tail *tail, ek_tail_batch *batch);

/* ---- profile (engines/native): where the time of an engine goes, and what this core could do
 * ------------------------------------------ */

/* One layer of the weight file. Bytes are those of the canonical layout: what any engine has to move at least. */
typedef struct {
  int32_t kind, relu;          /* kind: docs/formats.md, weight file */
  int32_t in_c, in_h, in_w;    /* channels, rows, columns */
  int32_t out_c, out_h, out_w; /* channels, rows, columns */
  int32_t n_ops;               /* operations of the plan; 0: another layer's operations do its work */
  int64_t macs, weight_bytes;
  int64_t map_bytes; /* input and output */
} ek_layer_info;

int ek_engine_layer(const ek_engine *engine, int layer, ek_layer_info *info);
/* Runs ticks frames at joints (n_joints) rad with a clock between the operations. ns (ticks, n_layers + 1): of each
 * layer; the last column of the scoring, 0 without masks (NULL, or as for ek_engine_score). */
int ek_engine_profile(ek_engine *engine, const float *joints, const uint8_t *masks, int ticks, int32_t *ns);

/* Measured here and now on the calling thread's CPU, the best of many short turns within budget_ns.
 * Multiply-accumulates per ns (10^9/s) with every operand in registers, in the instruction mix of the engine's kernels;
 * negative ek_status. */
double ek_roofline_gmacs(int isa, int precision, int64_t budget_ns);
/* Bytes per ns (GB/s) of reading a buffer of so many bytes again and again; it is allocated and freed here. */
double ek_roofline_read_gb_s(int64_t buffer_bytes, int64_t budget_ns);

/* ---- histogram and clock (engines/core) ----------------------------------------------------------------------------
 */

/* Log-linear: exact below 2^7 ns, then 128 sub-buckets an octave (relative error < 1/128) up to 2^36 ns (~69 s). */
#define EK_HIST_SUB_BITS 7
#define EK_HIST_BUCKETS 3840
typedef struct {
  uint64_t count, overflow, underflow; /* underflow: negative values, a clock fault */
  int64_t min_ns, max_ns;              /* exact */
  double sum_ns;
  uint32_t bucket[3840];
} ek_hist;

void ek_hist_reset(ek_hist *hist);
void ek_hist_add(ek_hist *hist, int64_t value_ns);
/* Smallest value v such that a share p of the values is <= v, to the bucket's resolution; exact max at p = 1. */
int64_t ek_hist_percentile(const ek_hist *hist, double p);
int64_t ek_clock_ns(void);

/* ---- ring (engines/core): one writer, any readers, in shared memory
 * -------------------------------------------------- */

#define EK_RING_SLOTS 8
#define EK_RING_MAGIC 0x4b52494e474b4532ull /* file format tag and its version */

typedef struct ek_ring ek_ring;

typedef struct {
  uint64_t sequence;     /* 1, 2, 3 ... of this epoch */
  int64_t stamp_ns;      /* when the picture was taken */
  int64_t publish_ns;    /* when the writer published it */
  float joints[16];      /* rad; measured, in the order of the RobotSpec */
  float commanded[16];   /* rad; where the joints were sent, with EK_FRAME_COMMANDED */
  uint32_t flags;        /* EK_FRAME_* */
  uint32_t fresh_camera; /* 1: a new picture; 0: new joints with the last picture */
} ek_frame;

#define EK_FRAME_DAMAGED 1u   /* ground truth for the benchmark; the detector never reads it */
#define EK_FRAME_COMMANDED 2u /* commanded is known */

typedef struct {
  int n_joints, n_views, width, height;
  uint64_t epoch; /* changes whenever a writer (re)opens the ring */
  int32_t writer_pid;
  int64_t heartbeat_ns; /* last publish or beat of the writer */
  uint64_t head;        /* last published sequence */
  uint8_t model_hash[32];
} ek_ring_info;

/* path: a file in a tmpfs such as /dev/shm. The writer holds an flock on it; a second writer gets an error. */
ek_ring *ek_ring_create(const char *path, int n_joints, int n_views, int width, int height, const uint8_t *model_hash,
                        int *status);
ek_ring *ek_ring_open(const char *path, int *status); /* reader; checks magic, ABI, sizes */
void ek_ring_close(ek_ring *ring);
int ek_ring_describe(const ek_ring *ring, ek_ring_info *info);
/* Copies, checksums (CRC32C), publishes with a release store and wakes the readers. masks (n_views, height*row_bytes).
 */
int ek_ring_publish(ek_ring *ring, const ek_frame *frame, const uint8_t *masks);
/* Newest frame into frame and masks. 1: read; 0: nothing newer than after; negative: torn or corrupt (counted). */
int ek_ring_read(ek_ring *ring, uint64_t after, ek_frame *frame, uint8_t *masks);
/* Sleeps until something newer than after is published or deadline_ns passes. 1, or 0 at the deadline. */
int ek_ring_wait(ek_ring *ring, uint64_t after, int64_t deadline_ns);

/* ---- detector (engines/core)
 * ------------------------------------------------------------------------------------------ */

#define EK_VERDICT_UNKNOWN 0
#define EK_VERDICT_HEALTHY 1
#define EK_VERDICT_DAMAGED 2
#define EK_VERDICT_FAULT 3 /* the evidence itself is bad (sensor fault); latched like DAMAGED */

typedef struct ek_detector ek_detector;

/* Standardises the residual by the statistics of the pose's region, then a one-sided CUSUM:
 * z = (residual - mean[r]) / std[r], s = max(0, s + min(z, z_clip) - k), alarm when s > h. r: the nearest centroid. */
typedef struct {
  int n_joints, n_regions;
  const float *centroids;                      /* (n_regions, n_joints) rad */
  const float *mean;                           /* (n_regions) nats per pixel */
  const float *std;                            /* (n_regions) nats per pixel, > 0 */
  double k, h, z_clip;                         /* in standard deviations */
  double joint_min_rad[16], joint_max_rad[16]; /* outside, with a margin added by the calibration: frame rejected */
  int bad_frames_to_unknown;                   /* so many rejected frames in a row -> unknown */
  int64_t stale_ns;                            /* no valid frame for so long -> unknown */
  int frozen_frames;                           /* the same mask so many fresh frames in a row while ... */
  double frozen_motion_rad;                    /* ... a joint moved by so much: sensor fault */
} ek_detector_config;

typedef struct {
  uint64_t sequence;              /* of the frame behind it */
  int64_t decided_ns, expires_ns; /* a reader takes an expired verdict as unknown */
  int32_t verdict;                /* EK_VERDICT_* */
  int32_t reason;                 /* ek_status of a rejection or fault, 0 otherwise */
  int32_t region;
  float z;     /* last standardised residual */
  float cusum; /* s */
  /* Of an inspector, where the loop has one; as in ek_finding */
  float evidence;
  int32_t hypothesis, rival, undecided;
  int32_t alarm, sign, part; /* part: link or joint, -1: see hypothesis */
  float size[3], spread[3];
  uint64_t alarms, rejected;
} ek_verdict;

ek_detector *ek_detector_create(const ek_detector_config *config, int *status);
void ek_detector_destroy(ek_detector *detector);
/* One fresh frame: the score of its picture. mask_hash: any 64-bit hash of the picture. */
int ek_detector_update(ek_detector *detector, const ek_frame *frame, const ek_score *score, uint64_t mask_hash,
                       int64_t now_ns, ek_verdict *verdict);
/* What an inspector found in the frame of the last update: body damage makes the verdict damaged, any other class a
 * fault, latched. */
int ek_detector_find(ek_detector *detector, const ek_finding *finding, ek_verdict *verdict);
/* No new frame by now_ns: ages the verdict. */
int ek_detector_idle(ek_detector *detector, int64_t now_ns, ek_verdict *verdict);
/* The acknowledgement that alone clears a latched DAMAGED or FAULT. */
void ek_detector_acknowledge(ek_detector *detector);

/* ---- loop (engines/core)
 * ------------------------------------------------------------------------------------------------ */

#define EK_MODE_EVENT 0 /* wake on a new frame, at the latest at the next deadline */
#define EK_MODE_TIMER 1 /* wake at every deadline */

typedef struct {
  double hz;            /* of the deadlines */
  double frame_hz;      /* event mode: rate at which frames are expected; 0: as hz */
  int64_t duration_ns;  /* 0: until ek_loop_stop */
  int mode;             /* EK_MODE_* */
  int64_t spin_ns;      /* rise this long before a frame or deadline is due, warm the caches, busy-wait; 0: do not */
  int cpu;              /* pin to this CPU; -1: do not */
  int fifo_priority;    /* SCHED_FIFO priority; 0: leave the policy */
  int lock_memory;      /* mlockall */
  int64_t warmup_ticks; /* so many periods are run but not recorded */
} ek_loop_config;

typedef struct {
  int64_t start_ns, end_ns;
  uint64_t ticks, frames, idle_ticks, frames_skipped, ticks_skipped, torn_frames;
  uint64_t misses, misses_own, misses_preempted, misses_stolen, misses_unknown;
  uint64_t ticks_by_verdict[4]; /* how many ticks ended with each EK_VERDICT_* */
  ek_hist wakeup;               /* actual - scheduled (timer) or - publish (event) */
  ek_hist exec;                 /* wake to verdict, this thread */
  ek_hist frame_to_verdict;     /* publish to verdict */
  /* What was permitted: 1 yes, 0 not asked, negative: an errno. */
  int got_fifo, got_lock, got_affinity, got_timer_slack;
  /* fidelity on live frames: sums over frames flagged healthy by the publisher */
  uint64_t scored_frames;
  double sum_psnr_db, sum_iou;
  /* detection against the ground-truth flag, for the benchmark */
  uint64_t first_damaged_sequence, alarm_sequence; /* 0: none */
  int64_t first_damaged_publish_ns, alarm_ns;
  uint64_t false_alarms;  /* alarms raised before any damaged frame */
  int64_t false_alarm_ns; /* the first of them */
  uint64_t bodies;        /* taken over; see ek_loop_accept */
  int64_t body_ns;        /* when the last one was; 0: never */
  ek_verdict last;
} ek_loop_stats;

typedef struct ek_loop ek_loop;

/* The loop borrows engine, ring and detector; they outlive it. */
ek_loop *ek_loop_create(ek_engine *engine, ek_ring *ring, ek_detector *detector, const ek_loop_config *config,
                        int *status);
void ek_loop_destroy(ek_loop *loop);
/* Shows the inspector every fresh picture that the detector accepts; before ek_loop_run. It outlives the loop. */
int ek_loop_inspect(ek_loop *loop, ek_inspector *inspector);
/* Hands a body, or the model (NULL), over to the loop's inspector, which accepts it (ek_inspector_accept) before the
 * next picture, and acknowledges the alarm. From one other thread, without a lock. EK_E_BUSY: the one before was not
 * yet taken. */
int ek_loop_accept(ek_loop *loop, const ek_changed_body *body);
/* Blocks in the calling thread until the duration ends or ek_loop_stop. The final verdict of a stop is UNKNOWN. */
int ek_loop_run(ek_loop *loop);
void ek_loop_stop(ek_loop *loop); /* async-signal-safe */
/* A consistent copy of the newest verdict, from any thread, without a lock. */
int ek_loop_verdict(const ek_loop *loop, ek_verdict *verdict);
/* After ek_loop_run returned. */
int ek_loop_report(const ek_loop *loop, ek_loop_stats *stats);

/* cffi:off */
#ifdef __cplusplus
}
#endif
#endif
/* cffi:on */
