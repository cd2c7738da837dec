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

INLINE v16 kv_load(const int kind, const void *page, int at) {
    return kind == F32 ? load((const float *)page + at) : from_f16(*(const h16u *)((const uint16_t *)page + at));
}
INLINE float kv_scalar(const int kind, const void *page, int at) {
    if (kind == F32) return ((const float *)page)[at];
    h16 x = {((const uint16_t *)page)[at]};
    return from_f16(x)[0];
}
INLINE const void *kv_page(const gpt_t *g, const int kind, const int32_t *table, int index, int kv, int head) {
    return (const char *)g->kv + page_at(g, table[index], kv, head) * (kind == F32 ? 4 : 2);
}

/* Ask for one position of a page while another one is used: a head's share of a page is 4 kB official, too short for the hardware to
 * see a stream in it. */
INLINE void ask_position(const int kind, const void *page, int at, int d) {
    const char *p = (const char *)page + (long)at * d * (kind == F32 ? 4 : 2);
    for (int i = 0; i < d * (kind == F32 ? 4 : 2); i += 64) __builtin_prefetch(p + i, 0, 3);
}

/* One head of one row: scores over all pages, softmax, weighted sum of values. `vectors` whole vectors of 16 per head; the rest by
 * scalars. Kind and width are constants in each copy, so that the sums stay in registers. */
INLINE void recall(const gpt_t *g, int unit, const int kind, const int vectors) {
    const int r = unit / g->heads, h = unit % g->heads, d = g->d, seen = g->positions[r] + 1;
    const int32_t *table = g->tables + (long)r * g->table_stride;
    const float *q = g->wide + (long)r * 3 * g->width + h * d;
    float *scores = (float *)__builtin_alloca_with_align(sizeof(float) * (up16(seen) + 16), 512);
    float *out = g->attended + (long)r * g->width + h * d;
    const float factor = 1.f / sqrtf((float)d);
    v16 query[HEAD_MAX / 16], sum[HEAD_MAX / 16];
    float rest[16] = {0};
    for (int i = 0; i < vectors; i++) query[i] = load(q + i * 16) * factor, sum[i] = splat(0);
    for (int first = 0; first < seen; first += PAGE) {
        const void *page = kv_page(g, kind, table, first / PAGE, 0, h);
        const void *next = first + PAGE < seen ? kv_page(g, kind, table, first / PAGE + 1, 0, h) : kv_page(g, kind, table, 0, 1, h);
        const int count = seen - first < PAGE ? seen - first : PAGE;
        for (int t = 0; t < count; t++) {
            v16 s = splat(0);
            ask_position(kind, next, t, d);
            for (int i = 0; i < vectors; i++) s += query[i] * kv_load(kind, page, t * d + i * 16);
            float dot = hsum(s);
            for (int i = vectors * 16; i < d; i++) dot += q[i] * factor * kv_scalar(kind, page, t * d + i);
            scores[first + t] = dot;
        }
    }
    float inverse = soften(scores, seen, up16(seen));
    for (int first = 0; first < seen; first += PAGE) {
        const void *page = kv_page(g, kind, table, first / PAGE, 1, h);
        const void *next = first + PAGE < seen ? kv_page(g, kind, table, first / PAGE + 1, 1, h) : kv_page(g, kind, table, 0, 0, (h + 1) % g->heads);
        const int count = seen - first < PAGE ? seen - first : PAGE;
        for (int t = 0; t < count; t++) {
            const float weight = scores[first + t];
            ask_position(kind, next, t, d);
            for (int i = 0; i < vectors; i++) sum[i] += weight * kv_load(kind, page, t * d + i * 16);
            for (int i = vectors * 16; i < d; i++) rest[i - vectors * 16] += weight * kv_scalar(kind, page, t * d + i);
        }
    }
    for (int i = 0; i < vectors; i++) store(out + i * 16, sum[i] * inverse);
    for (int i = vectors * 16; i < d; i++) out[i] = rest[i - vectors * 16] * inverse;
}

static void recall_unit(void *arg, int unit) {
    const gpt_t *g = arg;
    if (g->kv_kind != F32 && g->d == 64) recall(g, unit, BF16, 4); /* the official width */
    else if (g->kv_kind == F32 && g->d == 64) recall(g, unit, F32, 4);
    else recall(g, unit, g->kv_kind, g->d / 16);
}

static operand_t operand_for(const gpt_t *g, const weight_t *w, int k) {
    return (operand_t){g->operand_a, g->operand_scale, g->operand_sum, w->kind, k, w->k_pad, w->group};
}

static void gpt_product(const gpt_t *g, int what, const float *x, int k, const float *gain, const float *shift, const weight_t *w,
                        float *out, int flags) {
    pass_t pass = {what, x, g->rows, k, gain, shift, 1e-5f, operand_for(g, w, k), 0};
    if (g->rows == 1) pass_row(&pass, 0); /* one row: not worth waking anybody */
    else run_pass(&pass);
    gemm(w, (act_t){g->operand_a, g->operand_scale, g->operand_sum}, out, NULL, g->rows, 0, w->n, flags);
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
