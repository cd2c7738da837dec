/* A small team of threads that shares loops, made for a machine where somebody else may be running too.
 *
 * The caller publishes a loop of `units`; it and the helpers take units one by one, so a helper that the kernel has put aside
 * delays at most the unit it holds. Helpers spin for some tens of microseconds between loops and then sleep on a futex: nothing
 * spins while the engine is idle. Loops are published by one thread at a time (`pool_lock`).
 *
 * The ticket holds the loop's number (high 32 bits) and the next unit (low 32 bits); a unit is taken by compare-and-swap, which
 * fails when the loop is another one by now. That makes it safe to read the loop's description without a lock beforehand.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_THREADS 64
#define SPINS 4000 /* about 50 us of pause instructions; measured, see ops/LOG.md */

/* A solo thread runs its loops alone and beside the pool: decoding waits for memory while the sound stages compute. */
static _Thread_local int solo = 0;

typedef void (*unit_fn)(void *arg, int unit);

static struct {
    _Atomic uint64_t ticket;
    _Atomic(unit_fn) fn;
    _Atomic(void *) arg;
    _Atomic int units;
    _Atomic int done;
    _Atomic int sleepers;
    _Atomic uint32_t bell;
    int threads;
    int started;
    pthread_mutex_t lock;
    pthread_t ids[MAX_THREADS];
} pool = {.threads = 1, .started = 1, .lock = PTHREAD_MUTEX_INITIALIZER};

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("" ::: "memory");
#endif
}

/* Take units of the loop that runs now until there are none; returns how many were done. */
static int take_units(void) {
    int taken = 0;
    for (;;) {
        uint64_t ticket = atomic_load(&pool.ticket);
        int units = atomic_load(&pool.units); /* before fn and arg: new units are stored after them */
        unit_fn fn = atomic_load(&pool.fn);
        void *arg = atomic_load(&pool.arg);
        uint32_t unit = (uint32_t)ticket;
        if ((int)unit >= units) return taken;
        if (!atomic_compare_exchange_weak(&pool.ticket, &ticket, ticket + 1)) continue;
        fn(arg, (int)unit);
        atomic_fetch_add(&pool.done, 1);
        taken++;
    }
}

static void *helper_main(void *index_as_pointer) {
    long index = (long)index_as_pointer;
    for (;;) {
        uint32_t heard = atomic_load(&pool.bell);
        int spins = 0;
        while (index < pool.threads && spins < SPINS) {
            if (take_units())
                spins = 0;
            else
                spins++, pause_cpu();
        }
        atomic_fetch_add(&pool.sleepers, 1);
        uint64_t ticket = atomic_load(&pool.ticket);
        if (index >= pool.threads || (int)(uint32_t)ticket >= atomic_load(&pool.units))
            syscall(SYS_futex, &pool.bell, FUTEX_WAIT_PRIVATE, heard, NULL, NULL, 0);
        atomic_fetch_sub(&pool.sleepers, 1);
    }
    return NULL;
}

/* Run fn(arg, 0..units-1), shared among the threads; returns when all are done. Not reentrant: hold pool.lock. */
static void parallel_for(unit_fn fn, void *arg, int units) {
    if (units <= 1 || solo || pool.threads == 1) {
        for (int i = 0; i < units; i++) fn(arg, i);
        return;
    }
    uint32_t number = (uint32_t)(atomic_load(&pool.ticket) >> 32) + 1;
    atomic_store(&pool.units, 0); /* nobody may pair the new description with the old ticket */
    atomic_store(&pool.ticket, (uint64_t)number << 32);
    atomic_store(&pool.done, 0);
    atomic_store(&pool.fn, fn);
    atomic_store(&pool.arg, arg);
    atomic_store(&pool.units, units);
    if (atomic_load(&pool.sleepers)) {
        atomic_fetch_add(&pool.bell, 1);
        syscall(SYS_futex, &pool.bell, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0);
    }
    take_units();
    for (int spins = 0; atomic_load(&pool.done) < units; spins++) {
        if (spins < 200)
            pause_cpu();
        else
            sched_yield(); /* the helper may be waiting for this very core */
    }
}

/* Set how many threads share the work, the caller included. Threads are only ever added; spare ones sleep. */
void rt_set_threads(int threads) {
    if (threads < 1) threads = 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    pthread_mutex_lock(&pool.lock);
    while (pool.started < threads) {
        if (pthread_create(&pool.ids[pool.started], NULL, helper_main, (void *)(long)pool.started)) break;
        pool.started++;
    }
    pool.threads = threads < pool.started ? threads : pool.started;
    pthread_mutex_unlock(&pool.lock);
}

void rt_solo(int on) { solo = on; }
int rt_threads(void) { return pool.threads; }
