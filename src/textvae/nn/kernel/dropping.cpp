// Dropout over n numbers, fp32, in one pass: what is kept follows from a seed and the number's place alone, so that no mask is stored.

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

}  // namespace

extern "C" {

// y = scale x where the place's noise is at least `least`, else 0; the gradient is the same of the output's gradient.
void textvae_drop(index n, const float* x, float* y, index seed, std::uint32_t least, float scale, index threads) {
    const auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(static_cast<std::uint64_t>(seed) >> 32);
    share((n + LANES - 1) / LANES, threads, [&](index first, index end) {
        bits place;
        for (int lane = 0; lane < LANES; ++lane) place[lane] = static_cast<std::uint32_t>(first * LANES + lane);
        for (index i = first; i < end; ++i, place += LANES) {
            const index at = i * LANES, count = std::min<index>(LANES, n - at);
            const bits drawn = noise(place, low, high);
            if (count == LANES) {
                const vec kept = load(x + at) * scale;
                store(y + at, drawn >= least ? kept : vec{});
            } else {
                for (index lane = 0; lane < count; ++lane) y[at + lane] = drawn[lane] >= least ? scale * x[at + lane] : 0.0f;
            }
        }
    });
}

}  // extern "C"
