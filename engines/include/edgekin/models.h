/* models.h - part of edgekin.h: pictures of a robot, and the models that predict them. */

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
