/* BigVGAN's anti-aliased snake-beta activation in one pass: up x2 (two 6-tap phases), x + sin(a x)^2 / b, down x2 (12 taps).
 *
 * Time-major input [time, channels]: 16 channels lie in one vector, so the filters need no shuffles. Per block of time the
 * upsampled signal of 16 channels stays in L1 (35 kB); the result is written once, in the type of the convolution that reads it.
 * Per input sample and channel: 12 + 12 multiply-adds and 2 sin^2, about 60 vector instructions per 16 channels.
 *
 * Edges: the input is repeated beyond its ends before the up filter, the upsampled signal before the down filter (spec 12).
 */
#define SNAKE_ROWS 128

typedef struct {
    const float *x; /* [rows, ldx] */
    long rows, ldx;
    const float *alpha, *inverse_beta; /* [channels padded to 16], linear scale */
    const float *filter;               /* [12] */
    operand_t out;
    long out_row;
} snake_t;

INLINE long clip(long i, long end) { return i < 0 ? 0 : i >= end ? end - 1 : i; }

INLINE v16 snake_load(const snake_t *s, long row, int channel, int lanes) {
    const float *p = s->x + row * s->ldx + channel;
    if (lanes == LANES) return load(p);
    v16 x = splat(0);
    for (int i = 0; i < lanes; i++) x[i] = p[i];
    return x;
}

/* Upsampled, activated values number 2 * first .. 2 * (first + count) - 1 of 16 channels; `first` may be outside, see edges. */
static void snake_up(const snake_t *s, int channel, int lanes, long first, int count, v16 *u) {
    v16 even[6], odd[6], window[6];
    for (int i = 0; i < 6; i++) {
        even[i] = splat(2.f * s->filter[11 - 2 * i]);
        odd[i] = splat(2.f * s->filter[10 - 2 * i]);
    }
    v16 a = load(s->alpha + channel), b = load(s->inverse_beta + channel);
    /* even output t sees x[t-3 .. t+2], odd output t sees x[t-2 .. t+3] */
    for (int i = 0; i < 6; i++) window[i] = snake_load(s, clip(first - 3 + i, s->rows), channel, lanes);
    for (int t = 0; t < count; t++) {
        v16 e = window[0] * even[0], o = splat(0);
        v16 next = snake_load(s, clip(first + t + 3, s->rows), channel, lanes);
#pragma GCC unroll 5
        for (int i = 1; i < 6; i++) {
            e += window[i] * even[i];
            o += window[i] * odd[i - 1];
            window[i - 1] = window[i];
        }
        o += next * odd[5];
        window[5] = next;
        u[2 * t] = e + vsin2(e * a) * b;
        u[2 * t + 1] = o + vsin2(o * a) * b;
    }
}

static void snake_unit(void *arg, int unit) {
    const snake_t *s = arg;
    /* y[t] reads u[2t-5 .. 2t+6], so pairs t-3 .. t+3 */
    v16 u[2 * (SNAKE_ROWS + 6)];
    float *rows = (float *)__builtin_alloca_with_align(sizeof(float) * SNAKE_ROWS * s->out.k_pad + 64, 512);
    const long first = (long)unit * SNAKE_ROWS;
    const int count = s->rows - first < SNAKE_ROWS ? (int)(s->rows - first) : SNAKE_ROWS;
    v16 f[12];
    for (int i = 0; i < 12; i++) f[i] = splat(s->filter[i]);
    for (int c = 0; c < s->out.k; c += LANES) {
        int lanes = s->out.k - c < LANES ? s->out.k - c : LANES;
        snake_up(s, c, lanes, first - 3, count + 6, u);
        /* pairs outside the signal were computed from repeated input; the reference repeats the edge of u instead */
        for (long t = first - 3; t < 0; t++) u[2 * (t - first + 3)] = u[2 * (t - first + 3) + 1] = u[2 * (3 - first)];
        for (long t = s->rows; t < first + count + 3; t++)
            u[2 * (t - first + 3)] = u[2 * (t - first + 3) + 1] = u[2 * (s->rows - first + 3) - 1];
        for (int t = 0; t < count; t++) {
            v16 y = u[2 * t + 1] * f[0];
#pragma GCC unroll 11
            for (int i = 1; i < 12; i++) y += u[2 * t + 1 + i] * f[i];
            float *to = rows + (long)t * s->out.k_pad + c;
            if (lanes == LANES) store(to, y);
            else
                for (int i = 0; i < lanes; i++) to[i] = y[i];
        }
    }
    for (int t = 0; t < count; t++) put_row(&s->out, s->out_row + first + t, rows + (long)t * s->out.k_pad);
}

static void run_snake(const snake_t *s) { parallel_for(snake_unit, (void *)s, (int)((s->rows + SNAKE_ROWS - 1) / SNAKE_ROWS)); }
