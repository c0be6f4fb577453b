// What stands after a layer's sums: ELU and dropout, in one pass. What is kept follows from a seed and the number's place alone, so that no
// mask is stored; backward computes from what forward gave.

#pragma once

#include "numbers.h"

namespace textvae {

namespace {

// 32 bits for each place from a counter: rounds of multiplication and shift (a mixer of full avalanche), the seed in two halves.
inline bits noise(bits place, std::uint32_t low, std::uint32_t high) {
    bits x = place ^ low;
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15) ^ high) * 0x846ca68bu;
    x = (x ^ (x >> 16)) * 0x9e3779b1u;
    return x ^ (x >> 15);
}

const bits EACH_LANE = [] {
    bits each{};
    for (int lane = 0; lane < LANES; ++lane) each[lane] = static_cast<std::uint32_t>(lane);
    return each;
}();

inline bits places_from(index first) { return EACH_LANE + static_cast<std::uint32_t>(first); }  // the next so many

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

inline vec elu(vec x) { return x > 0.0f ? x : expm1(x); }

// What is dropped: numbers whose noise is less than `least`; the others are scaled. Nothing where `least` is 0.
struct Drops {
    index seed;
    std::uint32_t least;
    float scale;

    vec operator()(vec x, bits place) const {
        if (least == 0) return x;
        const auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(static_cast<std::uint64_t>(seed) >> 32);
        return noise(place, low, high) >= least ? x * scale : vec{};
    }
};

struct Bend {
    Drops drops;
    bool curved;  // by ELU

    vec forward(vec x, bits place) const { return drops(curved ? elu(x) : x, place); }

    // The gradient before it, from that after it and from what it gave. ELU's slope below 0 is its value and 1.
    vec backward(vec gradient, vec given, bits place) const {
        const vec dropped = drops(gradient, place);
        if (!curved) return dropped;
        return given > 0.0f ? dropped : dropped * (1.0f + given * (1.0f / drops.scale));
    }
};

}  // namespace

}  // namespace textvae
