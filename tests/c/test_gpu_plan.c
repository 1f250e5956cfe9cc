/* test_gpu_plan.c - every address that a CUDA kernel forms lies inside what it was given, and every output is written
 * once: the plans of random networks, walked as the kernels walk them. Argument: how many networks. */
#include "check.h"
#include "blob.h"
#include "core/status.h"
#include "cuda/plan.h"
#include "edgekin.h"

static const uint32_t *image;
static const ek_gpu_program *program;
static int per_block;

static const void *constant(int32_t at, int64_t words) {
  CHECK(at > 0 && at % 4 == 0 && at + words <= (int64_t)program->image_words);
  return image + at;
}

/* Words that a map may touch. */
static void inside(const ek_gpu_map *m, int64_t at, int words) {
  int64_t end = m->shared ? program->shared_bytes / 4 : program->arena_words;
  CHECK(at >= (m->shared ? 0 : EK_GPU_SLOTS) && at + words <= end);
}

static void read_dot(const ek_gpu_step *s, const ek_gpu_phase *p) {
  const int32_t *places = constant(p->places, p->n_places);
  constant(p->weights, 4 * (int64_t)p->n_places * s->n_blocks);
  int last_row = p->pixels / p->cols - 1, last_column = p->cols - 1;
  for (int corner = 0; corner < 4; corner++)
    for (int k = 0; k < p->n_places; k++) {
      int64_t y = corner & 1 ? last_row : 0, x = corner & 2 ? last_column : 0;
      inside(&s->in, s->in.data + y * s->in.row + x * s->in.pixel + places[k], 1);
    }
}

/* Marks what each phase writes; no word twice, and all of the picture. */
static void write_dot(const ek_gpu_step *s, const ek_gpu_phase *phases) {
  const int32_t *offsets = constant(s->offsets, s->n_blocks);
  int words = s->kind == EK_GPU_STAMP ? (per_block == 1 ? 2 : 4) : per_block;
  int64_t end = s->out.shared ? program->shared_bytes / 4 : program->arena_words, written = 0;
  uint8_t *seen = calloc(1, (size_t)end);
  CHECK(seen != NULL);
  for (int i = 0; i < s->n_phases; i++)
    for (int pixel = 0; pixel < phases[i].pixels; pixel++)
      for (int b = 0; b < s->n_blocks; b++) {
        int64_t at = s->out.data + phases[i].out + (int64_t)(pixel / phases[i].cols) * s->out_row +
                     (int64_t)(pixel % phases[i].cols) * s->out_pixel + offsets[b];
        inside(&s->out, at, words);
        for (int k = 0; k < words; k++) {
          CHECK(!seen[at + k]);
          seen[at + k] = 1, written++;
        }
      }
  int64_t blocks = s->kind == EK_GPU_STAMP ? s->n_blocks : (s->out.c + 3) / 4;
  CHECK(written == (int64_t)s->out.h * s->out.w * blocks * words);
  free(seen);
}

static void check_dot(const ek_gpu_step *s) {
  const ek_gpu_phase *phases = constant(s->phases, (int64_t)(sizeof *phases / 4) * s->n_phases);
  int64_t items = 0;
  CHECK(s->lanes >= 4 && s->lanes <= 32 && !(s->lanes & (s->lanes - 1)));
  constant(s->bias, 4 * s->n_blocks), constant(s->mult, 4 * s->n_blocks);
  for (int i = 0; i < s->n_phases; i++) {
    CHECK(phases[i].first_item == items);
    items += (int64_t)phases[i].pixels * s->n_blocks;
    read_dot(s, &phases[i]);
  }
  CHECK(items == s->n);
  write_dot(s, phases);
}

static void check_taps(int32_t at, int n, int size_in) {
  const ek_gpu_tap *taps = constant(at, (int64_t)(sizeof *taps / 4) * n);
  for (int i = 0; i < n; i++) {
    CHECK(taps[i].first >= 0 && taps[i].first <= taps[i].second && taps[i].second < size_in);
    CHECK(taps[i].fraction >= 0 && taps[i].fraction < 1 && taps[i].weight <= 256 && taps[i].fine < 1 << 15);
  }
}

/* The upper left and lower right pixel of a map, with all of their words. */
static void whole(const ek_gpu_map *m) {
  inside(m, m->data, m->pixel);
  inside(m, m->data + (int64_t)(m->h - 1) * m->row + (int64_t)(m->w - 1) * m->pixel, m->pixel);
}

static void check_score(const ek_gpu_step *s) {
  int64_t pixels = (int64_t)program->n_maps * program->height * program->width;
  whole(&s->in);
  CHECK(s->n == program->n_maps * program->tile_rows * program->tile_columns);
  CHECK(s->in.h * s->factor >= program->height && s->in.w * s->factor >= program->width);
  CHECK(s->narrow ? s->n_blocks * per_block <= s->in.pixel : s->in.c >= program->n_maps * s->factor * s->factor);
  CHECK(program->logits >= EK_GPU_SLOTS && program->logits + pixels <= (int64_t)program->arena_words);
  if (s->narrow)
    constant(s->narrow, (int64_t)program->n_maps * 2 * per_block), constant(s->bias, program->n_maps);
}

static void check_step(const ek_gpu_step *s) {
  CHECK(s->n > 0 && (!s->alone || s->after == EK_GPU_BLOCK));
  if (s->kind == EK_GPU_DOT || s->kind == EK_GPU_STAMP || s->kind == EK_GPU_JOINTS_DOT) {
    check_dot(s);
  } else if (s->kind == EK_GPU_SCORE) {
    check_score(s);
  } else if (s->kind == EK_GPU_INPUT) {
    int words = per_block == 1 ? 2 : per_block; /* int8: 16 bits */
    CHECK(s->n == s->out.pixel / words * 4);
    whole(&s->out);
  } else {
    CHECK(s->n == (s->out.c + 3) / 4 * s->out.h * s->out.w);
    whole(&s->in), whole(&s->out);
    if (s->kind == EK_GPU_RESIZE || s->kind == EK_GPU_BLEND)
      check_taps(s->ty, s->out.h, s->in.h), check_taps(s->tx, s->out.w, s->in.w);
  }
}

static void check_plan(const ek_model *model, int type) {
  static const uint64_t pixels[2 * 512];
  uint32_t *made = NULL;
  CHECK(ek_gpu_plan_decoder(model, type, pixels, &made) == EK_OK);
  image = made, program = (const ek_gpu_program *)made, per_block = ek_gpu_per_block(type);
  const ek_gpu_step *steps = (const ek_gpu_step *)(program + 1);
  CHECK(program->n_steps > 0 && program->n_steps < EK_GPU_SLOTS && program->shared_bytes <= 48 << 10);
  for (uint32_t i = 0; i < program->n_steps; i++)
    check_step(&steps[i]);
  CHECK(steps[program->n_steps - 1].kind == EK_GPU_SCORE);
  free(made);
}

int main(int argc, char **argv) {
  static uint8_t blob[CAPACITY];
  static ek_model model;
  int networks = argc > 1 ? atoi(argv[1]) : 300;
  for (int i = 0; i < networks; i++) {
    net n = random_net();
    for (int int8 = 0; int8 < 2; int8++) {
      CHECK(ek_model_parse(blob, build(blob, int8, &n), &model) == EK_OK);
      for (int type = int8 ? EK_GPU_INT8 : EK_GPU_FP16; type <= (int8 ? EK_GPU_INT8 : EK_GPU_FP32); type++)
        check_plan(&model, type);
    }
  }
  puts("gpu plans: ok");
  return 0;
}
