// Generation with a recurrent emitter: all steps of many sequences, in fp32 or bf16, from one call; and a self-fed emitter's path.
//
// Sequences that have ended leave: those that go on stand together, in the same order. Threads share the rows; where there are
// fewer rows than threads, they walk the rows together, each with its share of the weights, which are most of what a single row
// reads.

#include "emitter.h"

namespace textvae {

namespace {

constexpr index TEAM_PANELS = 4;  // panels that a thread of a team has at least: with fewer they wait longer than they work

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

template <class Number>
index chosen(const Network<Number>& net, const Choice& choice, index t, index slot) {
    const float* logits = net.logits + slot * net.V;
    float* weight = net.weight + slot * net.V;
    if (!choice.uniform || choice.temperature == 0) return most_likely(logits, net.V);
    weigh(logits, net.V, choice.temperature, weight);
    if (choice.top_k || choice.top_p < 1) cut(choice, net.V, weight, net.order + slot * net.V);
    return drawn(weight, net.V, choice.uniform[net.row[slot] * choice.steps + t]);
}

// Choose the next symbols of the slots [first, end) after step t; returns the end of those that go on, which stand together.
template <class Number>
index choose(const Network<Number>& net, const Choice& choice, index t, index first, index end, index* tokens) {
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
template <class Number>
void generate(const Network<Number>& net, const Choice& choice, index first, index end, index* tokens, Team team) {
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
template <class Number>
void walk_path(const Network<Number>& net, index steps, index first, index end, index* symbols, Team team) {
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
template <class Number, class Walk>
void over_rows(const Network<Number>& net, index threads, const Walk& walk) {
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
    const Emitter& given = *static_cast<const Emitter*>(emitter);
    const Choice& way = *static_cast<const Choice*>(choice);
    with_number(given.bytes, [&](auto number) {
        const Network<decltype(number)> net(given, room, marks);
        over_rows(net, threads, [&](index first, index end, Team team) { generate(net, way, first, end, tokens, team); });
    });
}

// Fill symbols (B, T), given with an end symbol first in each row, with those that a self-fed Emitter in fp32 reads, whatever is emitted.
void textvae_path(const void* emitter, std::int64_t steps, float* room, std::int64_t* marks, std::int64_t* symbols, std::int64_t threads) {
    const Network<float> net(*static_cast<const Emitter*>(emitter), room, marks);
    over_rows(net, threads, [&](index first, index end, Team team) { walk_path(net, steps, first, end, symbols, team); });
}

}  // extern "C"

}  // namespace textvae
