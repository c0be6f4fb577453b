// Generation with a recurrent emitter of one layer: all steps of many sequences, fp32, from one call; and a self-fed emitter's path.
//
// What the symbols contribute to the gates is a table (V, G * H) and what the context does comes projected, so that a step is a
// gather, one product of h with the recurrent weights, the cell, one product for the logits and the choice of the next symbols.
// Rows do not depend on each other, and a row's sums have one order whatever stands beside it. Sequences that have ended leave:
// those that go on stand together, in the same order. Threads share the rows; where there are fewer rows than threads, they walk
// the rows together, each with its share of the weights, which are most of what a single row reads.
//
// Arrays: steps T, rows B, units H and symbols V (the caller pads both; what pads V has a bias of -inf).

#include <algorithm>
#include <cstdint>
#include <limits>

#include "tiles.h"

namespace {

constexpr index END = 0;  // the symbol that ends a sequence, and stands before the first
constexpr index TEAM_PANELS = 4;  // panels that a thread of a team has at least: with fewer they wait longer than they work
constexpr float NEVER = -std::numeric_limits<float>::infinity();

// An emitter and where it starts from, as the caller fills it in.
struct Emitter {
    index B, H, V;
    const float* table;                // (symbols, G * H), biases included
    const float* context;              // of row b at step t: G * H numbers at b * context_row + t * context_step
    index context_row, context_step;
    const float* recurrent;            // packed, (G * H, H)
    const float* candidate;            // GRU: (H), the bias inside the reset gate; LSTM: nullptr
    const float* output;               // packed, (V, H) as two gates of V / 2
    const float* bias;                 // (V)
    const float *h, *c;                // (B, H), before the first step; c LSTM only
};

// How the next symbol is chosen: the most likely where there are no uniform numbers.
struct Choice {
    const double* uniform;             // (B, T) or nullptr
    index steps;                       // T
    float temperature;
    index top_k;                       // 0: all
    double top_p;                      // 1: all
    const index* forbidden;
    index forbidden_count;
    index self_fed;                    // whether the emitter reads its own most likely symbols, whatever was chosen
};

// An emitter at work. Slots are the rows of the state; slot j walks with the context of row[j] and reads symbol[j].
struct Network : Emitter {
    float *h, *next_h, *c, *next_c;    // (B, H)
    float *logits, *weight;            // (B, V)
    index *row, *symbol;               // (B)
    index* order;                      // (B, V)
    index* going;                      // one number, for a team: the end of the slots that go on

    // In the caller's memory: B * (4H + 2V) floats and B * (V + 2) + 1 integers.
    Network(const Emitter& emitter, float* room, index* marks) : Emitter(emitter) {
        h = room, next_h = h + B * H, c = next_h + B * H, next_c = c + B * H, logits = next_c + B * H, weight = logits + B * V;
        row = marks, symbol = row + B, order = symbol + B, going = order + B * V;
        std::copy_n(emitter.h, B * H, h);
        if (emitter.c) std::copy_n(emitter.c, B * H, c);
        for (index b = 0; b < B; ++b) row[b] = b, symbol[b] = END;
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

// Only the top_k largest weights, and of those only the largest that together reach top_p of their sum; never none.
void cut(const Choice& choice, index V, float* weight, index* order) {
    const index k = choice.top_k ? std::min(choice.top_k, V) : V;
    for (index v = 0; v < V; ++v) order[v] = v;
    const auto larger = [weight](index a, index b) { return weight[a] != weight[b] ? weight[a] > weight[b] : a < b; };
    if (k < V) std::nth_element(order, order + k, order + V, larger);
    index kept = k;
    if (choice.top_p < 1) {
        std::sort(order, order + k, larger);
        double sum = 0, before = 0;
        for (index i = 0; i < k; ++i) sum += weight[order[i]];
        for (kept = 0; kept < k && (kept == 0 || before < choice.top_p * sum); ++kept) before += weight[order[kept]];
    }
    for (index i = kept; i < V; ++i) weight[order[i]] = 0;
}

// The symbol at which the weights' cumulative sum passes a uniform share of their total: first its vector, then its lane. V is a
// multiple of the lanes.
index drawn(const float* weight, index V, double uniform) {
    double total = 0, sum = 0;
    for (index v = 0; v < V; v += LANES) total += sum_of(load(weight + v));
    index v = 0;
    for (; v < V; v += LANES) {
        const double through = sum + sum_of(load(weight + v));
        if (through > uniform * total) break;
        sum = through;
    }
    for (; v < V; ++v)
        if ((sum += weight[v]) > uniform * total) return v;
    while (V > 0 && !(weight[V - 1] > 0)) --V;  // a product or a sum that was rounded up
    return V > 0 ? V - 1 : END;
}

index chosen(const Network& net, const Choice& choice, index t, index slot) {
    const float* logits = net.logits + slot * net.V;
    float* weight = net.weight + slot * net.V;
    if (!choice.uniform || choice.temperature == 0) return most_likely(logits, net.V);
    weigh(logits, net.V, choice.temperature, weight);
    if (choice.top_k || choice.top_p < 1) cut(choice, net.V, weight, net.order + slot * net.V);
    return drawn(weight, net.V, choice.uniform[net.row[slot] * choice.steps + t]);
}

// Choose the next symbols of the slots [first, end) after step t; returns the end of those that go on, which stand together.
index choose(const Network& net, const Choice& choice, index t, index first, index end, index* tokens) {
    index going = first;
    for (index slot = first; slot < end; ++slot) {
        float* logits = net.logits + slot * net.V;
        const index fed = choice.self_fed ? most_likely(logits, net.V) : END;
        for (index i = 0; i < choice.forbidden_count; ++i) logits[choice.forbidden[i]] = NEVER;
        const index symbol = chosen(net, choice, t, slot), row = net.row[slot];
        tokens[row * choice.steps + t] = symbol;
        if (symbol == END) continue;
        carry(net, slot, going);
        net.row[going] = row, net.symbol[going] = choice.self_fed ? fed : symbol;
        ++going;
    }
    return going;
}

// Generate the rows of the slots [first, end); the last of T steps is left to the end symbol.
void generate(const Network& net, const Choice& choice, index first, index end, index* tokens, Team team) {
    for (index t = 0; t + 1 < choice.steps && first < end; ++t) {
        advance(net, t, first, end, team);
        if (team.all == 1) {
            end = choose(net, choice, t, first, end, tokens);
            continue;
        }
        if (team.mine == 0) *net.going = choose(net, choice, t, first, end, tokens);
        team.wait();
        end = *net.going;
    }
}

// The most likely symbols of the slots [first, end), each read at the step after; the first column of the symbols is given.
void walk_path(const Network& net, index steps, index first, index end, index* symbols, Team team) {
    for (index t = 0; t + 1 < steps; ++t) {
        advance(net, t, first, end, team);
        for (index slot = first; slot < end && team.mine == 0; ++slot) {
            symbols[slot * steps + t + 1] = net.symbol[slot] = most_likely(net.logits + slot * net.V, net.V);
            carry(net, slot, slot);
        }
        team.wait();
    }
}

// Run walk(first row, end row, team) over all rows.
template <class Walk>
void over_rows(const Network& net, index threads, const Walk& walk) {
    const index panels = net.H / LANES, most = panels / TEAM_PANELS;
    if (net.B < threads && most > 1) return together(std::min(threads, most), [&](Team team) { walk(0, net.B, team); });
    share(net.B, threads, [&](index first, index end) {
        by_groups(first, end, [&](index from, index to) { walk(from, to, Team{}); });
    });
}

}  // namespace

extern "C" {

// Fill tokens (B, T), given full of end symbols, with a sequence a row: of an Emitter, as a Choice says, in memory as Network says.
void textvae_generate(const void* emitter, const void* choice, float* room, std::int64_t* marks, std::int64_t* tokens,
                      std::int64_t threads) {
    const Network net(*static_cast<const Emitter*>(emitter), room, marks);
    const Choice& way = *static_cast<const Choice*>(choice);
    over_rows(net, threads, [&](index first, index end, Team team) { generate(net, way, first, end, tokens, team); });
}

// Fill symbols (B, T), given with an end symbol first in each row, with those that a self-fed Emitter reads, whatever is emitted.
void textvae_path(const void* emitter, std::int64_t steps, float* room, std::int64_t* marks, std::int64_t* symbols, std::int64_t threads) {
    const Network net(*static_cast<const Emitter*>(emitter), room, marks);
    over_rows(net, threads, [&](index first, index end, Team team) { walk_path(net, steps, first, end, symbols, team); });
}

}  // extern "C"
