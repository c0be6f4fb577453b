// A recurrent emitter of one layer at work: a step of many sequences from their states and symbols to the next states and logits.
//
// What the symbols contribute to the gates is a table (V, G * H) and what the context does comes projected, so that a step is a
// gather, one product of h with the recurrent weights, the cell, and one product for the logits. Rows do not depend on each other,
// and a row's sums have one order whatever stands beside it: in bf16 too, which is multiplied by vectors and not by squares.
//
// Of a number, fp32 or bf16, are h where it is multiplied and what it is multiplied with; all else is fp32.
//
// Arrays: steps T, slots B (of rows, or of the beams of rows), units H and symbols V (the caller pads both; what pads V has a bias
// of -inf).

#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "tiles.h"

namespace textvae {

namespace {

constexpr index END = 0;  // the symbol that ends a sequence, and stands before the first
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// An emitter and where it starts from, as the caller fills it in.
struct Emitter {
    index bytes;                       // of a number: 4, or 2
    index B, H, V;                     // slots, units, symbols
    const float* table;                // (symbols, G * H), biases included
    const float* context;              // of row b at step t: G * H numbers at b * context_row + t * context_step
    index context_row, context_step;
    const void* recurrent;             // packed numbers, (G * H, H)
    const float* candidate;            // GRU: (H), the bias inside the reset gate; LSTM: nullptr
    const void* output;                // packed numbers, (V, H) as two gates of V / 2
    const float* bias;                 // (V)
    const float *h, *c;                // (rows, H), before the first step; c LSTM only
};

// An emitter at work. Slots are the rows of the state; slot j walks with the context of row[j] and reads symbol[j].
template <class Number>
struct Network : Emitter {
    Number *h, *next_h;                // (B, H), as they are multiplied
    float *c, *next_c;                 // (B, H), what is carried in fp32: LSTM, c; GRU, h
    float *logits, *weight;            // (B, V)
    index *row, *symbol;               // (B)
    index* order;                      // (B, V)
    index* going;                      // one number, for a team: the end of the slots that go on

    // In the caller's memory: B * (4H + 2V) floats and B * (V + 2) + 1 integers. `beams` slots side by side begin as one row.
    Network(const Emitter& emitter, float* room, index* marks, index beams = 1) : Emitter(emitter) {
        h = reinterpret_cast<Number*>(room), next_h = reinterpret_cast<Number*>(room + B * H);
        c = room + 2 * B * H, next_c = c + B * H, logits = next_c + B * H, weight = logits + B * V;
        row = marks, symbol = row + B, order = symbol + B, going = order + B * V;
        for (index b = 0; b < B; ++b) {
            row[b] = b / beams, symbol[b] = END;
            const float* before = emitter.h + row[b] * H;
            for (index unit = 0; unit < H; unit += LANES) store(h + b * H + unit, load(before + unit));
            std::copy_n(emitter.c ? emitter.c + row[b] * H : before, H, c + b * H);
        }
    }
};

template <class Number>
struct Step {
    static constexpr bool SQUARED = false;
    static constexpr index PACKED = WORD<Number>, VECTOR = LANES * PACKED;
    const Network<Number>& net;
    const Number* packed;

    Step(const Network<Number>& network, const void* weights) : net(network), packed(static_cast<const Number*>(weights)) {}

    index depth(index) const { return net.H / PACKED; }
    index chunk(index, index) const { return net.H / PACKED; }
    bool turns(index t) const { return t % 2; }
    index left_row() const { return net.H; }
};

// A step of the recurrent layer: GATES vectors of the gates of some units to a tile.
template <class Number, int GATES>
struct CellStep : Step<Number> {
    static constexpr int N = GATES;
    using Step<Number>::net;

    explicit CellStep(const Network<Number>& network) : Step<Number>(network, network.recurrent) {}
    index panels() const { return net.H / LANES; }
    const Number* left(index, index slot, index k) const { return net.h + slot * net.H + k * this->PACKED; }

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

template <class Number>
struct LstmStep : CellStep<Number, 4> {
    static constexpr int N = 4;
    using CellStep<Number, N>::CellStep, CellStep<Number, N>::net;

    template <int M>
    void enter(Tile<M, N>& sum, index, index, index, index) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = vec{};
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m, ++slot) {
            const index unit = panel * LANES, at = slot * net.H + unit;
            const vec i = sigmoid(sum[m][0] + this->given(t, slot, 0, unit)), f = sigmoid(sum[m][1] + this->given(t, slot, 1, unit));
            const vec g = tanh(sum[m][2] + this->given(t, slot, 2, unit)), o = sigmoid(sum[m][3] + this->given(t, slot, 3, unit));
            const vec cell = f * load(net.c + at) + i * g;
            store(net.next_c + at, cell);
            store(net.next_h + at, o * tanh(cell));
        }
    }
};

template <class Number>
struct GruStep : CellStep<Number, 3> {
    static constexpr int N = 3;
    using CellStep<Number, N>::CellStep, CellStep<Number, N>::net;

    template <int M>
    void enter(Tile<M, N>& sum, index, index, index panel, index) const {
        for (int m = 0; m < M; ++m) sum[m][0] = sum[m][1] = vec{}, sum[m][2] = load(net.candidate + panel * LANES);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index slot, index panel, index) const {
        for (int m = 0; m < M; ++m, ++slot) {
            const index unit = panel * LANES, at = slot * net.H + unit;
            const vec before = load(net.c + at);
            const vec r = sigmoid(sum[m][0] + this->given(t, slot, 0, unit)), z = sigmoid(sum[m][1] + this->given(t, slot, 1, unit));
            const vec n = tanh(this->given(t, slot, 2, unit) + r * sum[m][2]);
            const vec hidden = n + z * (before - n);
            store(net.next_c + at, hidden);
            store(net.next_h + at, hidden);
        }
    }
};

// The logits of the units after the step.
template <class Number>
struct OutputStep : Step<Number> {
    static constexpr int N = 2;
    using Step<Number>::net;

    explicit OutputStep(const Network<Number>& network) : Step<Number>(network, network.output) {}
    index panels() const { return net.V / (N * LANES); }
    index symbol(int n, index panel) const { return n * (net.V / N) + panel * LANES; }
    const Number* left(index, index slot, index k) const { return net.next_h + slot * net.H + k * this->PACKED; }

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
template <class Number>
void advance(const Network<Number>& net, index t, index first, index end, Team team) {
    if (net.candidate)
        step(GruStep<Number>(net), t, first, end, team);
    else
        step(LstmStep<Number>(net), t, first, end, team);
    team.wait();
    step(OutputStep<Number>(net), t, first, end, team);
    team.wait();
}

// The state after the step of one slot becomes the state before the next step of another.
template <class Number>
void carry(const Network<Number>& net, index from, index to) {
    std::copy_n(net.next_h + from * net.H, net.H, net.h + to * net.H);
    std::copy_n(net.next_c + from * net.H, net.H, net.c + to * net.H);
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

}  // namespace textvae
