// Beam search with a recurrent emitter: all steps of many sequences, fp32, from one call; scores are double.
//
// A sequence's beams stand side by side in the state. They hold unfinished strings only; every way of ending one of them is compared
// with the best finished string so far, and a sequence leaves once no unfinished string can overtake that. Strings are not copied:
// each step keeps every beam's parent and symbol, and a string is read backwards through them.

#include <cmath>
#include <vector>

#include "emitter.h"

namespace textvae {

namespace {

constexpr double IMPOSSIBLE = -std::numeric_limits<double>::infinity();

// What is searched for, as the caller fills it in.
struct Search {
    index beams, steps;                // W, T
    const index* forbidden;
    index forbidden_count;
    index self_fed;                    // whether the emitter reads its own most likely symbols, whatever stands in the beam
};

struct Candidate {
    double score;
    index parent, symbol;

    bool operator<(const Candidate& other) const {  // better first; of equals the earlier
        if (score != other.score) return score > other.score;
        return parent != other.parent ? parent < other.parent : symbol < other.symbol;
    }
};

// One sequence's search.
struct Beams {
    std::vector<double> scores;                // (W), from the best on
    std::vector<index> parents, symbols;       // (T, W)
    double best = IMPOSSIBLE;                  // of the finished strings

    Beams(index beams, index steps) : scores(beams, IMPOSSIBLE), parents(steps * beams), symbols(steps * beams) {
        scores[0] = 0;  // all beams start alike: only one of them may branch
    }

    // The string of a beam after `length` steps; behind it stand end symbols.
    void read(index beam, index length, index steps, index* tokens) const {
        const index beams = scores.size();
        std::fill(tokens + length, tokens + steps, END);
        for (index t = length - 1; t >= 0; --t) tokens[t] = symbols[t * beams + beam], beam = parents[t * beams + beam];
    }
};

// The best W ways to go on from logits (W, V); the logits' best way to end is compared with the best so far and read into tokens.
std::vector<Candidate> candidates(const Network<float>& net, const Search& search, index t, index slot, Beams& beams, index* tokens) {
    const index W = search.beams, V = net.V;
    std::vector<Candidate> best;  // the worst of them in front
    best.reserve(W + 1);
    index ended = -1;
    for (index beam = 0; beam < W && beams.scores[beam] > IMPOSSIBLE; ++beam) {
        const float* logits = net.logits + (slot + beam) * V;
        float* weight = net.weight + (slot + beam) * V;
        weigh(logits, V, 1, weight);
        double sum = 0;
        for (index v = 0; v < V; v += LANES) sum += sum_of(load(weight + v));
        const double before = beams.scores[beam] - largest(logits, V) - std::log(sum);
        if (before + logits[END] > beams.best) beams.best = before + logits[END], ended = beam;
        for (index i = 0; i < search.forbidden_count; ++i) weight[search.forbidden[i]] = 0;
        for (index v = 0; v < V; ++v) {
            const Candidate found{before + logits[v], beam, v};
            if (v == END || !(weight[v] > 0)) continue;
            if (index(best.size()) == W && !(found < best.front())) continue;
            best.push_back(found);
            std::push_heap(best.begin(), best.end());
            if (index(best.size()) > W) std::pop_heap(best.begin(), best.end()), best.pop_back();
        }
    }
    if (ended >= 0) beams.read(ended, t, search.steps, tokens);
    std::sort_heap(best.begin(), best.end());
    return best;
}

// Search for the sequences [first, end), whose beams are the slots [first * W, end * W).
void search_rows(const Network<float>& net, const Search& search, index first, index end, index* tokens) {
    const index W = search.beams, T = search.steps;
    std::vector<Beams> all(end - first, Beams(W, T));
    index live = end - first;
    for (index t = 0; t < T && live > 0; ++t) {
        advance(net, t, first * W, (first + live) * W, Team{});
        index going = 0;
        for (index i = 0; i < live; ++i) {
            const index from = (first + i) * W, to = (first + going) * W, row = net.row[from];
            Beams& beams = all[row - first];
            const std::vector<Candidate> next = candidates(net, search, t, from, beams, tokens + row * T);
            // A score never rises: what is not above the best finished string now cannot overtake it any more.
            if (t + 1 == T || next.empty() || !(next[0].score > beams.best)) continue;
            std::fill(beams.scores.begin(), beams.scores.end(), IMPOSSIBLE);
            for (index beam = 0; beam < index(next.size()); ++beam) {
                const auto [score, parent, symbol] = next[beam];
                const index fed = search.self_fed ? most_likely(net.logits + (from + parent) * net.V, net.V) : symbol;
                beams.scores[beam] = score, beams.parents[t * W + beam] = parent, beams.symbols[t * W + beam] = symbol;
                carry(net, from + parent, to + beam);
                net.symbol[to + beam] = fed;
            }
            std::fill(net.row + to, net.row + to + W, row);
            ++going;
        }
        live = going;
    }
}

}  // namespace

extern "C" {

// Fill tokens (B / W, T) with the likeliest string that is found for each sequence: of an Emitter of B slots, as a Search says.
void textvae_search(const void* emitter, const void* search, float* room, std::int64_t* marks, std::int64_t* tokens,
                    std::int64_t threads) {
    const Search& way = *static_cast<const Search*>(search);
    const Network<float> net(*static_cast<const Emitter*>(emitter), room, marks, way.beams);
    const index at_once = std::max<index>(1, GROUP / way.beams);
    share(net.B / way.beams, threads, [&](index first, index end) {
        for (; first < end; first += at_once) search_rows(net, way, first, std::min(first + at_once, end), tokens);
    });
}

}  // extern "C"

}  // namespace textvae
