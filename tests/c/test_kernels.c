/* test_kernels.c - the instruction sets of this machine against scalar.c on random networks: INT8 bit for bit, scores,
 * too. tests/c/test_emulated.py runs it for aarch64 under emulation. Arguments: how many networks, and instruction sets
 * that must be there. */
#include "check.h"
#include "blob.h"
#include "edgekin.h"
#include "core/status.h"
#include "native/follow.h"

enum { POSES = 4, WALK = 24, PIXELS = 4 * 64 * 64 };

static float expected[PIXELS], got[PIXELS];
static uint8_t masks[PIXELS];
static int64_t followed, frames; /* layers that kept up with their input, and all that may */

static void same_score(const ek_engine *a, const ek_engine *b, int int8) {
  ek_score s, t;
  CHECK(ek_engine_score(a, masks, &s) == EK_OK && ek_engine_score(b, masks, &t) == EK_OK);
  CHECK(!int8 || (s.nll == t.nll && s.squared_err == t.squared_err && s.entropy == t.entropy));
  CHECK(!int8 || (s.intersection == t.intersection && s.union_ == t.union_));
  CHECK(fabs(s.nll - t.nll) <= 1e-3 * (1 + s.nll) && s.n_pixels == t.n_pixels);
}

static void count_followed(const ek_engine *e) {
  for (int i = 0; i < EK_MAX_LAYERS; i++)
    if (e->follow[i])
      frames++, followed += e->follow[i]->current;
}

/* A walk in small steps, with a stop, a jump, a rehearsal and a profile on the way: the same bits at every step. */
static void walk(ek_engine *scalar, ek_engine *fast, int n_joints, int n) {
  float q[EK_MAX_JOINTS], size = ldexpf(1, -between(4, 12));
  int32_t ns[EK_MAX_LAYERS + 1];
  for (int j = 0; j < EK_MAX_JOINTS; j++)
    q[j] = (float)between(-3000, 3000) / 1000.0f;
  for (int i = 0; i < WALK; i++) {
    for (int j = 0; j < n_joints && i != 9; j++)
      q[j] += (i == 15 ? 1 : size) * (float)between(-1000, 1000) / 1000.0f;
    if (i == 12)
      CHECK(ek_engine_rehearse(fast) == EK_OK);
    if (i == 18)
      CHECK(ek_engine_profile(fast, q, NULL, 1, ns) == EK_OK);
    CHECK(ek_engine_run(scalar, q) == EK_OK && ek_engine_run(fast, q) == EK_OK);
    CHECK(ek_engine_logits(scalar, expected) == EK_OK && ek_engine_logits(fast, got) == EK_OK);
    CHECK(memcmp(expected, got, sizeof *got * (size_t)n) == 0);
    count_followed(fast);
  }
}

static void compare(const uint8_t *blob, size_t bytes, int int8, int isa) {
  int status = 0;
  ek_engine *scalar = ek_engine_open(blob, bytes, EK_ISA_SCALAR, &status);
  CHECK(scalar && status == EK_OK);
  ek_engine *fast = ek_engine_open(blob, bytes, isa, &status);
  CHECK(fast && status == EK_OK);
  ek_engine_info info;
  CHECK(ek_engine_describe(fast, &info) == EK_OK && info.isa == isa);
  int n = info.n_views * info.height * info.width;
  CHECK(n <= PIXELS);
  for (int i = 0; i < POSES; i++) {
    float q[EK_MAX_JOINTS];
    for (int j = 0; j < EK_MAX_JOINTS; j++)
      q[j] = (float)between(-3000, 3000) / 1000.0f;
    for (int k = 0; k < PIXELS / 8; k++)
      masks[k] = (uint8_t)(rnd() % 3 ? -(int)(rnd() % 2) : (int)rnd());
    CHECK(ek_engine_run(scalar, q) == EK_OK && ek_engine_run(fast, q) == EK_OK);
    CHECK(ek_engine_logits(scalar, expected) == EK_OK && ek_engine_logits(fast, got) == EK_OK);
    float largest = 1;
    for (int k = 0; k < n; k++)
      largest = fmaxf(largest, fabsf(expected[k]));
    for (int k = 0; k < n; k++)
      CHECK(int8 ? expected[k] == got[k] : fabsf(expected[k] - got[k]) <= 1e-4f * largest);
    same_score(scalar, fast, int8);
  }
  if (int8)
    walk(scalar, fast, info.n_joints, n);
  ek_engine_close(scalar);
  ek_engine_close(fast);
}

int main(int argc, char **argv) {
  static uint8_t blob[CAPACITY];
  static const char *const names[] = {"auto", "scalar", "avx2", "avx512", "neon"};
  int networks = argc > 1 ? atoi(argv[1]) : 400;
  for (int i = 2; i < argc; i++)
    for (int isa = 0; isa <= EK_ISA_NEON; isa++)
      CHECK(strcmp(argv[i], names[isa]) || ek_isa_supported(isa));
  for (int i = 0; i < networks; i++) {
    net n = random_net();
    for (int int8 = 0; int8 < 2; int8++) {
      size_t bytes = build(blob, int8, &n);
      for (int isa = EK_ISA_SCALAR + 1; isa <= EK_ISA_NEON; isa++)
        if (ek_isa_supported(isa))
          compare(blob, bytes, int8, isa);
    }
  }
  for (int isa = EK_ISA_SCALAR + 1; isa <= EK_ISA_NEON; isa++)
    if (ek_isa_supported(isa))
      printf("%s ", names[isa]);
  CHECK(networks < 50 || followed > frames / 8); /* otherwise the walks show nothing */
  puts("kernels: ok");
  return 0;
}
