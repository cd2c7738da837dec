/* Kernels of the IndexTTS-2 runtime: what decides its speed and numpy can't do well. Compiled on the host that runs it, see build.py.
 *
 * Every entry point takes the pool's lock, so calls from several threads queue up; solo threads go their own way. Nothing allocates; buffers belong to the caller.
 */
#define _GNU_SOURCE
#include "pool.h"
#include "vec.h"
#include "gemm.h"
#include "rows.h"
#include "snake.h"
#include "attention.h"
#include "gpt.h"

#define LOCKED(call)                   \
    do {                               \
        if (!solo) pthread_mutex_lock(&pool.lock); \
        call;                          \
        if (!solo) pthread_mutex_unlock(&pool.lock); \
    } while (0)

void rt_gemm(const weight_t *w, const act_t *in, float *out, const float *addend, long rows, long dilation, long ldo, int flags) {
    LOCKED(gemm(w, *in, out, addend, rows, dilation, ldo, flags));
}
void rt_pass(const pass_t *pass) { LOCKED(run_pass(pass)); }
void rt_snake(const snake_t *snake) { LOCKED(run_snake(snake)); }
void rt_attention(attend_t *attend) { LOCKED(run_attention(attend)); }
void rt_gpt(gpt_t *gpt) { LOCKED(run_gpt(gpt)); }

/* Which instructions this build uses: bit 0 AVX-512, 1 VNNI, 2 bf16. */
int rt_features(void) {
    int bits = 0;
#if defined(__AVX512F__)
    bits |= 1;
#endif
#if defined(__AVX512VNNI__)
    bits |= 2;
#endif
#if defined(__AVX512BF16__)
    bits |= 4;
#endif
    return bits;
}
/* Size of each argument struct, so that the caller can check that both sides agree on the layout. */
int rt_layout(int which) {
    static const int sizes[] = {sizeof(weight_t), sizeof(act_t), sizeof(pass_t), sizeof(snake_t), sizeof(attend_t), sizeof(gpt_t),
                                sizeof(block_t), PAGE};
    return sizes[which];
}
