/* Passes over rows: everything between two matrix products, fused with writing the next product's operand.
 *
 * Each pass computes a row in floats and `put_row` writes it in the operand's type (f32, bf16, or int8 with one scale per group).
 * All of it is memory traffic of one read and one (smaller) write per element.
 */
#define ROW_MAX 16384

typedef struct {
    void *a; /* [rows, k_pad] */
    float *scale;
    int32_t *sum;
    int32_t kind, k, k_pad, group;
} operand_t;

/* Write `row` (k values, then zeros up to k_pad: the buffer must hold k_pad floats) as row number `at` of the operand. */
static void put_row(const operand_t *o, long at, float *row) {
    for (int i = o->k; i < o->k_pad; i++) row[i] = 0;
    if (o->kind == F32) {
        memcpy((float *)o->a + at * o->k_pad, row, sizeof(float) * o->k_pad);
        return;
    }
    if (o->kind == BF16) {
        uint16_t *out = (uint16_t *)o->a + at * o->k_pad;
        int i = 0;
        for (; i + 16 <= o->k_pad; i += 16) *(h16u *)(out + i) = (h16u)to_bf16(load(row + i));
        for (; i < o->k_pad; i++) out[i] = to_bf16(splat(row[i]))[0];
        return;
    }
    int blocks = o->k_pad / o->group;
    for (int b = 0; b < blocks; b++) {
        const float *x = row + b * o->group;
        int8_t *q = (int8_t *)o->a + at * o->k_pad + b * o->group;
        /* NaN compares false everywhere here: pass it on through the scale, so that the output shows it */
        v16 top = splat(0), probe = splat(0);
        int i = 0;
        float largest = 0, poison = 0;
        for (; i + 16 <= o->group; i += 16) {
            v16 v = load(x + i);
            top = vmax(top, vabs(v));
            probe += v * 0.f;
        }
        for (; i < o->group; i++) {
            largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
            poison += x[i] * 0.f;
        }
        float t = hmax(top);
        largest = t > largest ? t : largest;
        poison += hsum(probe);
        float inverse = largest > 0 ? 127.f / largest : 0;
        i16 total = {0};
        int32_t sum = 0;
        for (i = 0; i + 16 <= o->group; i += 16) {
            i16 n = __builtin_convertvector(vround(load(x + i) * inverse), i16);
            total += n;
            *(b16u *)(q + i) = (b16u)__builtin_convertvector(n, b16);
        }
        for (; i < o->group; i++) {
            int n = (int)lrintf(x[i] * inverse);
            sum += n;
            q[i] = (int8_t)n;
        }
        sum += isum(total);
        o->scale[at * blocks + b] = largest / 127.f + poison;
        o->sum[at * blocks + b] = sum;
    }
}

enum { COPY = 0, LAYER_NORM = 1, RMS_NORM = 2, MISH = 3 };

typedef struct {
    int32_t what;
    const float *x; /* [rows, ldx] */
    long rows, ldx;
    const float *gain, *shift; /* [k], norms only; y = norm(x) * gain + shift */
    float eps;
    operand_t out;
    long out_row; /* where row 0 goes (behind the padding rows) */
} pass_t;

INLINE void layer_norm_row(const float *x, const float *gain, const float *shift, float eps, int k, float *y) {
    double mean = 0, var = 0;
    v16 s = splat(0);
    int i = 0;
    for (; i + 16 <= k; i += 16) s += load(x + i);
    mean = hsum(s);
    for (; i < k; i++) mean += x[i];
    mean /= k;
    v16 m = splat((float)mean), q = splat(0);
    for (i = 0; i + 16 <= k; i += 16) {
        v16 d = load(x + i) - m;
        q += d * d;
    }
    var = hsum(q);
    for (; i < k; i++) var += (x[i] - mean) * (x[i] - mean);
    float r = 1.f / sqrtf((float)(var / k) + eps);
    for (i = 0; i + 16 <= k; i += 16) store(y + i, (load(x + i) - m) * r * load(gain + i) + load(shift + i));
    for (; i < k; i++) y[i] = (x[i] - (float)mean) * r * gain[i] + shift[i];
}

INLINE void rms_norm_row(const float *x, const float *gain, const float *shift, float eps, int k, float *y) {
    v16 q = splat(0);
    int i = 0;
    for (; i + 16 <= k; i += 16) q += load(x + i) * load(x + i);
    double square = hsum(q);
    for (; i < k; i++) square += x[i] * x[i];
    float r = 1.f / sqrtf((float)(square / k) + eps);
    for (i = 0; i + 16 <= k; i += 16) store(y + i, load(x + i) * r * load(gain + i) + load(shift + i));
    for (; i < k; i++) y[i] = x[i] * r * gain[i] + shift[i];
}

INLINE v16 vmish(v16 x) {
    v16 e = vexp(vmin(x, splat(20.f)));
    v16 n = e * (e + 2.f);
    return x * n / (n + 2.f);
}

INLINE void mish_row(const float *x, int k, float *y) {
    int i = 0;
    for (; i + 16 <= k; i += 16) store(y + i, vmish(load(x + i)));
    for (; i < k; i++) y[i] = vmish(splat(x[i]))[0];
}

static void pass_row(const pass_t *p, long row) {
    float y[ROW_MAX] __attribute__((aligned(64)));
    const float *x = p->x + row * p->ldx;
    const int k = p->out.k;
    if (p->what == LAYER_NORM) layer_norm_row(x, p->gain, p->shift, p->eps, k, y);
    else if (p->what == RMS_NORM) rms_norm_row(x, p->gain, p->shift, p->eps, k, y);
    else if (p->what == MISH) mish_row(x, k, y);
    else memcpy(y, x, sizeof(float) * k);
    put_row(&p->out, p->out_row + row, y);
}

#define PASS_ROWS 16

static void pass_unit(void *arg, int unit) {
    const pass_t *p = arg;
    long end = (unit + 1L) * PASS_ROWS < p->rows ? (unit + 1L) * PASS_ROWS : p->rows;
    for (long row = (long)unit * PASS_ROWS; row < end; row++) pass_row(p, row);
}

static void run_pass(const pass_t *p) { parallel_for(pass_unit, (void *)p, (int)((p->rows + PASS_ROWS - 1) / PASS_ROWS)); }
