/* test_fuzz.c - damages weight files, seals them again and opens them: a clear error, or an engine that runs. The
 * sanitizer build watches for reads and writes outside; every file lies in memory of exactly its size.
 * Argument: rounds; the seed is fixed, so that a finding comes back. */
#include "check.h"
#include "blob.h"
#include "edgekin.h"
#include "core/status.h"

enum { ROUNDS = 20000, PIXELS = 1 << 22, BUDGET_MACS = 2000000 };

static const uint32_t WORDS[] = {0,          1,          2,          3,          4,          5,        7,
                                 8,          15,         16,         17,         63,         64,       65,
                                 255,        256,        4096,       4097,       1u << 16,   1u << 22, (1u << 22) + 1,
                                 0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 0x7f800000, 1u << 28};

static uint32_t get32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* One change somewhere; most in the head and the layer table, where it matters. Returns the new length. */
static size_t damage(uint8_t *blob, size_t bytes, size_t table) {
  size_t limit = rnd() % 8 ? table : bytes, word = 4 * (rnd() % (uint32_t)(limit / 4));
  size_t other = 4 * (rnd() % (uint32_t)(limit / 4));
  switch (rnd() % 8) {
  case 0: /* one bit */
    blob[rnd() % (uint32_t)limit] ^= (uint8_t)(1u << rnd() % 8);
    break;
  case 1: /* near by: off by a few, or an offset moved by lines */
    put32(blob + word, get32(blob + word) + (uint32_t)between(-3, 3) * (rnd() % 2 ? 1 : 64));
    break;
  case 2: /* a field of another layer */
    put32(blob + word, get32(blob + other));
    break;
  case 3: { /* two layers change places */
    uint8_t record[RECORD];
    size_t n = (table - HEADER) / RECORD, a = HEADER + RECORD * (rnd() % n), b = HEADER + RECORD * (rnd() % n);
    memcpy(record, blob + a, RECORD);
    memmove(blob + a, blob + b, RECORD);
    memcpy(blob + b, record, RECORD);
    break;
  }
  case 4: /* a shorter file that admits it */
    bytes = HEADER + rnd() % (uint32_t)(bytes - HEADER + 1);
    put64(blob + 32, bytes);
    break;
  default:
    put32(blob + word, WORDS[rnd() % (sizeof WORDS / sizeof *WORDS)]);
  }
  return bytes;
}

static int try(const uint8_t *blob, size_t bytes, int isa) {
  static float logits[PIXELS];
  static uint8_t masks[PIXELS];
  static ek_block_score blocks[PIXELS];
  const float q[EK_MAX_JOINTS] = {0.3f, -0.2f, 1.1f};
  int status = 1;
  ek_engine *e = ek_engine_open(blob, bytes, isa, &status);
  CHECK((e != NULL) == (status == EK_OK) && status <= 0);
  if (!e)
    return 0;
  ek_engine_info info;
  ek_score score;
  CHECK(ek_engine_describe(e, &info) == EK_OK);
  if (info.macs <= BUDGET_MACS) {
    CHECK(ek_engine_run(e, q) == EK_OK && ek_engine_logits(e, logits) == EK_OK);
    CHECK(ek_engine_score(e, masks, &score) == EK_OK && ek_engine_blocks(e, blocks) == EK_OK);
  }
  ek_engine_close(e);
  return 1;
}

int main(int argc, char **argv) {
  static uint8_t whole[CAPACITY], copy[CAPACITY];
  int rounds = argc > 1 ? atoi(argv[1]) : ROUNDS, opened = 0;
  for (int round = 0; round < rounds; round++) {
    static size_t bytes, table;
    if (round % 50 == 0) {
      net n = random_net();
      bytes = build(whole, (int)(rnd() % 2), &n);
      table = HEADER + (size_t)n.n_layers * RECORD;
    }
    memcpy(copy, whole, bytes);
    size_t now = bytes;
    for (int k = between(1, 3); k > 0 && now >= table; k--)
      now = damage(copy, now, table);
    if (now > 44)
      seal(copy, now);
    uint8_t *exact = malloc(now);
    CHECK(exact);
    memcpy(exact, copy, now);
    opened += try(exact, now, rnd() % 2 ? EK_ISA_AUTO : EK_ISA_SCALAR);
    free(exact);
  }
  printf("fuzz: ok, %d of %d damaged files could be opened\n", opened, rounds);
  return 0;
}
