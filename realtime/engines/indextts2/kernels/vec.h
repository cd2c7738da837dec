/* Vectors of 16 floats through the compiler's vector extension, so that one source serves AVX-512, AVX2 and plain machines;
 * the functions that decide the speed of an element-wise pass; and the two 16-bit float formats. */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LANES 16
#define INLINE static inline __attribute__((always_inline))

typedef float v16 __attribute__((vector_size(64)));
typedef float v16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16x __attribute__((vector_size(64)));
typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint16_t h16u __attribute__((vector_size(32), aligned(2), may_alias));
typedef int8_t b16 __attribute__((vector_size(16)));
typedef int8_t b16u __attribute__((vector_size(16), aligned(1), may_alias));

INLINE v16 splat(float x) { return (v16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
INLINE v16 load(const float *p) { return (v16) * (const v16u *)p; }
INLINE void store(float *p, v16 x) { *(v16u *)p = (v16u)x; }
INLINE v16 vmax(v16 a, v16 b) { return (v16)(((i16)a & (i16)(a > b)) | ((i16)b & ~(i16)(a > b))); }
INLINE v16 vmin(v16 a, v16 b) { return (v16)(((i16)a & (i16)(a < b)) | ((i16)b & ~(i16)(a < b))); }
INLINE v16 vabs(v16 a) { return (v16)((i16)a & 0x7fffffff); }

/* Sum and maximum over the lanes, halves first: four steps instead of fifteen. */
typedef float v8 __attribute__((vector_size(32)));
typedef float v4 __attribute__((vector_size(16)));
INLINE float hsum(v16 x) {
    v8 a, b;
    memcpy(&a, &x, 32);
    memcpy(&b, (char *)&x + 32, 32);
    a += b;
    v4 c, d;
    memcpy(&c, &a, 16);
    memcpy(&d, (char *)&a + 16, 16);
    c += d;
    return (c[0] + c[2]) + (c[1] + c[3]);
}
INLINE float hmax(v16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps((__m512)x);
#endif
    float y[LANES];
    memcpy(y, &x, sizeof y);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) y[i] = y[i] > y[i + half] ? y[i] : y[i + half];
    return y[0];
}

INLINE int32_t isum(i16 x) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_epi32((__m512i)x);
#endif
    int32_t sum = 0;
    for (int i = 0; i < LANES; i++) sum += x[i];
    return sum;
}

/* Nearest integer by the magic number 1.5 * 2^23; good for |x| < 2^22. */
INLINE v16 vround(v16 x) {
#if defined(__AVX512F__)
    return (v16)_mm512_roundscale_ps((__m512)x, 8);
#else
    const v16 magic = splat(12582912.f);
    return (x + magic) - magic;
#endif
}

/* bfloat16, rounded to nearest even. */
INLINE h16 to_bf16(v16 x) {
#if defined(__AVX512BF16__)
    return (h16)_mm512_cvtneps_pbh((__m512)x);
#endif
    u16x bits = (u16x)x;
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return __builtin_convertvector(bits >> 16, h16);
}
INLINE v16 from_bf16(h16 x) { return (v16)(__builtin_convertvector(x, u16x) << 16); }
INLINE float bf16_scalar(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

/* IEEE half, for the K/V cache. */
INLINE h16 to_f16(v16 x) {
#if defined(__AVX512F__)
    return (h16)_mm512_cvtps_ph((__m512)x, 0);
#else
    h16 out;
    for (int i = 0; i < LANES; i++) {
        _Float16 h = (_Float16)x[i];
        uint16_t bits;
        memcpy(&bits, &h, 2);
        out[i] = bits;
    }
    return out;
#endif
}
INLINE v16 from_f16(h16 x) {
#if defined(__AVX512F__)
    return (v16)_mm512_cvtph_ps((__m256i)x);
#else
    v16 out;
    for (int i = 0; i < LANES; i++) {
        _Float16 h;
        uint16_t bits = x[i];
        memcpy(&h, &bits, 2);
        out[i] = (float)h;
    }
    return out;
#endif
}

/* e^x by 2^n * p(f), f in [-0.5, 0.5]; relative error below 2e-7; arguments are clamped to [-87, 88]. */
INLINE v16 vexp(v16 x) {
    x = vmin(splat(88.f), vmax(splat(-87.f), x)); /* in this order a NaN comes through */
    v16 n = vround(x * 1.44269504f);
    v16 r = x - n * 0.693145752f - n * 1.42860677e-6f;
    v16 p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.f;
    i16 scale = (__builtin_convertvector(n, i16) + 127) << 23;
    return p * (v16)scale;
}
/* e^x for x <= 0 by 2^n * p(f), relative error below 1e-4. */
INLINE v16 vexp_rough(v16 x) {
    x = vmax(splat(-126.f), x * 1.44269504f);
    v16 n = vround(x), f = x - n;
    v16 p = splat(0.0558282f);
    p = p * f + 0.2401397f;
    p = p * f + 0.6931365f;
    p = p * f + 0.9999999f;
#if defined(__AVX512F__)
    return (v16)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return p * (v16)((__builtin_convertvector(n, i16) + 127) << 23);
#endif
}
INLINE v16 vsigmoid(v16 x) { return 1.f / (1.f + vexp(-x)); }
INLINE v16 vtanh(v16 x) { return 1.f - 2.f / (vexp(2.f * x) + 1.f); }

/* sin(x)^2 has period pi: reduce to r in [-0.5, 0.5] periods, then s * p(s) with s = r^2, p a Chebyshev fit of degree 6;
 * absolute error below 2e-7, plus that of the reduction (|x| * 1e-7). */
INLINE v16 vsin2(v16 x) {
    v16 r = x * 0.318309886f;
    r = r - vround(r);
    v16 s = r * r;
    v16 t = splat(0.7419801354408264f);
    t = t * s - 3.9130778312683105f;
    t = t * s + 13.206610679626465f;
    t = t * s - 30.121753692626953f;
    t = t * s + 42.72838592529297f;
    t = t * s - 32.469696044921875f;
    t = t * s + 9.869604110717773f;
    return t * s;
}
