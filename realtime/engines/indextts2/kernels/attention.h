/* Bidirectional attention of the flow estimator: rotary positions, softmax(q k^T / sqrt(d)) v, no mask, several rows of a batch.
 *
 * K and V of every head are rewritten once as weight panels (gemm.h), then 48 queries at a time run two small matrix products
 * whose scores (48 x T floats, 130 kB at T = 688) stay in L2. bf16 operands, float sums; the f32 kind is for the exact setting.
 */
#define QUERY_ROWS 48
#define HEAD_MAX 256

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

/* Write up to 16 rotated keys as one panel of a weight: output channel = key, [d_pad / q][16][q]. Absent keys are zero. */
static void pack_keys(const attend_t *s, const float *x, long ldx, int t, int d_pad, char *panel) {
    float rows[16][HEAD_MAX] __attribute__((aligned(64)));
    memset(rows, 0, sizeof rows);
    for (int i = 0; i < 16 && t + i < s->t; i++) rotate(s, x + i * ldx, t + i, rows[i]);
    if (s->kind == F32) {
        for (int j = 0; j < d_pad; j++)
            for (int i = 0; i < 16; i++) ((float *)panel)[j * 16 + i] = rows[i][j];
        return;
    }
    uint32_t pairs[16][HEAD_MAX / 2]; /* two bf16 of one key: the unit that moves */
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < d_pad; j += 16) *(h16u *)((uint16_t *)pairs[i] + j) = (h16u)to_bf16(load(rows[i] + j));
    for (int j = 0; j < d_pad / 2; j++)
        for (int i = 0; i < 16; i++) ((uint32_t *)panel)[j * 16 + i] = pairs[i][j];
}

/* Write values of positions t and t + 1 into the panels of a weight: output channel = channel, input = position. */
static void pack_values(const attend_t *s, const float *x, long ldx, int t, int t_pad, int d_pad, char *panels) {
    for (int n = 0; n < d_pad; n += 16) {
        const int lanes = s->d - n < 16 ? s->d - n : 16;
        v16 first = splat(0), second = splat(0);
        memcpy(&first, x + n, sizeof(float) * lanes);
        if (t + 1 < s->t) memcpy(&second, x + ldx + n, sizeof(float) * lanes);
        const long at = ((long)n / 16 * t_pad + t) * 16;
        if (s->kind == F32) {
            store((float *)panels + at, first);
            store((float *)panels + at + 16, second);
        } else {
            u16x low = __builtin_convertvector(to_bf16(first), u16x), high = __builtin_convertvector(to_bf16(second), u16x);
            u16x both = low | (high << 16);
            memcpy((uint16_t *)panels + at, &both, 64);
        }
    }
}

static void attend_pack_unit(void *arg, int unit) {
    const attend_t *s = arg;
    const int size = s->kind == F32 ? 4 : 2, t_pad = up16(s->t), d_pad = up16(s->d);
    const int b = unit / s->heads, h = unit % s->heads, width = s->heads * s->d;
    const long bytes = (long)t_pad * d_pad * size;
    char *kp = (char *)s->k_panels + unit * bytes, *vp = (char *)s->v_panels + unit * bytes;
    const float *x = s->qkv + (long)b * s->t * 3 * width + h * s->d;
    memset(vp, 0, bytes);
    for (int t = 0; t < s->t; t += 16) pack_keys(s, x + (long)t * 3 * width + width, 3 * width, t, d_pad, kp + (long)t * d_pad * size);
    for (int t = 0; t < s->t; t += 2) pack_values(s, x + (long)t * 3 * width + 2 * width, 3 * width, t, t_pad, d_pad, vp);
}

/* c[rows, n_pad] = a[rows, k_pad] times panels, 64 columns at a time through the tiles of gemm.h. */
static void small_product(int kind, const void *a, const void *panels, int rows, int k_pad, int n_pad, float *c, int ldc) {
    weight_t w = {kind, n_pad, n_pad, k_pad, 1, k_pad, panels, NULL, NULL};
    gemm_t g = {.w = &w, .in = {.a = a}, .rows = rows, .panels = n_pad / 16};
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

/* The same, written as bf16 with a rougher exponential (1e-4, bf16 rounds at 4e-3). */
static float soften_bf16(const float *scores, int t, int t_pad, uint16_t *weights) {
    v16 top = splat(-INFINITY), total = splat(0);
    int i = 0;
    for (; i + 16 <= t; i += 16) top = vmax(top, load(scores + i));
    float largest = hmax(top);
    for (; i < t; i++) largest = scores[i] > largest ? scores[i] : largest;
    v16 m = splat(largest);
    for (i = 0; i + 16 <= t; i += 16) {
        v16 e = vexp_rough(load(scores + i) - m);
        *(h16u *)(weights + i) = (h16u)to_bf16(e);
        total += e;
    }
    float sum = hsum(total);
    for (; i < t_pad; i++) {
        v16 e = i < t ? vexp_rough(splat(scores[i]) - m) : splat(0);
        weights[i] = to_bf16(e)[0];
        sum += e[0];
    }
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
        if (s->kind == BF16) {
            inverse[i] = soften_bf16(scores + (long)i * t_pad, s->t, t_pad, (uint16_t *)weights + (long)i * t_pad);
        } else {
            inverse[i] = soften(scores + (long)i * t_pad, s->t, t_pad);
            put_row(&p, i, scores + (long)i * t_pad);
        }
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
