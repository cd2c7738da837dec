/* All transformer blocks of the GPT over any mix of rows: one row per decoding job, or many positions of a prompt.
 *
 * K/V live in pages of PAGE positions, [page][layer][k or v][head][PAGE][d], half floats (or f32 for the exact setting): a job's
 * pages are listed in its row of `tables`, so jobs come and go without a copy, and a voice's prefix pages are shared by all
 * jobs that speak with it. Row r stands at `positions[r]` and sees positions 0..positions[r] of its own table; rows of one prompt
 * see each other because every layer stores all keys before anybody attends.
 *
 * Cost of one row at int4: 240 MB of weights, and 2 * 24 * 1280 half floats of K/V per past position, read once each.
 */
#define PAGE 32

typedef struct {
    const float *ln1_gain, *ln1_shift, *ln2_gain, *ln2_shift;
    const weight_t *qkv, *proj, *fc, *fc_proj;
} block_t;

typedef struct {
    const block_t *blocks;
    int32_t layers, heads, d, width, inner, kv_kind; /* kv_kind: F32, or BF16 standing for half floats */
    void *kv;
    const int32_t *tables; /* [rows, table_stride] page numbers */
    int32_t table_stride;
    const int32_t *positions; /* [rows] */
    int32_t rows;
    float *x;                 /* [rows, width], in and out */
    float *wide;              /* [rows, max(3 * width, inner)] */
    float *attended;          /* [rows, width] */
    void *operand_a;          /* [rows, max k_pad] in the weights' activation type */
    float *operand_scale;
    int32_t *operand_sum;
    int32_t layer;
} gpt_t;

INLINE long page_at(const gpt_t *g, long page, int kv, int head) {
    return (((page * g->layers + g->layer) * 2 + kv) * g->heads + head) * PAGE * g->d;
}

static void keep_unit(void *arg, int r) {
    const gpt_t *g = arg;
    const int p = g->positions[r], slot = p % PAGE;
    const long page = g->tables[(long)r * g->table_stride + p / PAGE];
    for (int kv = 0; kv < 2; kv++)
        for (int h = 0; h < g->heads; h++) {
            const float *x = g->wide + (long)r * 3 * g->width + (kv + 1) * g->width + h * g->d;
            long at = page_at(g, page, kv, h) + (long)slot * g->d;
            if (g->kv_kind == F32) {
                memcpy((float *)g->kv + at, x, sizeof(float) * g->d);
                continue;
            }
            uint16_t *to = (uint16_t *)g->kv + at;
            int i = 0;
            for (; i + 16 <= g->d; i += 16) *(h16u *)(to + i) = (h16u)to_f16(load(x + i));
            for (; i < g->d; i++) to[i] = to_f16(splat(x[i]))[0];
        }
}

INLINE v16 kv_load(const gpt_t *g, long at) {
    return g->kv_kind == F32 ? load((const float *)g->kv + at) : from_f16(*(const h16u *)((const uint16_t *)g->kv + at));
}
INLINE float kv_scalar(const gpt_t *g, long at) {
    if (g->kv_kind == F32) return ((const float *)g->kv)[at];
    h16 x = {((const uint16_t *)g->kv)[at]};
    return from_f16(x)[0];
}

/* One head of one row: scores over all pages, softmax, weighted sum of values. */
static void recall_unit(void *arg, int unit) {
    const gpt_t *g = arg;
    const int r = unit / g->heads, h = unit % g->heads, d = g->d, seen = g->positions[r] + 1;
    const int32_t *table = g->tables + (long)r * g->table_stride;
    const float *q = g->wide + (long)r * 3 * g->width + h * d;
    float *scores = (float *)__builtin_alloca_with_align(sizeof(float) * (up16(seen) + 16), 512);
    float *out = g->attended + (long)r * g->width + h * d;
    const float factor = 1.f / sqrtf((float)d);
    const int vectors = d / 16;
    for (int t = 0; t < seen; t++) {
        long at = page_at(g, table[t / PAGE], 0, h) + (long)(t % PAGE) * d;
        v16 s = splat(0);
        for (int i = 0; i < vectors; i++) s += load(q + i * 16) * kv_load(g, at + i * 16);
        float dot = hsum(s);
        for (int i = vectors * 16; i < d; i++) dot += q[i] * kv_scalar(g, at + i);
        scores[t] = dot * factor;
    }
    float inverse = soften(scores, seen, up16(seen));
    v16 sum[HEAD_MAX / 16];
    float rest[16] = {0};
    for (int i = 0; i < vectors; i++) sum[i] = splat(0);
    for (int t = 0; t < seen; t++) {
        long at = page_at(g, table[t / PAGE], 1, h) + (long)(t % PAGE) * d;
        for (int i = 0; i < vectors; i++) sum[i] += scores[t] * kv_load(g, at + i * 16);
        for (int i = vectors * 16; i < d; i++) rest[i - vectors * 16] += scores[t] * kv_scalar(g, at + i);
    }
    for (int i = 0; i < vectors; i++) store(out + i * 16, sum[i] * inverse);
    for (int i = vectors * 16; i < d; i++) out[i] = rest[i - vectors * 16] * inverse;
}

static operand_t operand_for(const gpt_t *g, const weight_t *w, int k) {
    return (operand_t){g->operand_a, g->operand_scale, g->operand_sum, w->kind, k, w->k_pad, w->group};
}

static void gpt_product(const gpt_t *g, int what, const float *x, int k, const float *gain, const float *shift, const weight_t *w,
                        float *out, int flags) {
    pass_t pass = {what, x, g->rows, k, gain, shift, 1e-5f, operand_for(g, w, k), 0};
    if (g->rows == 1) pass_row(&pass, 0); /* one row: not worth waking anybody */
    else run_pass(&pass);
    gemm(w, (act_t){g->operand_a, g->operand_scale, g->operand_sum}, out, NULL, g->rows, 1, 0, w->n, flags);
}

static void run_gpt(gpt_t *g) {
    for (g->layer = 0; g->layer < g->layers; g->layer++) {
        const block_t *b = &g->blocks[g->layer];
        gpt_product(g, LAYER_NORM, g->x, g->width, b->ln1_gain, b->ln1_shift, b->qkv, g->wide, 0);
        parallel_for(keep_unit, g, g->rows);
        parallel_for(recall_unit, g, g->rows * g->heads);
        gpt_product(g, COPY, g->attended, g->width, NULL, NULL, b->proj, g->x, ACCUMULATE);
        gpt_product(g, LAYER_NORM, g->x, g->width, b->ln2_gain, b->ln2_shift, b->fc, g->wide, GELU);
        gpt_product(g, COPY, g->wide, g->inner, NULL, NULL, b->fc_proj, g->x, ACCUMULATE);
    }
}
