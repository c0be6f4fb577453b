// What moves weights after backward: the gradient's norm, Adam, and averages of the weights. Of many arrays at a time, fp32, each
// thread with its part of every one.

#include <cmath>

#include "tiles.h"

namespace textvae {

namespace {

// Run work(array, its first number, its end) for a thread's part of each of `count` arrays.
template <class Each>
void parts(Team team, index count, const index* sizes, const Each& each) {
    for (index i = 0; i < count; ++i) each(i, sizes[i] * team.mine / team.all, sizes[i] * (team.mine + 1) / team.all);
}

double squares_of(const float* from, index first, index end) {
    constexpr index FEW = 1 << 12;  // numbers whose squares are added in fp32
    double all = 0;
    for (index i = first; i < end; i += FEW) {
        const index past = i + FEW < end ? i + FEW : end;
        vec sum{};
        for (index j = i; j < past; j += LANES) {
            const vec x = load_some(from + j, past - j);
            sum += x * x;
        }
        all += sum_of(sum);
    }
    return all;
}

}  // namespace

extern "C" {

// Scale gradients so that their norm over all arrays is at most so large. `scratch` has room for a number of each thread.
void textvae_shorten(index count, float* const* gradients, const index* sizes, double norm, double* scratch, index threads) {
    together(threads, [&](Team team) {
        double mine = 0, all = 0;
        parts(team, count, sizes, [&](index i, index first, index end) { mine += squares_of(gradients[i], first, end); });
        scratch[team.mine] = mine;
        team.wait();
        for (index thread = 0; thread < team.all; ++thread) all += scratch[thread];
        const auto scale = static_cast<float>(norm / (std::sqrt(all) + 1e-6));  // as torch's
        if (scale >= 1.0f) return;
        parts(team, count, sizes, [&](index i, index first, index end) {
            for (index j = first; j < end; ++j) gradients[i][j] *= scale;
        });
    });
}

// A step of Adam, the steps of each array counted in `steps`; weight decay decoupled, or in the gradient.
void textvae_adam(index count, float* const* weights, const float* const* gradients, float* const* means, float* const* squares,
                  float* const* steps, const index* sizes, double rate, double beta1, double beta2, double epsilon, double decay,
                  int decoupled, index threads) {
    for (index i = 0; i < count; ++i) *steps[i] += 1.0f;
    together(threads, [&](Team team) {
        parts(team, count, sizes, [&](index i, index first, index end) {
            const double t = *steps[i], one = 1.0 - std::pow(beta1, t), two = 1.0 - std::pow(beta2, t);
            const auto size = static_cast<float>(rate / one), shrink = static_cast<float>(1.0 / std::sqrt(two));
            const auto keeps = static_cast<float>(decoupled ? 1.0 - rate * decay : 1.0), pull = static_cast<float>(decoupled ? 0.0 : decay);
            const auto fresh1 = static_cast<float>(1.0 - beta1), fresh2 = static_cast<float>(1.0 - beta2);
            const auto keep2 = static_cast<float>(beta2), small = static_cast<float>(epsilon);
            float* __restrict weight = weights[i];
            float* __restrict mean = means[i];
            float* __restrict square = squares[i];
            const float* __restrict gradient = gradients[i];
            for (index j = first; j < end; ++j) {
                const float g = gradient[j] + pull * weight[j];
                mean[j] += fresh1 * (g - mean[j]);
                square[j] = keep2 * square[j] + fresh2 * g * g;
                weight[j] = keeps * weight[j] - size * mean[j] / (std::sqrt(square[j]) * shrink + small);
            }
        });
    });
}

// Move averages towards values by a part of the way.
void textvae_approach(index count, float* const* averages, const float* const* values, const index* sizes, float part, index threads) {
    together(threads, [&](Team team) {
        parts(team, count, sizes, [&](index i, index first, index end) {
            float* __restrict average = averages[i];
            const float* __restrict value = values[i];
            for (index j = first; j < end; ++j) average[j] += part * (value[j] - average[j]);
        });
    });
}

}  // extern "C"

}  // namespace textvae
