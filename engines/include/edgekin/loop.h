/* loop.h - part of edgekin.h: frames in, verdicts out, a thousand times a second. */

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
