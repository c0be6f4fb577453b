// Layers without recurrence, as many as stand one after another in one call each way: a convolution (a linear layer is one of a kernel of
// 1) or its transpose, the bias, and what stands after it, an ELU and dropout.
//
// Both know maps of two sides, (B, S, C) and (B, W, O): a convolution leads from the first to the second, a transposed one back. W windows
// of `kernel` positions are cut from the first, and weights (O, C, kernel), those of torch's layers of either kind, are multiplied with
// them: one product for what goes ahead, its transpose for what goes back, and the sum over rows of both sides for the weights.
//
// Each thread takes sequences of its own, some at a time: what one part of a call leaves is still in the second cache for the next.
// In bf16 stand maps, windows and what is multiplied; weights, biases, their gradients and all sums are fp32.

#pragma once

#include "product.h"
#include "windows.h"

namespace textvae {

namespace {

constexpr index ROWS_AT_A_TIME = 256;  // of windows

// As the caller fills it in.
struct Layer {
    index bytes;  // of a number: 4, or 2
    index B, S, C, W, O, kernel, stride, crop;
    index back;    // from (B, W, O) to (B, S, C)
    index curved;  // by ELU
    index threads;
    index seed, least;  // of dropout
    float scale;
    const float *weight, *bias;
    float *dweight, *dbias;  // where they are asked for: both, or none
    void* y;                 // what it gave; in backward wanted of layers that bend
};

// Memory of the caller's for what a call forgets: laid out once to be counted, and again to be used.
struct Room {
    char* at;
    index used = 0;

    template <class T>
    T* take(index count) {
        T* here = reinterpret_cast<T*>(at + used);
        used += rounded_up(count * static_cast<index>(sizeof(T)), 64);
        return here;
    }
};

// A thread's work on a layer.
template <class Number>
struct Work {
    const Layer& layer;
    Team team;
    Cut cut;
    index width, wide, side, at_a_time;  // numbers of a window; the same, and O, up to a whole depth; sequences
    Bend bend;
    Number* packed;                            // weights; the rest is this thread's own
    Number *gradient, *windows, *turned, *over_rows;
    float *sums, *dweight, *dbias, *others;    // the last: all threads' dweight, `apart` from each other, and then dbias
    index apart, room;                         // bytes
    index first, end;                          // this thread's sequences
    index line;                                // numbers from one row of dweight to the next

    Work(const Layer& l, Team mine, void* memory)
        : layer(l), team(mine), cut{l.S, l.C, l.W, l.kernel, l.stride, l.crop}, width(l.kernel * l.C), wide(depth_of<Number>(width)),
          side(depth_of<Number>(l.O)), at_a_time(std::min(l.B, std::max<index>(1, ROWS_AT_A_TIME / l.W))),
          bend{{l.seed, static_cast<std::uint32_t>(l.least), l.scale}, l.curved != 0}, first(l.B * team.mine / team.all),
          end(l.B * (team.mine + 1) / team.all) {
        with_panels(width, [&](auto n) { line = rounded_up(width, n * LANES); });
        const index rows = at_a_time * l.W, most = std::max(width, l.O);
        Room shared{static_cast<char*>(memory)};
        packed = shared.take<Number>(std::max(packed_size<Number>(width, l.O), packed_size<Number>(l.O, width)));
        Room own{shared.at + shared.used};
        const auto lay = [&] {
            dweight = own.take<float>(l.O * rounded_up(width, MOST_COLUMNS));
            dbias = own.take<float>(std::max(l.O, l.C));
            gradient = own.take<Number>(std::max(rows * side, at_a_time * l.S * l.C));
            windows = own.take<Number>(rows * wide);
            turned = own.take<Number>(l.O * depth_of<Number>(rows));
            over_rows = own.take<Number>(packed_size<Number>(rows, width));
            sums = own.take<float>(words<Number>(most) > DEPTH<Number> ? rows * rounded_up(most, MOST_COLUMNS) : 0);
        };
        lay();
        others = dweight, apart = own.used, room = shared.used + apart * l.threads;
        own = {own.at + apart * team.mine};
        lay();
    }

    // Run each(first, end) for this thread's sequences, some at a time.
    template <class Each>
    void by_sequences(const Each& each) const {
        for (index b = first; b < end; b += at_a_time) each(b, std::min(end, b + at_a_time));
    }
    bool cuts() const { return layer.kernel > 1 || layer.stride > 1 || layer.crop || layer.S != layer.W || wide != width; }

    auto within() const {  // where a number of a window stands in the weights of an output
        return [C = layer.C, kernel = layer.kernel](index j) { return j % C * kernel + j / C; };
    }
    auto among() const {  // and where an output's weights begin
        return [width = width](index o) { return o * width; };
    }
    void pack_ahead(const float* weight) const {  // windows to O
        with_panels(layer.O, [&](auto n) { pack_columns<Number, n>(team, width, layer.O, weight, within(), among(), packed); });
    }
    void pack_back(const float* weight) const {  // O to windows
        with_panels(width, [&](auto n) { pack_columns<Number, n>(team, layer.O, width, weight, among(), within(), packed); });
    }

    // Windows of the maps (B, S, C) of some sequences: those maps themselves where nothing is cut.
    const Number* cut_windows(index first, index end, const Number* x) const {
        if (!cuts()) return x + first * layer.S * layer.C;
        for (index b = first; b < end; ++b) take(cut, x + b * layer.S * layer.C, windows + (b - first) * layer.W * wide, wide);
        return windows;
    }

    // The same added up, `finish(sum, row of (B * S), column)`.
    template <class Finish>
    void add_windows(index first, index end, const Finish& finish) const {
        for (index b = first; b < end; ++b)
            add(cut, windows + (b - first) * layer.W * wide, wide,
                [&](vec sum, index position, index c) { finish(sum, b * layer.S + position, c); });
    }

    // Some sequences' windows times weights, or what they meet; `finish(sum, row from 0, column)`.
    template <class Finish>
    void multiply(index sequences, const Number* left, index row, index depth, index columns, const Finish& finish) const {
        with_panels(columns, [&](auto n) {
            run_product(Product<Number, n, Finish>{left, row, depth, packed, columns, sums, false, finish}, 0, sequences * layer.W);
        });
    }

    // What takes sums to numbers of a matrix (rows, columns): with a bias, and bent; or as they are, rows so far apart.
    auto bent(const float* bias, Number* y, index columns, index first_row) const {
        return [bend = bend, bias, y, columns, first_row](vec sum, index r, index column) {
            const index count = columns - column, place = (first_row + r) * columns + column;
            store_some(y + place, bend.forward(sum + load_some(bias + column, count), places_from(place)), count);
        };
    }
    auto plain(Number* y, index row, index columns) const {
        return [=](vec sum, index r, index column) { store_some(y + r * row + column, sum, columns - column); };
    }

    // The gradient of what is bent, for rows [first, end) of (rows, columns): `row` apart, zeros after the columns.
    void bend_back(index first, index end, const Number* y, const Number* dy, index columns, index row) const {
        Number* to = gradient;
        for (index r = first; r < end; ++r, to += row) {
            for (index c = 0; c < columns; c += LANES) {
                const index place = r * columns + c, count = columns - c;
                store_some(to + c, bend.backward(load_some(dy + place, count), load_some(y + place, count), places_from(place)), count);
            }
            std::fill(to + columns, to + row, Number{});
        }
    }

    // Before the first of this thread's sequences: sums of biases begin with zeros, those of weights too where there are no sequences.
    void forget() const {
        std::fill_n(dbias, std::max(layer.O, layer.C), 0.0f);
        if (first == end) std::fill_n(dweight, layer.O * line, 0.0f);
    }

    // Rows of O of some sequences, each up to a whole depth.
    const Number* whole_rows(index first, index end, const Number* x) const {
        const index rows = (end - first) * layer.W, O = layer.O;
        x += first * layer.W * O;
        if (side == O) return x;
        for (index r = 0; r < rows; ++r) std::fill(std::copy_n(x + r * O, O, gradient + r * side), gradient + (r + 1) * side, Number{});
        return gradient;
    }

    // Add to this thread's gradient of the weights, or begin with it: rows of O, transposed, by windows, of sequences from `b` on.
    void weigh(index b, index rows, const Number* of_o, index row, const Number* of_windows) const {
        transpose(of_o, row, rows, layer.O, turned);
        with_panels(width, [&](auto n) {
            pack_over_rows<Number, n>(of_windows, wide, rows, width, over_rows);
            const auto keep = [&](vec sum, index o, index column) { store(dweight + o * line + column, sum); };
            const index deep = depth_of<Number>(rows);
            run_product(Product<Number, n, decltype(keep)>{turned, deep, rows, over_rows, width, dweight, b > first, keep}, 0, layer.O);
        });
    }

    // All threads' gradients, into the weights' order.
    void gather(index biases, float* to_weight, float* to_bias) const {
        team.wait();
        const auto of = [&](const float* mine, index thread) {
            return reinterpret_cast<const float*>(reinterpret_cast<const char*>(others) + thread * apart) + (mine - dweight);
        };
        for (index o = layer.O * team.mine / team.all; o < layer.O * (team.mine + 1) / team.all; ++o)
            for (index column = 0, tap = 0, c = 0; column < width; column += LANES) {
                vec sum{};
                for (index thread = 0; thread < team.all; ++thread) sum += load(of(dweight + o * line + column, thread));
                const index count = std::min<index>(LANES, width - column);
                if (layer.kernel == 1) {
                    store_some(to_weight + o * width + column, sum, count);
                    continue;
                }
                for (index lane = 0; lane < count; ++lane) {
                    to_weight[o * width + c * layer.kernel + tap] = sum[lane];
                    if (++c == layer.C) c = 0, ++tap;
                }
            }
        if (team.mine == 0)
            for (index i = 0; i < biases; ++i) {
                to_bias[i] = 0.0f;
                for (index thread = 0; thread < team.all; ++thread) to_bias[i] += *of(dbias + i, thread);
            }
    }
};

// Run run(a thread's `Work`).
template <class Number, class Run>
void with_layer(const Layer& layer, void* memory, const Run& run) {
    together(layer.threads, [&](Team team) { run(Work<Number>(layer, team, memory)); });
}

}  // namespace

}  // namespace textvae
