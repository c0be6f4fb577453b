// Numbers, fp32 and bf16, in vectors, and what is computed with them.
//
// A file without AVX-512 is the same code through the compiler's vectors, on narrower tiles; bf16 without AVX512-BF16 is the same
// arithmetic in more instructions, for tests: it is not fast.

#pragma once

#include <cstdint>
#include <utility>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace textvae {

namespace {

using index = std::int64_t;

#if defined(__AVX512F__)
constexpr int LANES = 16, ACCUMULATORS = 24;  // of 32 vector registers
#elif defined(__AVX__)
constexpr int LANES = 8, ACCUMULATORS = 12;  // of 16
#elif defined(__aarch64__)
constexpr int LANES = 4, ACCUMULATORS = 24;  // of 32
#else
constexpr int LANES = 4, ACCUMULATORS = 12;  // of 16
#endif

using vec = float __attribute__((vector_size(LANES * 4)));
using bits = std::uint32_t __attribute__((vector_size(LANES * 4)));
using halves = std::uint16_t __attribute__((vector_size(LANES * 2), aligned(2), may_alias));
using loose = float __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
using loose_bits = std::uint32_t __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline vec splat(float x) { return x - vec{}; }
inline vec load(const float* from) { return *reinterpret_cast<const loose*>(from); }
inline void store(float* to, vec x) { *reinterpret_cast<loose*>(to) = x; }

inline vec clamped(vec x, float limit) {  // NaN stays NaN
#ifdef __AVX512F__
    return (vec)_mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), (__m512)x));
#else
    const vec high = splat(limit), low = splat(-limit);
    x = x > high ? high : x;
    return x < low ? low : x;
#endif
}

inline float sum_of(vec x) {  // of the lanes
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)x);
#else
    float sum = 0;
    for (int lane = 0; lane < LANES; ++lane) sum += x[lane];
    return sum;
#endif
}

inline float largest_of(vec x) {  // of the lanes
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)x);
#else
    float most = x[0];
    for (int lane = 1; lane < LANES; ++lane) most = x[lane] > most ? x[lane] : most;
    return most;
#endif
}

inline vec reciprocal(vec x) {
#ifdef __AVX512F__
    const vec near = (vec)_mm512_rcp14_ps((__m512)x);
    return near + near * (1.0f - x * near);  // one step of Newton: 28 bits
#else
    return 1.0f / x;
#endif
}

// 2^x: the integer part goes into the exponent, the rest through a minimax polynomial (relative error 7.5e-8).
inline vec exp2(vec x) {
    x = clamped(x, 126.0f);
    const vec shifted = x + 12582912.0f;  // 1.5 * 2^23: what is left of x's fraction has been rounded away
    const vec f = x - (shifted - 12582912.0f);
    vec p = 1.327647169e-3f * f + 9.675541332e-3f;
    p = p * f + 5.550713274e-2f;
    p = p * f + 2.402211972e-1f;
    p = p * f + 6.931469671e-1f;
    p = p * f + 1.000000072f;
    return (vec)((bits)p + ((bits)shifted << 23));
}

inline vec sigmoid(vec x) { return reciprocal(1.0f + exp2(-1.44269504f * x)); }
inline vec tanh(vec x) { return 1.0f - 2.0f * reciprocal(1.0f + exp2(2.88539008f * x)); }

// bf16: the upper half of an fp32, rounded to nearest, to even between two. Sums and what cells compute are fp32 all the same.
using half = std::uint16_t;

inline bits rounded(vec x) {  // the bf16 in the upper half, what has been rounded away in the lower
    const bits all = (bits)x;
    return x == x ? all + 0x7fff + (all >> 16 & 1) : all | 0x400000;  // NaN stays NaN
}

inline vec load(const half* from) { return (vec)(__builtin_convertvector(*reinterpret_cast<const halves*>(from), bits) << 16); }

inline void store(half* to, vec x) {
#ifdef __AVX512BF16__
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)x));
#else
    *reinterpret_cast<halves*>(to) = __builtin_convertvector(rounded(x) >> 16, halves);
#endif
}

// Two vectors `apart` from each other; in bf16 the widest are one line of the cache, if they are neighbours.
inline void store_pair(float* to, index apart, vec first, vec second) { store(to, first), store(to + apart, second); }
inline void store_pair(half* to, index apart, vec first, vec second) {
#ifdef __AVX512BF16__
    if (apart == LANES) {
        _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first));
        return;
    }
#endif
    store(to, first), store(to + apart, second);
}

inline float value(const float* from) { return *from; }
inline float value(const half* from) {
    const std::uint32_t whole = std::uint32_t{*from} << 16;
    float x;
    __builtin_memcpy(&x, &whole, sizeof x);
    return x;
}

inline void put(float* to, float x) { *to = x; }
inline void put(half* to, float x) { *to = static_cast<half>(rounded(splat(x))[0] >> 16); }

// The next `count` numbers, a vector of them at most, zeros after them; and back.
template <class Number>
vec load_some(const Number* from, index count) {
    if (count >= LANES) return load(from);
    vec x{};
    for (index lane = 0; lane < count; ++lane) x[lane] = value(from + lane);
    return x;
}

template <class Number>
void store_some(Number* to, vec x, index count) {
    if (count >= LANES) return store(to, x);
    for (index lane = 0; lane < count; ++lane) put(to + lane, x[lane]);
}

// A word is what a lane multiplies at once: one fp32, or two bf16 side by side, whose products are added. So many numbers:
template <class Number>
constexpr index WORD = sizeof(float) / sizeof(Number);

inline vec load_words(const float* from) { return load(from); }
inline bits load_words(const half* from) { return *reinterpret_cast<const loose_bits*>(from); }

inline vec splat_word(const float* from) { return splat(*from); }
inline bits splat_word(const half* from) {
    std::uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word - bits{};
}

inline void store_words(float* to, vec x, vec) { store(to, x); }
inline void store_words(half* to, vec first, vec second) {  // their numbers side by side, lane by lane
    *reinterpret_cast<loose_bits*>(to) = rounded(first) >> 16 | (rounded(second) & 0xffff0000u);
}

// A vector that is in a register, and stays there until its last use: otherwise a compiler may read it anew for each product, and
// where a register holds 8 numbers, reading is slower than multiplying.
template <class Vector>
inline Vector held(Vector x) {
#if defined(__AVX__) && defined(__GNUC__)
    __asm__("" : "+x"(x));
#endif
    return x;
}

inline vec add_product(vec sum, vec one, vec other) { return sum + one * other; }
inline vec add_product(vec sum, bits one, bits other) {
#ifdef __AVX512BF16__
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)one, (__m512bh)other);
#else
    constexpr std::uint32_t upper = 0xffff0000u;
    return sum + (vec)(one << 16) * (vec)(other << 16) + (vec)(one & upper) * (vec)(other & upper);
#endif
}

// As many vectors of words as a vector has: rows become columns.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TEXTVAE_SHUFFLES
#endif
#endif

#ifdef TEXTVAE_SHUFFLES
template <int APART, int... LANE>
inline void exchange(bits& one, bits& other, std::integer_sequence<int, LANE...>) {  // between two vectors, what is to be in the other
    const bits first = __builtin_shufflevector(one, other, (LANE & APART ? LANES + (LANE ^ APART) : LANE)...);
    other = __builtin_shufflevector(one, other, (LANE & APART ? LANES + LANE : LANE ^ APART)...);
    one = first;
}

template <int APART>
inline void exchange_all(bits* square) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; ++i)
        if (!(i & APART)) exchange<APART>(square[i], square[i | APART], std::make_integer_sequence<int, LANES>{});
}

inline void turn(bits* square) {
    if constexpr (LANES > 8) exchange_all<8>(square);
    if constexpr (LANES > 4) exchange_all<4>(square);
    exchange_all<2>(square);
    exchange_all<1>(square);
}
#else
inline void turn(bits* square) {
    for (int i = 0; i < LANES; ++i)
        for (int j = 0; j < i; ++j) {
            const std::uint32_t word = square[i][j];
            square[i][j] = square[j][i], square[j][i] = word;
        }
}
#endif

}  // namespace

}  // namespace textvae
