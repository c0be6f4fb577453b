// The distortion of sequences, -log p of their symbols in nats, from logits, and its gradient. Sums are fp32, of a sequence in double.

#include <cmath>

#include "bend.h"
#include "tiles.h"

namespace textvae {

namespace {

// log of the sum of exponentials of a row.
template <class Number>
float log_sum_of(const Number* logits, index V) {
    vec most = splat(value(logits));
    for (index v = 0; v + LANES <= V; v += LANES) {
        const vec x = load(logits + v);
        most = x > most ? x : most;
    }
    float largest = largest_of(most);
    for (index v = V / LANES * LANES; v < V; ++v) largest = value(logits + v) > largest ? value(logits + v) : largest;
    vec sum{};
    for (index v = 0; v + LANES <= V; v += LANES) sum += exp(load(logits + v) - largest);
    vec rest = exp(load_some(logits + V / LANES * LANES, V % LANES) - largest);
    float all = sum_of(sum);
    for (index lane = 0; lane < V % LANES; ++lane) all += rest[lane];
    return largest + std::log(all);
}

// Work(row of (B, T)) for each step of a sequence up to and including its first end; where it ends.
template <class Each>
index scored(const index* symbols, index T, index end, const Each& each) {
    for (index t = 0; t < T; ++t) {
        each(t);
        if (symbols[t] == end) return t + 1;
    }
    return T;
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

// Of symbols (B, T) up to and including each sequence's first `end`, under logits (B, T, V): distortions (B), and for backward each scored
// step's log of the sum of exponentials (B, T). Into `outside` how many symbols are none of V; then nothing is computed.
void textvae_distortion(index bytes, index B, index T, index V, const void* logits, const index* symbols, index end, float* distortions,
                        float* log_sums, index* outside, index threads) {
    *outside = 0;
    for (index r = 0; r < B * T; ++r) *outside += symbols[r] < 0 || symbols[r] >= V;
    if (*outside) return;
    with_number(bytes, [&](auto number) {
        const auto from = static_cast<const decltype(number)*>(logits);
        share(B, threads, [&](index first, index past) {
            for (index b = first; b < past; ++b) {
                double sum = 0;
                scored(symbols + b * T, T, end, [&](index t) {
                    const index r = b * T + t;
                    log_sums[r] = log_sum_of(from + r * V, V);
                    sum += static_cast<double>(log_sums[r]) - value(from + r * V + symbols[r]);
                });
                distortions[b] = static_cast<float>(sum);
            }
        });
    });
}

// dlogits from the distortions' gradients (B): softmax less the symbol, at scored steps; zero after them.
void textvae_distortion_backward(index bytes, index B, index T, index V, const void* logits, const index* symbols, index end,
                                 const float* log_sums, const float* gradients, void* dlogits, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(logits);
        const auto to = static_cast<Number*>(dlogits);
        share(B, threads, [&](index first, index past) {
            for (index b = first; b < past; ++b) {
                const index scored_steps = scored(symbols + b * T, T, end, [&](index t) {
                    const index r = b * T + t;
                    for (index v = 0; v < V; v += LANES)
                        store_some(to + r * V + v, gradients[b] * exp(load_some(from + r * V + v, V - v) - log_sums[r]), V - v);
                    const index chosen = r * V + symbols[r];
                    put(to + chosen, gradients[b] * ((exp(splat(value(from + chosen) - log_sums[r])) - 1.0f)[0]));
                });
                __builtin_memset(to + (b * T + scored_steps) * V, 0, static_cast<std::size_t>((T - scored_steps) * V) * sizeof(Number));
            }
        });
    });
}

}  // extern "C"

}  // namespace textvae
