/* out[M, N] (+)= conv(A[M', K]) W + bias, for four kinds of weights, blocked for the caches and shared among threads.
 *
 * A 1-D convolution is `taps` matrix products whose A is the same buffer shifted by `dilation` rows per tap: nothing is copied
 * (the buffer is time-major and carries its own zero or reflected padding rows). A plain linear layer has one tap.
 *
 * Weights lie in panels of 16 output channels, [N/16][tap][K/q][16][q], q = 1 (f32), 2 (bf16), 4 (8 bit), 8 (4 bit, low nibbles
 * are the first four), so one 64-byte load feeds one dot-product instruction. Quantised weights are unsigned with a fixed
 * zero point; activations are signed 8 bit with one scale per row and group of K, so
 *     out = sum over groups of (int dot - zero * sum of activations) * activation scale * weight scale.
 * Every output row is computed by the same sequence of operations whatever the other rows are: a batch equals its rows alone,
 * bit for bit.
 *
 * Instructions per 16 outputs and step: vfmadd (1 product), vdpbf16ps (2), vpdpbusd (4). A tile of 6 x 4 vectors keeps 24
 * accumulators in registers; a unit is one row block by 64 channels, whose weights (64..128 kB per K block) stay in L2.
 *
 * With few rows the weights come from memory and decide the time. Then a unit walks its panels one after the other, which is one
 * contiguous stream, and asks for what lies AHEAD bytes on, past the caches that the sound stages use beside it (LOG).
 */
enum { F32 = 0, BF16 = 1, Q8 = 2, Q4 = 3 };

typedef struct {
    int32_t kind, n, n_pad, k_pad, taps, group;
    const void *w;
    const uint16_t *scale; /* bf16 [N/16][taps][k_pad / group][16], quantised kinds only */
    const float *bias;     /* [n_pad] or NULL */
} weight_t;

typedef struct {
    const void *a;      /* [rows, k_pad] in the weight's activation type */
    const float *scale; /* [rows, k_pad / group], quantised kinds only */
    const int32_t *sum; /* the same shape */
} act_t;

#define ROW_BLOCK 96
#define PANEL_MAX 4
#define FEW_ROWS 8 /* a batch of decoding jobs: streamed */
#define AHEAD 6144 /* bytes; measured with 2048 to 8192, see ops/LOG.md */
#define ACCUMULATE 1 /* add to what `out` holds */
#define GELU 2       /* the tanh approximation, after the bias */
#define GATED_SILU 4 /* panels come in pairs, out = silu(first) * second, half as many columns */
#define GATED_TANH 8 /* the same with tanh(first) * sigmoid(second) */

static const int activation_bytes[4] = {4, 2, 1, 1};

/* ---- dot products of MR rows with NR panels over one K block; results go to (or are added to) the tile c[MR][64] ---- */

#define TILE_HEAD                                     \
    v16 acc[12][PANEL_MAX];                           \
    _Pragma("GCC unroll 12") for (int m = 0; m < MR; m++) \
        _Pragma("GCC unroll 4") for (int n = 0; n < NR; n++)

/* Weights of a streamed tile, some time before they are needed. A hint only: the address may lie beyond the weights. */
INLINE void ask_ahead(const int MR, const int NR, const void *weights) {
    if (NR == 1 && MR <= FEW_ROWS) __builtin_prefetch((const char *)weights + AHEAD, 0, 0);
}

INLINE void tile_f32(const int MR, const int NR, const float *a, long lda, const float *b, long ldb, int k, float *c) {
    TILE_HEAD acc[m][n] = load(c + m * 64 + n * 16);
    for (int i = 0; i < k; i++) {
        v16 w[PANEL_MAX];
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) w[n] = load(b + n * ldb + i * 16);
        ask_ahead(MR, NR, b + i * 16);
#pragma GCC unroll 12
        for (int m = 0; m < MR; m++) {
            v16 x = splat(a[m * lda + i]);
#pragma GCC unroll 4
            for (int n = 0; n < NR; n++) acc[m][n] += x * w[n];
        }
    }
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) store(c + m * 64 + n * 16, acc[m][n]);
}

/* acc += the two products of each lane's bf16 pair; without the instruction: two fused multiply-adds. */
INLINE v16 dot_bf16(v16 acc, uint32_t pair, const uint16_t *w) {
#if defined(__AVX512BF16__)
    return (v16)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32((int)pair), (__m512bh)_mm512_loadu_si512(w));
#else
    u16x bits;
    memcpy(&bits, w, 64);
    acc += bf16_scalar((uint16_t)pair) * (v16)(bits << 16);
    return acc + bf16_scalar((uint16_t)(pair >> 16)) * (v16)(bits & 0xffff0000u);
#endif
}

INLINE void tile_bf16(const int MR, const int NR, const uint16_t *a, long lda, const uint16_t *b, long ldb, int k, float *c) {
    TILE_HEAD acc[m][n] = load(c + m * 64 + n * 16);
    for (int i = 0; i < k; i += 2) {
        ask_ahead(MR, NR, b + i * 16);
#pragma GCC unroll 12
        for (int m = 0; m < MR; m++) {
            uint32_t pair;
            memcpy(&pair, a + m * lda + i, 4);
#pragma GCC unroll 4
            for (int n = 0; n < NR; n++) acc[m][n] = dot_bf16(acc[m][n], pair, b + n * ldb + i * 16);
        }
    }
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) store(c + m * 64 + n * 16, acc[m][n]);
}

/* acc += the four products of unsigned weight and signed activation bytes in each lane. */
INLINE i16 dot_q8(i16 acc, uint32_t four, i16 w) {
#if defined(__AVX512VNNI__)
    return (i16)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)w, _mm512_set1_epi32((int)four));
#else
    for (int j = 0; j < 4; j++) acc += (i16)(((u16x)w >> (8 * j)) & 255u) * (int32_t)(int8_t)(four >> (8 * j));
    return acc;
#endif
}

INLINE void group_end(const int MR, const int NR, i16 acc[12][PANEL_MAX], int zero, const float *as, const int32_t *sum, long lds,
                      const uint16_t *ws, long ldws, float *c) {
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++) {
        int32_t correction = zero * sum[m * lds];
        v16 s = splat(as[m * lds]);
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) {
            v16 w = from_bf16(*(const h16u *)(ws + n * ldws));
            v16 dot = __builtin_convertvector(acc[m][n] - correction, v16);
            store(c + m * 64 + n * 16, load(c + m * 64 + n * 16) + dot * (s * w));
        }
    }
}

INLINE void tile_q8(const int MR, const int NR, const int8_t *a, long lda, const uint8_t *b, long ldb, int k, const float *as,
                    const int32_t *sum, long lds, const uint16_t *ws, long ldws, float *c) {
    i16 acc[12][PANEL_MAX];
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) acc[m][n] = (i16){0};
    for (int i = 0; i < k; i += 4) {
        i16 w[PANEL_MAX];
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) memcpy(&w[n], b + n * ldb + i * 16, 64);
        ask_ahead(MR, NR, b + i * 16);
#pragma GCC unroll 12
        for (int m = 0; m < MR; m++) {
            uint32_t four;
            memcpy(&four, a + m * lda + i, 4);
#pragma GCC unroll 4
            for (int n = 0; n < NR; n++) acc[m][n] = dot_q8(acc[m][n], four, w[n]);
        }
    }
    group_end(MR, NR, acc, 128, as, sum, lds, ws, ldws, c);
}

INLINE void tile_q4(const int MR, const int NR, const int8_t *a, long lda, const uint8_t *b, long ldb, int k, const float *as,
                    const int32_t *sum, long lds, const uint16_t *ws, long ldws, float *c) {
    const int two = MR * NR <= 4; /* sums of their own for the high halves: one chain per sum is too slow where there are few */
    i16 acc[12][PANEL_MAX], more[4][PANEL_MAX];
#pragma GCC unroll 12
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) {
            acc[m][n] = (i16){0};
            if (two) more[m][n] = (i16){0};
        }
    for (int i = 0; i < k; i += 8) {
        i16 low[PANEL_MAX], high[PANEL_MAX];
        ask_ahead(MR, NR, b + i * 8);
#pragma GCC unroll 4
        for (int n = 0; n < NR; n++) {
            i16 both;
            memcpy(&both, b + n * ldb + i * 8, 64);
            low[n] = both & 0x0f0f0f0f;
            high[n] = (i16)((u16x)both >> 4) & 0x0f0f0f0f;
        }
#pragma GCC unroll 12
        for (int m = 0; m < MR; m++) {
            uint32_t first, second;
            memcpy(&first, a + m * lda + i, 4);
            memcpy(&second, a + m * lda + i + 4, 4);
#pragma GCC unroll 4
            for (int n = 0; n < NR; n++) {
                acc[m][n] = dot_q8(acc[m][n], first, low[n]);
                if (two) more[m][n] = dot_q8(more[m][n], second, high[n]);
                else acc[m][n] = dot_q8(acc[m][n], second, high[n]);
            }
        }
    }
    if (two)
#pragma GCC unroll 12
        for (int m = 0; m < MR; m++)
#pragma GCC unroll 4
            for (int n = 0; n < NR; n++) acc[m][n] += more[m][n];
    group_end(MR, NR, acc, 8, as, sum, lds, ws, ldws, c);
}

/* ---- one unit: a block of rows by up to four panels, over all taps and K blocks ---- */

typedef struct {
    const weight_t *w;
    act_t in;
    float *out;
    const float *addend; /* [rows, ldo] or NULL: added to the result (a residual that must stay as it is) */
    long rows, dilation, ldo; /* output row m reads input row m + tap * dilation */
    int flags, groups, panels, row_blocks, is_weights_first;
} gemm_t;

INLINE void tile(const int MR, const int NR, const gemm_t *g, long row, int panel, int tap, int kb, float *c) {
    const weight_t *w = g->w;
    const long blocks = w->k_pad / w->group, k0 = (long)kb * w->group;
    const long at = row + tap * g->dilation, lda = w->k_pad;
    const long ldb = (long)w->taps * w->k_pad * 16, off = ((long)panel * w->taps + tap) * w->k_pad * 16 + k0 * 16;
    if (w->kind == F32) {
        tile_f32(MR, NR, (const float *)g->in.a + at * w->k_pad + k0, lda, (const float *)w->w + off, ldb, w->group, c);
    } else if (w->kind == BF16) {
        tile_bf16(MR, NR, (const uint16_t *)g->in.a + at * w->k_pad + k0, lda, (const uint16_t *)w->w + off, ldb, w->group, c);
    } else {
        const int8_t *a = (const int8_t *)g->in.a + at * w->k_pad + k0;
        const float *as = g->in.scale + at * blocks + kb;
        const int32_t *sum = g->in.sum + at * blocks + kb;
        const long ldws = w->taps * blocks * 16;
        const uint16_t *ws = w->scale + panel * ldws + (tap * blocks + kb) * 16;
        if (w->kind == Q8)
            tile_q8(MR, NR, a, lda, (const uint8_t *)w->w + off, ldb, w->group, as, sum, blocks, ws, ldws, c);
        else
            tile_q4(MR, NR, a, lda, (const uint8_t *)w->w + off / 2, ldb / 2, w->group, as, sum, blocks, ws, ldws, c);
    }
}

/* Fetch the lines of `out` that a tile will end in while it is computed; otherwise its stores wait for them at the end. */
INLINE void ask_out(const int MR, const int NR, const gemm_t *g, long row, int panel) {
    const long shift = g->flags & (GATED_SILU | GATED_TANH) ? 1 : 0;
    for (int m = 0; m < MR; m++)
        for (int n = 0; n < NR; n += 1 + (int)shift)
            __builtin_prefetch(g->out + (row + m) * g->ldo + ((panel + n) * 16L >> shift), 1, 3);
}

INLINE void tile_of(const int MR, const int NR, const gemm_t *g, long row, int panel, int tap, int kb, float *c) {
    if (g->out && tap == 0 && kb == 0) ask_out(MR, NR, g, row, panel);
    tile(MR, NR, g, row, panel, tap, kb, c);
}

#define TILES(NR, MAX)                                                                     \
    static void tiles_##NR(const gemm_t *g, long row, int rows, int panel, int tap, int kb, float *c) { \
        while (rows > 0) {                                                                 \
            int step;                                                                      \
            if (MAX >= 12 && rows >= 12) tile_of(12, NR, g, row, panel, tap, kb, c), step = 12; \
            else if (MAX >= 8 && rows >= 8) tile_of(8, NR, g, row, panel, tap, kb, c), step = 8; \
            else if (rows >= 6) tile_of(6, NR, g, row, panel, tap, kb, c), step = 6;          \
            else if (rows >= 4) tile_of(4, NR, g, row, panel, tap, kb, c), step = 4;          \
            else if (rows >= 2) tile_of(2, NR, g, row, panel, tap, kb, c), step = 2;          \
            else tile_of(1, NR, g, row, panel, tap, kb, c), step = 1;                         \
            row += step, rows -= step, c += step * 64;                                     \
        }                                                                                  \
    }
TILES(1, 12)
TILES(2, 12)
TILES(3, 8)
TILES(4, 6)

INLINE v16 vgelu(v16 x) { return x * vsigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x)); }

static void finish_gated(const gemm_t *g, const float *c, long row, int rows, int panel, int panels) {
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < panels; n += 2) {
            v16 a = load(c + m * 64 + n * 16), b = load(c + m * 64 + n * 16 + 16);
            if (g->w->bias) a += load(g->w->bias + (panel + n) * 16L), b += load(g->w->bias + (panel + n) * 16L + 16);
            v16 y = (g->flags & GATED_SILU) ? a * vsigmoid(a) * b : vtanh(a) * vsigmoid(b);
            store(g->out + (row + m) * g->ldo + (panel + n) * 8L, y);
        }
}

static void finish(const gemm_t *g, const float *c, long row, int rows, int panel, int panels) {
    if (g->flags & (GATED_SILU | GATED_TANH)) {
        finish_gated(g, c, row, rows, panel, panels);
        return;
    }
    for (int m = 0; m < rows; m++) {
        float *out = g->out + (row + m) * g->ldo;
        const float *addend = g->addend ? g->addend + (row + m) * g->ldo : NULL;
        for (int n = 0; n < panels; n++) {
            long at = (panel + n) * 16L;
            v16 x = load(c + m * 64 + n * 16);
            if (g->w->bias) x += load(g->w->bias + at);
            if (g->flags & GELU) x = vgelu(x);
            if (at + 16 <= g->w->n) {
                if (addend) x += load(addend + at);
                store(out + at, (g->flags & ACCUMULATE) ? load(out + at) + x : x);
            } else {
                for (int i = 0; at + i < g->w->n; i++)
                    out[at + i] = ((g->flags & ACCUMULATE) ? out[at + i] : 0) + x[i] + (addend ? addend[at + i] : 0);
            }
        }
    }
}

static void gemm_unit(void *arg, int unit) {
    const gemm_t *g = arg;
    float c[ROW_BLOCK * 64] __attribute__((aligned(64)));
    long row = (long)(g->is_weights_first ? unit % g->row_blocks : unit / g->groups) * ROW_BLOCK;
    int rows = g->rows - row < ROW_BLOCK ? (int)(g->rows - row) : ROW_BLOCK;
    int panel = (g->is_weights_first ? unit / g->row_blocks : unit % g->groups) * PANEL_MAX;
    int panels = g->panels - panel < PANEL_MAX ? g->panels - panel : PANEL_MAX;
    memset(c, 0, sizeof(float) * 64 * rows);
    if (g->rows <= FEW_ROWS && g->w->taps == 1) {
        for (int n = 0; n < panels; n++)
            for (int kb = 0; kb < g->w->k_pad / g->w->group; kb++) tiles_1(g, row, rows, panel + n, 0, kb, c + n * 16);
        finish(g, c, row, rows, panel, panels);
        return;
    }
    for (int tap = 0; tap < g->w->taps; tap++)
        for (int kb = 0; kb < g->w->k_pad / g->w->group; kb++) {
            if (panels == 4) tiles_4(g, row, rows, panel, tap, kb, c);
            else if (panels == 3) tiles_3(g, row, rows, panel, tap, kb, c);
            else if (panels == 2) tiles_2(g, row, rows, panel, tap, kb, c);
            else tiles_1(g, row, rows, panel, tap, kb, c);
        }
    finish(g, c, row, rows, panel, panels);
}

/* A unit is 96 rows by 64 channels. What is larger, weights or rows, is walked once: units that share its part follow each other, and the
 * other one is read from the caches each time. Call with the pool's lock held. */
static void gemm(const weight_t *w, act_t in, float *out, const float *addend, long rows, long dilation, long ldo, int flags) {
    const int groups = (w->n_pad / 16 + PANEL_MAX - 1) / PANEL_MAX, row_blocks = (int)((rows + ROW_BLOCK - 1) / ROW_BLOCK);
    const int is_weights_first = (long)w->n_pad * w->taps > rows;
    gemm_t g = {w, in, out, addend, rows, dilation, ldo, flags, groups, w->n_pad / 16, row_blocks, is_weights_first};
    parallel_for(gemm_unit, &g, row_blocks * groups);
}
