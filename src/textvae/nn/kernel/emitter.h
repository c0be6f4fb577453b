// A recurrent emitter of one layer at work: a step of many sequences from their states and symbols to the next states and logits.
//
// What the symbols contribute to the gates is a table (V, G * H) and what the context does comes projected, so that a step is a
// gather, one product of h with the recurrent weights, the cell, and one product for the logits. Rows do not depend on each other,
// and a row's sums have one order whatever stands beside it.
//
// Arrays: steps T, slots B (of rows, or of the beams of rows), units H and symbols V (the caller pads both; what pads V has a bias
// of -inf).

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "tiles.h"

namespace {

constexpr index END = 0;  // the symbol that ends a sequence, and stands before the first
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// An emitter and where it starts from, as the caller fills it in.
struct Emitter {
    index B, H, V;                     // slots, units, symbols
    const float* table;                // (symbols, G * H), biases included
    const float* context;              // of row b at step t: G * H numbers at b * context_row + t * context_step
    index context_row, context_step;
    const float* recurrent;            // packed, (G * H, H)
    const float* candidate;            // GRU: (H), the bias inside the reset gate; LSTM: nullptr
    const float* output;               // packed, (V, H) as two gates of V / 2
    const float* bias;                 // (V)
    const float *h, *c;                // (rows, H), before the first step; c LSTM only
};

// An emitter at work. Slots are the rows of the state; slot j walks with the context of row[j] and reads symbol[j].
struct Network : Emitter {
    float *h, *next_h, *c, *next_c;    // (B, H)
    float *logits, *weight;            // (B, V)
    index *row, *symbol;               // (B)
    index* order;                      // (B, V)
    index* going;                      // one number, for a team: the end of the slots that go on

    // In the caller's memory: B * (4H + 2V) floats and B * (V + 2) + 1 integers. `beams` slots side by side begin as one row.
    Network(const Emitter& emitter, float* room, index* marks, index beams = 1) : Emitter(emitter) {
        h = room, next_h = h + B * H, c = next_h + B * H, next_c = c + B * H, logits = next_c + B * H, weight = logits + B * V;
        row = marks, symbol = row + B, order = symbol + B, going = order + B * V;
        for (index b = 0; b < B; ++b) {
            row[b] = b / beams, symbol[b] = END;
            std::copy_n(emitter.h + row[b] * H, H, h + b * H);
            if (emitter.c) std::copy_n(emitter.c + row[b] * H, H, c + b * H);
        }
    }
};

struct Step {
    static constexpr index VECTOR = LANES;
    const Network& net;

    index depth(index) const { return net.H; }
    index chunk(index, index) const { return net.H; }
    bool turns(index t) const { return t % 2; }
    const float* left(index, index slot, index k) const { return net.h + slot * net.H + k; }
    index left_row() const { return net.H; }
};

// A step of the recurrent layer: GATES vectors of the gates of some units to a tile.
template <int GATES>
struct CellStep : Step {
    static constexpr int N = GATES;
    const float* packed;

    explicit CellStep(const Network& network) : Step{network}, packed(network.recurrent) {}
    index panels() const { return net.H / LANES; }

    const float* of_symbol(index slot) const { return net.table + net.symbol[slot] * N * net.H; }
    const float* of_context(index t, index slot) const { return net.context + net.row[slot] * net.context_row + t * net.context_step; }

    // What symbol and context give to a gate's units, and fetching it: added last, it is there when the product is done.
    vec given(index t, index slot, int gate, index unit) const {
        return load(of_symbol(slot) + gate * net.H + unit) + load(of_context(t, slot) + gate * net.H + unit);
    }
    template <int M>
    void prefetch(index t, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m)
            for (int gate = 0; gate < N; ++gate) {
                __builtin_prefetch(of_symbol(slot + m) + gate * net.H + panel * LANES, 0, 3);
                __builtin_prefetch(of_context(t, slot + m) + gate * net.H + panel * LANES, 0, 3);
            }
    }
};

struct LstmStep : CellStep<4> {
    using CellStep::CellStep;

    template <int M>
    void enter(Tile<M, N>& sum, index, index, index, index) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = vec{};
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m, ++slot) {
            const index unit = panel * LANES, at = slot * net.H + unit;
            const vec i = sigmoid(sum[m][0] + given(t, slot, 0, unit)), f = sigmoid(sum[m][1] + given(t, slot, 1, unit));
            const vec g = tanh(sum[m][2] + given(t, slot, 2, unit)), o = sigmoid(sum[m][3] + given(t, slot, 3, unit));
            const vec cell = f * load(net.c + at) + i * g;
            store(net.next_c + at, cell);
            store(net.next_h + at, o * tanh(cell));
        }
    }
};

struct GruStep : CellStep<3> {
    using CellStep::CellStep;

    template <int M>
    void enter(Tile<M, N>& sum, index, index, index panel, index) const {
        for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = vec{}, sum[m][2] = load(net.candidate + panel * LANES);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m, ++slot) {
            const index unit = panel * LANES, at = slot * net.H + unit;
            const vec r = sigmoid(sum[m][0] + given(t, slot, 0, unit)), z = sigmoid(sum[m][1] + given(t, slot, 1, unit));
            const vec n = tanh(given(t, slot, 2, unit) + r * sum[m][2]);
            store(net.next_h + at, n + z * (load(net.h + at) - n));
        }
    }
};

// The logits of the units after the step.
struct OutputStep : Step {
    static constexpr int N = 2;
    const float* packed;

    explicit OutputStep(const Network& network) : Step{network}, packed(network.output) {}
    index panels() const { return net.V / (N * LANES); }
    index symbol(int n, index panel) const { return n * (net.V / N) + panel * LANES; }
    const float* left(index, index slot, index k) const { return net.next_h + slot * net.H + k; }

    template <int M>
    void prefetch(index, index, index, index) const {}

    template <int M>
    void enter(Tile<M, N>& sum, index, index, index panel, index) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = load(net.bias + symbol(n, panel));
    }

    template <int M>
    void leave(Tile<M, N>& sum, index, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) store(net.logits + (slot + m) * net.V + symbol(n, panel), sum[m][n]);
    }
};

// One step of the slots [first, end): from h and c to next_h, next_c and logits.
void advance(const Network& net, index t, index first, index end, Team team) {
    if (net.candidate)
        step(GruStep(net), t, first, end, team);
    else
        step(LstmStep(net), t, first, end, team);
    team.wait();
    step(OutputStep(net), t, first, end, team);
    team.wait();
}

// The state after the step of one slot becomes the state before the next step of another.
void carry(const Network& net, index from, index to) {
    std::copy_n(net.next_h + from * net.H, net.H, net.h + to * net.H);
    if (!net.candidate) std::copy_n(net.next_c + from * net.H, net.H, net.c + to * net.H);
}

// V is a multiple of the lanes.
float largest(const float* values, index V) {
    vec most = load(values);
    for (index v = LANES; v < V; v += LANES) {
        const vec x = load(values + v);
        most = x > most ? x : most;
    }
    return largest_of(most);
}

// The first of the largest; a row that is not all numbers has one too.
index most_likely(const float* logits, index V) {
    const float most = largest(logits, V);
    const index found = std::find(logits, logits + V, most) - logits;
    return found < V ? found : END;
}

// exp((logits - their largest) / temperature), 0 where that is less than a float holds.
void weigh(const float* logits, index V, float temperature, float* weight) {
    const vec most = splat(largest(logits, V)), least = splat(-126.0f);
    for (index v = 0; v < V; v += LANES) {
        const vec x = (load(logits + v) - most) / temperature * 1.44269504f;
        store(weight + v, x > least ? exp2(x) : vec{});
    }
}

}  // namespace
