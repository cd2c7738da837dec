/* Bidirectional attention of the flow estimator: rotary positions, softmax(q k^T / sqrt(d)) v, no mask, several rows of a batch.
 *
 * K and V of every head are rewritten once as weight panels (gemm.h), then 48 queries at a time run two small matrix products
 * whose scores (48 x T floats, 130 kB at T = 688) stay in L2. bf16 operands, float sums; the f32 kind is for the exact setting.
 */
#define QUERY_ROWS 48
#define HEAD_MAX 128

typedef struct {
    const float *qkv; /* [batch * t, 3 * heads * d] */
    int32_t batch, t, heads, d, kind;
    const float *cosine, *sine; /* [t, d / 2], interleaved pairs (2j, 2j + 1) */
    void *k_panels, *v_panels;  /* [batch, heads, t_pad, d_pad] and [batch, heads, d_pad, t_pad] in the kind's panel order */
    operand_t out;              /* [batch * t, heads * d] */
    float *rows;                /* [batch * t, heads * d]: attention's result, before it is written as an operand */
} attend_t;

INLINE int up16(int n) { return (n + 15) & ~15; }

static void rotate(const attend_t *s, const float *x, int t, float *y) {
    const float *c = s->cosine + (long)t * (s->d / 2), *n = s->sine + (long)t * (s->d / 2);
    for (int j = 0; j < s->d / 2; j++) {
        float a = x[2 * j], b = x[2 * j + 1];
        y[2 * j] = a * c[j] - b * n[j];
        y[2 * j + 1] = b * c[j] + a * n[j];
    }
}

/* Write x[0..count) as column `n`, rows k0.. of a panel set: the order of a weight whose output channel is n. */
INLINE void put_column(int kind, void *panels, long k_pad, long n, long k0, const float *x, int count) {
    if (kind == F32) {
        float *to = (float *)panels + (n / 16 * k_pad + k0) * 16 + n % 16;
        for (int j = 0; j < count; j++) to[(long)j * 16] = x[j];
        return;
    }
    uint16_t *to = (uint16_t *)panels + (n / 16 * k_pad + k0) * 16 + n % 16 * 2;
    for (int j = 0; j < count; j += 16) {
        v16 part = splat(0);
        for (int i = 0; i < 16 && j + i < count; i++) part[i] = x[j + i];
        h16 bits = to_bf16(part);
        for (int i = 0; i < 16 && j + i < count; i++) to[(long)((j + i) / 2) * 32 + ((j + i) & 1)] = bits[i];
    }
}

/* Write x[0..count) as row `k` of a panel set: one input value of all output channels. */
INLINE void put_line(int kind, void *panels, long k_pad, long k, const float *x, int count) {
    for (int n = 0; n < count; n += 16) {
        int lanes = count - n < 16 ? count - n : 16;
        if (kind == F32) {
            memcpy((float *)panels + (n / 16 * k_pad + k) * 16, x + n, sizeof(float) * lanes);
            continue;
        }
        v16 part = splat(0);
        memcpy(&part, x + n, sizeof(float) * lanes);
        h16 bits = to_bf16(part);
        uint16_t *to = (uint16_t *)panels + (n / 16 * k_pad + (k & ~1L)) * 16 + (k & 1);
        for (int i = 0; i < lanes; i++) to[2 * i] = bits[i];
    }
}

static void attend_pack_unit(void *arg, int unit) {
    const attend_t *s = arg;
    const int size = s->kind == F32 ? 4 : 2, t_pad = up16(s->t), d_pad = up16(s->d);
    const int b = unit / s->heads, h = unit % s->heads, width = s->heads * s->d;
    char *kp = (char *)s->k_panels + (long)unit * t_pad * d_pad * size, *vp = (char *)s->v_panels + (long)unit * t_pad * d_pad * size;
    memset(kp, 0, (long)t_pad * d_pad * size);
    memset(vp, 0, (long)t_pad * d_pad * size);
    float y[HEAD_MAX];
    for (int t = 0; t < s->t; t++) {
        const float *x = s->qkv + ((long)b * s->t + t) * 3 * width + h * s->d;
        rotate(s, x + width, t, y);
        put_column(s->kind, kp, d_pad, t, 0, y, s->d);
        put_line(s->kind, vp, t_pad, t, x + 2 * width, s->d);
    }
}

/* c[rows, n_pad] = a[rows, k_pad] times panels, 64 columns at a time through the tiles of gemm.h. */
static void small_product(int kind, const void *a, const void *panels, int rows, int k_pad, int n_pad, float *c, int ldc) {
    weight_t w = {kind, n_pad, n_pad, k_pad, 1, k_pad, panels, NULL, NULL};
    gemm_t g = {&w, {a, NULL, NULL}, NULL, NULL, rows, 1, 0, 0, 0, 0, n_pad / 16};
    float tile_c[QUERY_ROWS * 64] __attribute__((aligned(64)));
    for (int panel = 0; panel < g.panels; panel += PANEL_MAX) {
        int panels_now = g.panels - panel < PANEL_MAX ? g.panels - panel : PANEL_MAX;
        memset(tile_c, 0, sizeof(float) * 64 * rows);
        if (panels_now == 4) tiles_4(&g, 0, rows, panel, 0, 0, tile_c);
        else if (panels_now == 3) tiles_3(&g, 0, rows, panel, 0, 0, tile_c);
        else if (panels_now == 2) tiles_2(&g, 0, rows, panel, 0, 0, tile_c);
        else tiles_1(&g, 0, rows, panel, 0, 0, tile_c);
        for (int m = 0; m < rows; m++) memcpy(c + (long)m * ldc + panel * 16, tile_c + m * 64, sizeof(float) * 16 * panels_now);
    }
}

/* scores[0..t) -> e^(s - max), the tail of the row up to t_pad to zero; returns one over the sum. */
static float soften(float *scores, int t, int t_pad) {
    for (int i = t; i < t_pad; i++) scores[i] = -INFINITY;
    v16 top = splat(-INFINITY), total = splat(0);
    for (int i = 0; i < t_pad; i += 16) top = vmax(top, load(scores + i));
    v16 m = splat(hmax(top));
    for (int i = 0; i < t_pad; i += 16) {
        v16 e = vexp(load(scores + i) - m);
        store(scores + i, e);
        total += e;
    }
    float sum = hsum(total);
    for (int i = t; i < t_pad; i++) sum -= scores[i], scores[i] = 0;
    return 1.f / sum;
}

static void attend_unit(void *arg, int unit) {
    const attend_t *s = arg;
    const int blocks = (s->t + QUERY_ROWS - 1) / QUERY_ROWS, head = unit / blocks, first = unit % blocks * QUERY_ROWS;
    const int rows = s->t - first < QUERY_ROWS ? s->t - first : QUERY_ROWS;
    const int size = s->kind == F32 ? 4 : 2, t_pad = up16(s->t), d_pad = up16(s->d), width = s->heads * s->d;
    const int b = head / s->heads, h = head % s->heads;
    float *scores = (float *)__builtin_alloca_with_align(sizeof(float) * QUERY_ROWS * t_pad, 512);
    char *weights = (char *)__builtin_alloca_with_align((long)size * QUERY_ROWS * t_pad, 512);
    char queries[QUERY_ROWS * HEAD_MAX * 4] __attribute__((aligned(64)));
    float values[QUERY_ROWS * HEAD_MAX] __attribute__((aligned(64)));
    float row[HEAD_MAX], inverse[QUERY_ROWS];
    const operand_t q = {queries, NULL, NULL, s->kind, s->d, d_pad, d_pad}, p = {weights, NULL, NULL, s->kind, t_pad, t_pad, t_pad};
    for (int i = 0; i < rows; i++) {
        rotate(s, s->qkv + ((long)b * s->t + first + i) * 3 * width + h * s->d, first + i, row);
        for (int j = 0; j < s->d; j++) row[j] *= 1.f / sqrtf((float)s->d);
        put_row(&q, i, row);
    }
    small_product(s->kind, queries, (char *)s->k_panels + (long)head * t_pad * d_pad * size, rows, d_pad, t_pad, scores, t_pad);
    for (int i = 0; i < rows; i++) {
        inverse[i] = soften(scores + (long)i * t_pad, s->t, t_pad);
        put_row(&p, i, scores + (long)i * t_pad);
    }
    small_product(s->kind, weights, (char *)s->v_panels + (long)head * t_pad * d_pad * size, rows, t_pad, d_pad, values, d_pad);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < s->d; j++)
            s->rows[((long)b * s->t + first + i) * width + h * s->d + j] = values[i * d_pad + j] * inverse[i];
}

static void run_attention(attend_t *s) {
    const int blocks = (s->t + QUERY_ROWS - 1) / QUERY_ROWS;
    parallel_for(attend_pack_unit, s, s->batch * s->heads);
    parallel_for(attend_unit, s, s->batch * s->heads * blocks);
    pass_t copy = {COPY, s->rows, (long)s->batch * s->t, s->heads * s->d, NULL, NULL, 0, s->out, 0};
    run_pass(&copy);
}
