// Dropout over n numbers, fp32 or bf16, alone or after an ELU, in one pass: what is kept follows from a seed and the number's place
// alone, so that no mask is stored.

#include <algorithm>

#include "tiles.h"

namespace {

// 32 bits for each place from a counter: two rounds of multiplication and shift (a mixer of full avalanche), the seed in two halves.
inline bits noise(bits place, std::uint32_t low, std::uint32_t high) {
    bits x = place ^ low;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15) ^ high) * 0x846ca68bu;
    x = (x ^ (x >> 16)) * 0x9e3779b1u;
    return x ^ (x >> 15);
}

// What is dropped: numbers whose noise is less than `least`; the others are scaled.
struct Drops {
    index seed;
    std::uint32_t least;
    float scale;
};

// y = scale value(i, count) where the number is kept, else 0: value says the next `count` numbers from i on, a vector of them at most.
template <class Number, class Value>
void drop(index n, Number* y, Drops drops, index threads, const Value& value) {
    const auto low = static_cast<std::uint32_t>(drops.seed);
    const auto high = static_cast<std::uint32_t>(static_cast<std::uint64_t>(drops.seed) >> 32);
    share((n + LANES - 1) / LANES, threads, [&](index first, index end) {
        bits place;
        for (int lane = 0; lane < LANES; ++lane) place[lane] = static_cast<std::uint32_t>(first * LANES + lane);
        for (index i = first * LANES; i < std::min(end * LANES, n); i += LANES, place += LANES) {
            const index count = std::min<index>(LANES, n - i);
            const vec kept = noise(place, low, high) >= drops.least ? value(i, count) * drops.scale : vec{};
            if (count == LANES)
                store(y + i, kept);
            else
                for (index lane = 0; lane < count; ++lane) put(y + i + lane, kept[lane]);
        }
    });
}

template <class Number>
vec load_some(const Number* from, index count) {
    if (count == LANES) return load(from);
    vec x{};
    for (index lane = 0; lane < count; ++lane) x[lane] = value(from + lane);
    return x;
}

inline vec exp(vec x) { return exp2(1.44269504f * x); }

// exp(x) - 1 for x <= 0: near 0, where the difference would lose its digits, by its series (relative error 4e-8).
inline vec expm1(vec x) {
    vec p = 1.984126984e-4f * x + 1.388888889e-3f;
    p = p * x + 8.333333333e-3f;
    p = p * x + 4.166666667e-2f;
    p = p * x + 1.666666667e-1f;
    p = p * x + 0.5f;
    p = p * x + 1.0f;
    return x > -0.35f ? p * x : exp(x) - 1.0f;
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

// y = drop(x); the gradient is the same of the output's gradient.
void textvae_drop(index bytes, index n, const void* x, void* y, index seed, std::uint32_t least, float scale, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x);
        drop(n, static_cast<Number*>(y), {seed, least, scale}, threads, [&](index i, index count) { return load_some(from + i, count); });
    });
}

// y = drop(elu(x)).
void textvae_drop_elu(index bytes, index n, const void* x, void* y, index seed, std::uint32_t least, float scale, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x);
        drop(n, static_cast<Number*>(y), {seed, least, scale}, threads, [&](index i, index count) {
            const vec at = load_some(from + i, count);
            return at > 0.0f ? at : expm1(at);
        });
    });
}

// dx = drop(dy elu'(x)).
void textvae_drop_elu_backward(index bytes, index n, const void* x, const void* dy, void* dx, index seed, std::uint32_t least, float scale,
                               index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x), given = static_cast<const Number*>(dy);
        drop(n, static_cast<Number*>(dx), {seed, least, scale}, threads, [&](index i, index count) {
            const vec at = load_some(from + i, count), gradient = load_some(given + i, count);
            return at > 0.0f ? gradient : gradient * exp(at);
        });
    });
}

}  // extern "C"
