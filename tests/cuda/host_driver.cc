// host_driver.cc - a libcuda whose GPU is this processor: kernels.cu, compiled as C++, really runs, thread by thread.
//
// Every thread of a launch is a fiber with a stack of its own; it runs until it waits for others (a barrier, a shuffle,
// a poll of the grid's barrier), then the next one does. The order in which they are asked can be turned round or
// shuffled: results that depend on it are races. A launch in which nobody gets any further ends the process. Calls are
// logged, and any of them can be made to fail.
//
// It says nothing about speed, registers or the memory model of a GPU.
#undef _FORTIFY_SOURCE
#include "cuda/kernels.cu"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <ucontext.h>
#include <vector>

ek_host_index threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t STACK_BYTES = 64 << 10, SHARED_BYTES = 48 << 10;
constexpr int PATIENCE = 100000; // rounds without progress

struct Warp {
  uint32_t values[2][32] = {};
  int arrived = 0, generation = 0;
};
struct Block {
  std::vector<Warp> warps;
  std::vector<uint4> shared = std::vector<uint4>(SHARED_BYTES / sizeof(uint4));
  int arrived = 0, generation = 0;
};
struct Fiber {
  ucontext_t start;
  jmp_buf at;
  unsigned block, thread;
  bool begun = false, done = false;
};

using Kernel = void (*)(const ek_gpu_args);
std::vector<char> stacks;
std::vector<Fiber> fibers;
std::vector<Block> blocks;
jmp_buf scheduler;
Fiber *current;
Kernel kernel;
ek_gpu_args arguments;
int order;     // 0: forwards, 1: backwards, else: the seed of a shuffle
long progress; // of barriers

void body() {
  kernel(arguments);
  current->done = true;
  progress++;
  _longjmp(scheduler, 1);
}

void run_fiber(Fiber *f) {
  current = f;
  threadIdx.x = f->thread, blockIdx.x = f->block;
  if (_setjmp(scheduler))
    return;
  if (f->begun)
    _longjmp(f->at, 1);
  f->begun = true;
  setcontext(&f->start);
}

void run_grid(unsigned grid, unsigned threads) {
  size_t n = (size_t)grid * threads;
  gridDim.x = grid, blockDim.x = threads;
  if (stacks.size() < n * STACK_BYTES)
    stacks.resize(n * STACK_BYTES);
  fibers.resize(n);
  blocks.assign(grid, Block());
  for (auto &b : blocks) { // what is in shared memory before a launch is anything
    b.warps.resize(threads / 32);
    std::fill(b.shared.begin(), b.shared.end(), uint4{0xcdcdcdcd, 0xcdcdcdcd, 0xcdcdcdcd, 0xcdcdcdcd});
  }
  std::vector<Fiber *> turn;
  for (size_t i = 0; i < n; i++) {
    Fiber &f = fibers[i];
    getcontext(&f.start);
    f.start.uc_stack.ss_sp = &stacks[i * STACK_BYTES], f.start.uc_stack.ss_size = STACK_BYTES;
    f.start.uc_link = nullptr;
    f.block = (unsigned)(i / threads), f.thread = (unsigned)(i % threads), f.begun = f.done = false;
    makecontext(&f.start, body, 0);
    turn.push_back(&f);
  }
  if (order == 1)
    std::reverse(turn.begin(), turn.end());
  else if (order)
    std::shuffle(turn.begin(), turn.end(), std::mt19937((unsigned)order));
  size_t left = n;
  for (long seen = -1, idle = 0; left;) {
    left = 0;
    for (auto f : turn)
      if (!f->done)
        run_fiber(f), left += !f->done;
    idle = progress == seen ? idle + 1 : 0, seen = progress;
    if (idle > PATIENCE)
      fprintf(stderr, "host GPU: threads wait for each other for ever\n"), abort();
  }
}

Block &own_block() {
  return blocks[blockIdx.x];
}
Warp &own_warp() {
  return own_block().warps[threadIdx.x / 32];
}

template <class Place> void meet(Place &place, int all) {
  int generation = place.generation;
  if (++place.arrived == all)
    place.arrived = 0, place.generation++, progress++;
  while (place.generation == generation)
    ek_host_yield();
}

} // namespace

uint32_t *ek_host_shared() {
  return reinterpret_cast<uint32_t *>(own_block().shared.data());
}
void ek_host_yield() {
  if (!_setjmp(current->at))
    _longjmp(scheduler, 1);
}
void ek_host_block_barrier() {
  meet(own_block(), (int)blockDim.x);
}
void ek_host_warp_barrier() {
  meet(own_warp(), 32);
}
uint32_t ek_host_shuffle(uint32_t value, int mask) {
  Warp &w = own_warp();
  auto &values = w.values[w.generation % 2];
  values[threadIdx.x % 32] = value;
  meet(w, 32);
  return values[(threadIdx.x % 32) ^ (unsigned)mask];
}
uint32_t ek_host_ballot(int vote) {
  Warp &w = own_warp();
  auto &values = w.values[w.generation % 2];
  values[threadIdx.x % 32] = vote != 0;
  meet(w, 32);
  uint32_t bits = 0;
  for (int i = 0; i < 32; i++)
    bits |= values[i] << i;
  return bits;
}
uint32_t ek_host_add(uint32_t *slot, uint32_t value) {
  progress++;
  uint32_t before = *slot;
  *slot += value;
  return before;
}

// ---- the driver

namespace {

using Work = std::function<int()>;
std::string calls;
std::map<std::string, int> failures, attributes;
std::set<void *> owned; // what has to be given back
std::vector<Work> *captured;
int contexts;
thread_local std::vector<void *> current_contexts;
std::mutex asking; // a loop's thread asks while a test's changes its mind

int fails(const char *name) {
  std::lock_guard<std::mutex> guard(asking);
  auto found = failures.find(name);
  return found == failures.end() ? 0 : found->second;
}
int enter(const char *name) {
  calls += name, calls += '\n';
  return fails(name);
}
void *keep(void *p) {
  owned.insert(p);
  return p;
}
int drop(void *p) {
  if (!owned.erase(p))
    return 1; // CUDA_ERROR_INVALID_VALUE
  free(p);
  return 0;
}
int submit(Work work) {
  if (!captured)
    return work();
  captured->push_back(work);
  return 0;
}
int submit_kernel(void *function, unsigned grid, unsigned threads, unsigned shared, void **parameters) {
  if (shared > SHARED_BYTES)
    return 1;
  ek_gpu_args args = *static_cast<ek_gpu_args *>(parameters[0]);
  return submit([=] {
    if (fails("kernel")) // launched, and nothing happens
      return 0;
    kernel = reinterpret_cast<Kernel>(function), arguments = args;
    run_grid(grid, threads);
    return 0;
  });
}

} // namespace

#define CALL(name, ...)                                                                                                \
  extern "C" int name(__VA_ARGS__) {                                                                                   \
    if (int failed = enter(#name))                                                                                     \
      return failed;

CALL(cuInit, unsigned) return 0;
}
CALL(cuDriverGetVersion, int *version) *version = attributes.count("driver") ? attributes["driver"] : 13000;
return 0;
}
extern "C" int cuDeviceGetCount(int *n) { // asked by others than the launcher
  *n = attributes.count("gpus") ? attributes["gpus"] : 1;
  return 0;
}
CALL(cuDeviceGet, int *device, int number) *device = number;
return number ? 101 : 0;
}
CALL(cuDeviceGetName, char *name, int n, int) snprintf(name, (size_t)n, "this processor");
return 0;
}
CALL(cuDeviceGetAttribute, int *value, int attribute, int)
std::map<int, int> known = {{16, 2}, {19, 1}, {75, 8}, {76, 7}, {83, 1}, {95, 1}};
auto over = attributes.find(std::to_string(attribute));
*value = over == attributes.end() ? known[attribute] : over->second;
return 0;
}
CALL(cuDevicePrimaryCtxRetain, void **context, int) *context = &contexts;
contexts++;
return 0;
}
CALL(cuDevicePrimaryCtxRelease_v2, int) contexts--;
return 0;
}
extern "C" int cuCtxPushCurrent_v2(void *context) {
  current_contexts.push_back(context);
  return 0;
}
extern "C" int cuCtxPopCurrent_v2(void **context) {
  *context = current_contexts.back();
  current_contexts.pop_back();
  return 0;
}
extern "C" int cuCtxGetCurrent(void **context) {
  *context = current_contexts.empty() ? nullptr : current_contexts.back();
  return 0;
}
CALL(cuModuleLoadData, void **module, const void *) *module = keep(malloc(1));
return 0;
}
CALL(cuModuleUnload, void *module) return drop(module);
}
CALL(cuModuleGetFunction, void **function, void *, const char *name)
std::map<std::string, Kernel> known = {{"ek_tick_int8", ek_tick_int8},
                                       {"ek_tick_fp16", ek_tick_fp16},
                                       {"ek_tick_fp32", ek_tick_fp32},
                                       {"ek_tick_body", ek_tick_body}};
*function = reinterpret_cast<void *>(known[name]);
return known[name] ? 0 : 500;
}
CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor, int *n, void *, int, size_t) *n = 2;
return 0;
}
CALL(cuStreamCreate, void **stream, unsigned) *stream = keep(malloc(1));
return 0;
}
CALL(cuStreamDestroy_v2, void *stream) return drop(stream);
}
CALL(cuStreamQuery, void *) return 0;
}
CALL(cuStreamSynchronize, void *) return 0;
}
CALL(cuEventCreate, void **event, unsigned) *event = keep(malloc(1));
return 0;
}
CALL(cuEventDestroy_v2, void *event) return drop(event);
}
CALL(cuEventRecord, void *, void *) return 0;
}
CALL(cuEventSynchronize, void *) return 0;
}
CALL(cuMemAlloc_v2, uint64_t *p, size_t n) *p = (uint64_t)keep(aligned_alloc(256, (n + 255) / 256 * 256));
return 0;
}
CALL(cuMemFree_v2, uint64_t p) return drop((void *)p);
}
CALL(cuMemAllocManaged, uint64_t *p, size_t n, unsigned)
*p = (uint64_t)keep(aligned_alloc(256, (n + 255) / 256 * 256));
return 0;
}
CALL(cuMemsetD8_v2, uint64_t p, unsigned char value, size_t n) memset((void *)p, value, n);
return 0;
}
CALL(cuMemHostAlloc, void **p, size_t n, unsigned) *p = keep(aligned_alloc(256, (n + 255) / 256 * 256));
return 0;
}
CALL(cuMemFreeHost, void *p) return drop(p);
}
CALL(cuMemHostGetDevicePointer_v2, uint64_t *device, void *p, unsigned) *device = (uint64_t)p;
return 0;
}
CALL(cuMemcpyHtoD_v2, uint64_t to, const void *from, size_t n) memcpy((void *)to, from, n);
return 0;
}
CALL(cuMemcpyDtoH_v2, void *to, uint64_t from, size_t n) memcpy(to, (void *)from, n);
return 0;
}
CALL(cuMemcpyHtoDAsync_v2, uint64_t to, const void *from, size_t n, void *)
return submit([=] {
  memcpy((void *)to, from, n);
  return 0;
});
}
CALL(cuMemcpyDtoHAsync_v2, void *to, uint64_t from, size_t n, void *)
return submit([=] {
  memcpy(to, (void *)from, n);
  return 0;
});
}
CALL(cuLaunchKernel, void *f, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned shared, void *,
     void **parameters, void **)
return submit_kernel(f, gx, bx, shared, parameters);
}
CALL(cuLaunchCooperativeKernel, void *f, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned,
     unsigned shared, void *, void **parameters)
return submit_kernel(f, gx, bx, shared, parameters);
}
CALL(cuLaunchHostFunc, void *, void (*function)(void *), void *data)
return submit([=] {
  if (!fails("kernel"))
    function(data);
  return 0;
});
}
CALL(cuStreamBeginCapture_v2, void *, int) captured = new std::vector<Work>;
return 0;
}
extern "C" int cuStreamEndCapture(void *, void **graph) { // ends it in any case
  int failed = enter("cuStreamEndCapture");
  *graph = failed ? nullptr : captured;
  if (failed)
    delete captured;
  else
    owned.insert(captured);
  captured = nullptr;
  return failed;
}
CALL(cuGraphGetNodes, void *graph, void **, size_t *n) *n = static_cast<std::vector<Work> *>(graph)->size();
return 0;
}
CALL(cuGraphInstantiateWithFlags, void **executable, void *graph, unsigned long long)
owned.insert(*executable = new std::vector<Work>(*static_cast<std::vector<Work> *>(graph)));
return 0;
}
CALL(cuGraphUpload, void *, void *) return 0;
}
CALL(cuGraphLaunch, void *executable, void *)
for (auto &work : *static_cast<std::vector<Work> *>(executable))
  work();
return 0;
}
CALL(cuGraphDestroy, void *graph) owned.erase(graph);
delete static_cast<std::vector<Work> *>(graph);
return 0;
}
CALL(cuGraphExecDestroy, void *graph) owned.erase(graph);
delete static_cast<std::vector<Work> *>(graph);
return 0;
}

extern "C" int cuGetErrorName(int error, const char **name) {
  static const std::map<int, const char *> names = {{100, "CUDA_ERROR_NO_DEVICE"},
                                                    {101, "CUDA_ERROR_INVALID_DEVICE"},
                                                    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
                                                    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}};
  auto found = names.find(error);
  *name = found == names.end() ? "CUDA_ERROR_OF_THE_TEST" : found->second;
  return 0;
}
extern "C" int cuGetErrorString(int, const char **text) {
  *text = "as the test asked";
  return 0;
}

// ---- what tests ask and say

extern "C" const char *host_calls() {
  return calls.c_str();
}
extern "C" void host_reset() {
  std::lock_guard<std::mutex> guard(asking);
  calls.clear(), failures.clear(), attributes.clear(), order = 0;
}
extern "C" void host_fail(const char *name, int error) {
  std::lock_guard<std::mutex> guard(asking);
  failures[name] = error;
}
extern "C" void host_attribute(const char *number, int value) {
  attributes[number] = value;
}
extern "C" void host_order(int which) {
  order = which;
}
extern "C" int host_owned() {
  return (int)owned.size() + contexts;
}
