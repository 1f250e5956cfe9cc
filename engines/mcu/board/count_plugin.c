/* count_plugin.c - a plugin of QEMU that counts instructions exactly; argument mark=0xADDRESS of ek_mark.
 *
 * Whenever the instruction at that address is executed a line with the count so far goes to stderr. The prototypes are
 * our own: they are the part of version 1 of the interface that is used here (QEMU, docs/devel/tcg-plugins.rst), for
 * which distributions ship no header.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*on_block)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*on_instruction)(unsigned, void *);
enum { NO_REGISTERS = 0, ADD = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_block);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, on_instruction, int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);

int qemu_plugin_version = 1;
static uint64_t instructions, mark = UINT64_MAX;

static void marked(unsigned cpu, void *data) {
  (void)cpu, (void)data;
  fprintf(stderr, "mark %" PRIu64 "\n", instructions);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
  (void)id;
  for (size_t i = 0, n = qemu_plugin_tb_n_insns(block); i < n; i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
    if (qemu_plugin_insn_vaddr(instruction) == mark)
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, NO_REGISTERS, NULL);
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD, &instructions, 1);
  }
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  for (int i = 0; i < argc; i++)
    if (!strncmp(argv[i], "mark=", 5))
      mark = strtoull(argv[i] + 5, NULL, 16);
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  return 0;
}
