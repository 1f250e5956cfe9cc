/* engine.h - how an opened network looks inside: a list of operations over maps in one pool of memory.
 *
 * Two planners turn a model into operations: scalar.c (canonical layout, the specification in C) and plan.c (channels
 * last, weights packed in blocks of 8 outputs), whose inner loops come from the instruction set's ek_kernels.
 */
#ifndef EK_NATIVE_ENGINE_H
#define EK_NATIVE_ENGINE_H

#include "model.h"
#include "edgekin.h"

#define EK_MAX_OPS 320 /* a transposed convolution is up to 64 of them (stride 8); most are one */
#define EK_POOL_BYTES (INT64_C(1) << 31)
#define EK_MAX_SLABS 1024

typedef struct {
  void (*run)(const void *args);
  const void *args;
  int always; /* also when its layer has followed its input */
} ek_op;

/* A feature map somewhere in memory; strides in elements. Channels last: channel = 1; planar: pixel = 1. */
typedef struct {
  void *data; /* element (0, 0, 0) */
  ek_shape shape;
  int32_t channel, pixel, row;
} ek_map;

/* Packed sums of pixels: score.c. */
typedef uint64_t ek_pixels __attribute__((vector_size(16)));
/* Of eight pixels: where their mask adds to the place of ek_pixels, in 8 bytes. */
typedef uint16_t ek_observed __attribute__((vector_size(16)));

/* Another processor that runs the network: engines/cuda. */
typedef struct {
  int (*run)(ek_engine *engine);                               /* at engine->joints, which have been checked */
  int (*score)(const ek_engine *engine, const uint8_t *masks); /* fills sums or blocks */
  int (*read)(const ek_engine *engine);                        /* fills logits */
  void (*close)(ek_engine *engine);
} ek_device;

/* How a layer follows its input from frame to frame: follow.h. */
typedef struct ek_follow ek_follow;
typedef struct ek_change ek_change;

struct ek_engine {
  ek_engine_info info;
  const ek_device *device; /* NULL: the operations below run here */
  void *device_state;
  ek_op ops[EK_MAX_OPS];
  int n_ops;
  int planning;                 /* layer whose operations are being pushed */
  int16_t op_layer[EK_MAX_OPS]; /* the layer that an operation belongs to */
  ek_layer_info layers[EK_MAX_LAYERS];
  ek_follow *follow[EK_MAX_LAYERS]; /* NULL: the layer is computed anew for every frame */
  int first_follow;                 /* the first layer that follows: it says whether a frame is near the last one, */
  int8_t *last_input;               /* whose input to it this is; NULL: no layer follows */
  int calm, begun;                  /* frames that were near the one before; whether sums were begun in this one */
  float joints[EK_MAX_JOINTS];
  ek_map logits;    /* planar (V, H, W), float or int8 */
  int64_t depth_at; /* where depth maps are, if there are any: elements behind the first logit */
  float logit_scale;
  float depth_offset, depth_unit; /* of the maps behind the logits */
  ek_body *body;                  /* a body model instead of a decoder, else NULL */
  /* Scoring, by blocks: row y of a view is in row y / EK_BLOCK of its blocks. */
  int block_rows, block_columns;         /* of all views */
  ek_pixels *pixels, *sums;              /* INT8: (2, 256) what a pixel of logit i - 128 adds; (rows, columns) */
  ek_observed *places;                   /* INT8: (columns) scratch: where the pixels of a row are in `pixels` */
  const ek_observed *observed;           /* INT8: (256) for each byte of a mask */
  double nll_unit;                       /* INT8: fixed-point steps in a nat */
  ek_block_score *blocks;                /* FP32: (rows, columns) */
  void *partials;                        /* FP32: (columns) scratch */
  char *slabs[EK_MAX_SLABS], *slab_next; /* memory of whole huge pages, handed out from the front */
  int n_slabs;
  int64_t slab_left, pool_bytes;
};

/* One axis of a bilinear resize. */
typedef struct {
  int32_t first, second; /* source indices */
  int32_t weight;        /* of the second, in 1/256 */
  float fraction;        /* of the second */
} ek_tap;

/* Zeroed memory of whole huge pages, at least *bytes, which becomes what it is; NULL when memory ends. */
void *ek_huge(int64_t *bytes);
/* Zeroed, 64-byte aligned memory that the engine frees; NULL beyond the pool's cap or when memory ends. */
void *ek_pool(ek_engine *engine, int64_t bytes);
/* An operation that runs after those pushed before it. 0 or EK_E_MEMORY. */
int ek_push(ek_engine *engine, void (*run)(const void *), const void *args);
/* What ek_engine_describe says of a model. */
void ek_engine_fill(ek_engine *engine, const ek_model *model, int isa);
int ek_push_input(ek_engine *engine, const ek_layer *layer, void *out);
ek_tap *ek_resize_taps(ek_engine *engine, int size_in, int size_out);

/* ---- the vector engines: one packing, kernels per instruction set
 * ------------------------------------------------------ */

/* A dot product of up to four blocks of 8 output channels with a list of input places.
 * FP32: place k is one input element; weights [k][block][8].
 * INT8: place k is 4 consecutive input channels; weights [k][block][8][4]. The places come in `runs[i]` runs of i + 1
 * places, longest first: within a run the 16-bit sums of products cannot overflow for any input, so they are widened to
 * 32 bits once. The packer proves this from the weights. */
typedef struct {
  const void *weights;
  const int32_t *places; /* element offsets from the output pixel's input origin */
  const void *bias;      /* [block][8] float or int32 */
  const int32_t *mult;   /* [block][8] */
  int32_t n_places, runs[4];
  int32_t blocks;     /* 1..4 */
  int32_t out_off[4]; /* element offset of each block from the output pixel */
} ek_group;

/* linear, conv, or one phase of a transposed convolution. */
typedef struct {
  const void *in;                               /* origin of output pixel (0, 0) */
  void *out;                                    /* output pixel (0, 0) */
  int32_t in_pixel, in_row, out_pixel, out_row; /* elements from one output pixel or row to the next */
  int32_t rows, cols;
  int32_t shift, relu;
  int32_t negative; /* inputs can be negative */
  int32_t n_groups;
  const ek_group *groups;
} ek_dot;

/* ---- behind a ReLU most inputs are zero: weights lie by input, and only those of the others are read */

/* The inputs of a layer, or of one pixel. */
typedef struct {
  int32_t n;
  const int32_t *places;     /* (n) element offsets */
  const uint8_t *largest;    /* (n) INT8: magnitude of its largest weight */
  const uint8_t (*order)[8]; /* where places are 0 1 2 ...: for each mask of 8 inputs, which they are; else NULL */
} ek_inputs;

/* Those that are not zero. INT8 is read two at a time, in runs of pairs whose 16-bit sums are exact. */
typedef struct {
  void *values;   /* (n + 8) int8 or float; an odd one out is followed by a zero */
  int32_t *index; /* (n + 8) their inputs */
  int32_t *ends;  /* (n / 2 + 1) INT8: pair behind each run */
  int32_t n;      /* runs, or inputs */
} ek_list;

/* Those that every instruction set can run. */
void ek_gather_int8(const ek_inputs *inputs, const void *x, ek_list *list);
void ek_gather_fp32(const ek_inputs *inputs, const void *x, ek_list *list);
/* Cuts n values of such a sum into runs. */
void ek_list_runs(const ek_inputs *inputs, int n, int sum, ek_list *list);
typedef void (*ek_gather_fn)(const ek_inputs *inputs, const void *x, ek_list *list);

/* A linear layer. */
enum { EK_CHUNK = 64 };

typedef struct {
  ek_inputs inputs;
  ek_list *list;
  const void *in;
  void *out;
  int32_t n_blocks, row;  /* of 8 outputs; outputs in whole chunks */
  const void *weights;    /* [input][row] */
  const void *bias;       /* (row) */
  const int32_t *mult;    /* (row) */
  const int32_t *out_off; /* (n_blocks) element offset of each block of 8 outputs from out */
  int32_t shift, relu;
  void *sums; /* (row) scratch */
} ek_columns;

/* A transposed convolution: every input pixel stamps the kernel. An ordinary one is one of stride 1 with the kernel
 * turned round. The kernel's outputs, one row of it after another, are cut into pieces, whose sums stay in registers
 * and whose weights stay in the first cache while a row of pixels passes. What rows of stamps sum to lies in a ring. */
enum { EK_PIECE_INT8 = 160, EK_PIECE_FP32 = 64, EK_HALF = 16 };

typedef struct {
  ek_map in, out; /* channels last */
  ek_inputs inputs;
  ek_list *lists; /* (in.w) */
  int32_t kernel, stride, pad;
  int32_t lanes, row_lanes,
      all_lanes;       /* outputs of a place in 8s, of a row of places in 16s, of all in 16s or, FP32, 32s */
  const void *weights; /* [piece][channel][lanes of the piece], of [ky][kx][lanes] */
  const void *fresh;   /* (row_sums) the bias of every place: int32 or float */
  const int32_t *mult;
  int32_t shift, relu, ring, row_sums; /* rows of the ring; elements of one */
  void *sums;                          /* (ring + 1, row_sums): the last row takes what is beyond the kernel */
} ek_stamp;

/* The width of the next piece when so many lanes, a multiple of 16 or, FP32, of 32, are left. */
static inline int ek_piece(int int8, int left) {
  if (int8)
    return left > EK_PIECE_INT8 ? 128 : left;
  return left >= EK_PIECE_FP32 ? EK_PIECE_FP32 : 32;
}

/* A 3x3 convolution behind a ReLU: most of its inputs are zero, so each input pixel adds the products of its other
 * channels, two at a time, to the 3 x 3 output pixels that see it. INT8 only. The sums have a margin: those of output
 * pixel (y, x) are kept at (y + 2 - pad, x + 2 - pad). */
enum { EK_PAIRS = 28, EK_PAIR_WEIGHTS = 9 * 8 * 2 }; /* of 8 channels; places x outputs x channels */

/* How the channels that a mask of 8 bits names go in pairs. */
typedef struct {
  uint8_t control[16]; /* byte shuffle of 8 16-bit values: two for each pair; 255: zero */
  uint16_t offset[4];  /* of a pair's weights */
  int32_t n, unused;
} ek_pairing;

typedef struct {
  ek_map in, out; /* channels last */
  int32_t in_groups, out_blocks;
  const int16_t *weights; /* [out block][input group][EK_PAIRS][3][3][8][2] */
  const int32_t *bias, *mult;
  int32_t pad, shift, relu;
  const ek_pairing *pairings; /* (256) */
  int32_t *sums;              /* (3, in.w + 2, 8) scratch */
  int32_t dense_above;        /* with more non-zero inputs than this the dense kernel is faster */
  void (*run_dense)(const void *ek_dot_args);
  const ek_dot *dense;
} ek_scatter;

/* Whether the dense kernel is the faster one for the input as it is now. */
int ek_scatter_is_dense(const ek_scatter *scatter);

typedef struct {
  ek_map in, out; /* channels last */
  const ek_tap *ty, *tx;
  void *row_a, *row_b; /* (out.w, out.pixel) int16 or float: two input rows resized along x */
} ek_resize;

/* A 1x1 convolution of at most 8 channels at the end of a network: few outputs, whole rows of pixels at a time. */
typedef struct {
  ek_map in, out;      /* in: channels last; out: planar */
  const void *weights; /* (out.c, 8) int8 or float */
  const void *bias;    /* (out.c) int32 or float */
  const int32_t *mult; /* (out.c) */
  int32_t shift, relu, negative;
} ek_narrow;

/* A 3x3 convolution of an enlarged map (ek_is_upconv), for 8 output channels: each input pixel is multiplied by the
 * kernel's nine places, and their products are enlarged and summed, first along x, then along y. */
typedef struct {
  ek_map in, out; /* channels last; out: from the first of the 8 channels */
  const ek_tap *ty, *tx;
  const void *weights; /* INT8: int16 [pair of channels][kx][ky][8][2]; FP32: [channel][kx][ky][8] */
  const void *bias;    /* (8) float or int16 */
  const int16_t *mult; /* (8) INT8 */
  int32_t sum_shift, relu;
  void **stamps; /* (in.h) of each input row: (in.w, 3 kx, 3 ky, 8) int16 or float, itself times the kernel */
  void **rows;   /* (in.h) the same enlarged along x and summed over kx: (3 ky, out.w, 8) */
  const struct ek_upconv_loops *loops;
} ek_upconv;

/* Columns [begin, end) of row y: stamps of the input's, rows and then the output from those. */
typedef struct ek_upconv_loops {
  void (*stamp)(const ek_upconv *, int y, int begin, int end);
  void (*widen)(const ek_upconv *, int y, int begin, int end);
  void (*blend)(const ek_upconv *, int y, int begin, int end);
} ek_upconv_loops;

/* Those that every instruction set can run. */
extern const ek_upconv_loops ek_upconv_fp32, ek_upconv_int8;

/* How sums of so many lanes become the outputs of a pixel. */
typedef struct {
  const int32_t *mult;
  int32_t lanes, shift, relu, out_pixel;
} ek_requant;

/* The sums of pixels, requantized. */
typedef void (*ek_finish_fn)(const ek_requant *requant, const int32_t *sums, int pixels, int8_t *out);
void ek_follow_finish(const ek_requant *requant, const int32_t *sums, int pixels, int8_t *out);
/* A linear layer's outputs from its sums. */
void ek_finish_columns(const ek_columns *columns, const int32_t *sums, ek_finish_fn finish);

typedef struct {
  int dot_blocks; /* of 8 outputs in a group of ek_dot where there are many pixels: 1, 2 or 4 */
  void (*dot_fp32)(const void *ek_dot_args);
  void (*dot_int8)(const void *ek_dot_args);
  void (*columns_fp32)(const void *ek_columns_args);
  void (*columns_int8)(const void *ek_columns_args);
  void (*joints_int8)(const void *ek_columns_args); /* the layer that reads joints: inputs of 16 bits */
  void (*stamp_fp32)(const void *ek_stamp_args);
  void (*stamp_int8)(const void *ek_stamp_args); /* NULL where dense products are faster */
  void (*scatter_int8)(const void *ek_scatter_args);
  void (*resize_fp32)(const void *ek_resize_args);
  void (*resize_int8)(const void *ek_resize_args);
  void (*narrow_fp32)(const void *ek_narrow_args); /* NULL: as any other convolution */
  void (*narrow_int8)(const void *ek_narrow_args);
  const ek_upconv_loops *upconv_fp32, *upconv_int8;
  void (*follow_linear)(void *layer, int y, const ek_change *changes, int n); /* follow.h */
  void (*follow_window)(void *layer, int y, const ek_change *changes, int n);
  ek_finish_fn follow_finish;
} ek_kernels;

extern const ek_kernels ek_kernels_avx2, ek_kernels_avx512, ek_kernels_neon, ek_kernels_dotprod;

int ek_has_dotprod(void); /* aarch64 with the dot product instruction */

int ek_plan_body(ek_engine *engine, const ek_model *model, int isa);
int ek_plan_scalar(ek_engine *engine, const ek_model *model);
int ek_plan_vector(ek_engine *engine, const ek_model *model, const ek_kernels *kernels);
int ek_push_narrow(ek_engine *engine, const ek_layer *layer, const ek_map *in, const ek_map *out, int negative,
                   void (*run)(const void *ek_narrow_args));
/* 1: the layer's output has followed its input; 0: it is to be computed anew. */
int ek_follow_layer(ek_engine *engine, int layer);
/* Maps were written otherwise: nothing is followed until it is begun again. */
void ek_follow_forget(ek_engine *engine);
/* Let the layer being planned follow `in`. */
int ek_plan_follow_linear(ek_engine *engine, const ek_columns *columns, const ek_map *in, const ek_kernels *kernels);
int ek_plan_follow_window(ek_engine *engine, const ek_layer *layer, const ek_map *in, const ek_map *out,
                          const ek_kernels *kernels);
int ek_plan_follow_upconv(ek_engine *engine, const ek_upconv *blocks, int n_blocks);
int ek_push_upconv(ek_engine *engine, const ek_layer *layer, const ek_map *in, const ek_map *out,
                   const ek_upconv_loops *loops);
int ek_plan_dot(ek_engine *engine, const ek_model *model, int layer, const ek_map *in, const ek_map *out, int negative,
                const ek_kernels *kernels);

/* out(c, y, x) = in(...) for maps of any strides; bytes: of an element, 1 or 4. */
typedef struct {
  ek_map in, out;
  int bytes, factor;
} ek_move;

void ek_move_copy(const void *args);    /* crops to out's shape */
void ek_move_reshape(const void *args); /* keeps the canonical order of elements */
void ek_move_shuffle(const void *args); /* torch.nn.PixelShuffle by factor */

int ek_score_prepare(ek_engine *engine);
/* Fills the blocks from the logits of an FP32 picture, wherever they came from. */
void ek_score_picture(const ek_engine *engine, const uint8_t *masks, int scalar);
void ek_profile_prepare(ek_engine *engine, const ek_model *model);

#endif
