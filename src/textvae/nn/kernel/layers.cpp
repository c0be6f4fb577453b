// Layers without recurrence, forward and backward in one call each: a convolution (a linear layer is one of a single position) or its
// transpose, the bias, and what stands after it, an ELU and dropout.
//
// Both know maps of two sides, (B, S, C) and (B, W, O): a convolution leads from the first to the second, a transposed one back. W windows
// of `kernel` positions are cut from the first, and weights (O, C, kernel), those of torch's layers of either kind, are multiplied with
// them: one product for what goes ahead, its transpose for what goes back, and the sum over rows of both sides for the weights.
//
// In bf16 stand maps, windows and what is multiplied; weights, biases, their gradients and all sums are fp32.

#include "product.h"
#include "windows.h"

namespace {

// As the caller fills it in.
struct Layer {
    index bytes;  // of a number: 4, or 2
    index B, S, C, W, O, kernel, stride, crop;
    index threads;
    index seed, least;  // of dropout
    float scale;
    std::int32_t curved;  // by ELU
};

template <class Number>
struct Work {
    const Layer& layer;
    Team team;
    Cut cut;
    index rows, width, wide, side;  // of windows and of what they meet; numbers of a window, the same up to a whole depth; of a row of O
    Bend bend;

    Work(const Layer& l, Team mine)
        : layer(l), team(mine), cut{l.S, l.C, l.W, l.kernel, l.stride, l.crop}, rows(l.B * l.W), width(l.kernel * l.C),
          wide(depth_of<Number>(width)), side(depth_of<Number>(l.O)), bend{{l.seed, static_cast<std::uint32_t>(l.least), l.scale}, l.curved != 0} {}

    index first() const { return layer.B * team.mine / team.all; }  // sequences of this thread
    index end() const { return layer.B * (team.mine + 1) / team.all; }
    bool cuts() const { return layer.kernel > 1 || layer.stride > 1 || layer.crop || layer.S != layer.W || wide != width; }

    auto within() const {  // where a number of a window stands in the weights of an output
        return [C = layer.C, kernel = layer.kernel](index j) { return j % C * kernel + j / C; };
    }
    auto among() const {  // and where an output's weights begin
        return [width = width](index o) { return o * width; };
    }

    void pack_ahead(const float* weight, Number* packed) const {  // windows to O
        with_panels(layer.O, [&](auto n) { pack_columns<Number, n>(team, width, layer.O, weight, within(), among(), packed); });
    }
    void pack_back(const float* weight, Number* packed) const {  // O to windows
        with_panels(width, [&](auto n) { pack_columns<Number, n>(team, layer.O, width, weight, among(), within(), packed); });
    }

    // This thread's windows, of maps (B, S, C).
    void cut_windows(const Number* x, Number* windows) const {
        for (index b = first(); b < end(); ++b) take(cut, x + b * layer.S * layer.C, windows + b * layer.W * wide, wide);
    }

    // This thread's rows by packed columns of one product or the other.
    template <class Finish>
    void multiply(const Number* left, index row, index depth, const Number* packed, index columns, float* sums, const Finish& finish) const {
        with_panels(columns, [&](auto n) {
            multiply_rows_by<n>(first() * layer.W, end() * layer.W, left, row, depth, packed, columns, sums, finish);
        });
    }

    // This thread's windows added up in maps (B, S, C).
    template <class Finish>
    void add_windows(const Number* windows, const Finish& finish) const {
        for (index b = first(); b < end(); ++b)
            add(cut, windows + b * layer.W * wide, wide, [&](vec sum, index position, index c) { finish(sum, b * layer.S + position, c); });
    }

    // What takes sums to numbers of a matrix (rows, columns), with a bias and bent; or as they are.
    auto bent(const float* bias, Number* y, index columns) const {
        return [bend = bend, bias, y, columns](vec sum, index r, index column) {
            const index count = columns - column, place = r * columns + column;
            store_some(y + place, bend.forward(sum + load_some(bias + column, count), places_from(place)), count);
        };
    }
    auto plain(Number* y, index row, index columns) const {
        return [=](vec sum, index r, index column) { store_some(y + r * row + column, sum, columns - column); };
    }

    // The gradient of what is bent, of this thread's sequences: (rows, columns), `row` apart, zeros after the columns.
    void bend_back(const Number* y, const Number* dy, index positions, index columns, Number* to, index row) const {
        for (index r = first() * positions; r < end() * positions; ++r) {
            for (index c = 0; c < columns; c += LANES) {
                const index place = r * columns + c, count = columns - c;
                store_some(to + r * row + c, bend.backward(load_some(dy + place, count), load_some(y + place, count), places_from(place)), count);
            }
            std::fill(to + r * row + columns, to + (r + 1) * row, Number{});
        }
    }

    // The gradient of the weights: a matrix (rows, O) transposed, by windows (rows, width).
    void weigh(const Number* turned, const Number* packed, float* sums, float* dweight) const {
        const auto scatter = [&, kernel = layer.kernel, C = layer.C](vec sum, index o, index column) {
            float* to = dweight + o * width;
            const index count = width - column;
            if (kernel == 1) return store_some(to + column, sum, count);
            for (index lane = 0, tap = column / C, c = column % C; lane < std::min<index>(LANES, count); ++lane) {
                to[c * kernel + tap] = sum[lane];
                if (++c == C) c = 0, ++tap;
            }
        };
        const index from = layer.O * team.mine / team.all, to = layer.O * (team.mine + 1) / team.all;
        with_panels(width, [&](auto n) {
            multiply_rows_by<n>(from, to, turned, depth_of<Number>(rows), rows, packed, width, sums, scatter);
        });
    }
    void turn(const Number* of_o, index row, const Number* windows, index windows_row, Number* turned, Number* packed) const {
        transpose(team, of_o, row, rows, layer.O, turned);
        with_panels(width, [&](auto n) { pack_over_rows<Number, n>(team, windows, windows_row, rows, width, packed); });
    }
};

// Memory of the caller's for what a call forgets: laid out once to be counted, and again to be used.
struct Room {
    char* at;
    index used = 0;

    template <class T>
    T* take(index count) {
        char* here = at + used;
        used += rounded_up(count * static_cast<index>(sizeof(T)), 64);
        return reinterpret_cast<T*>(here);
    }
};

template <class Number>
struct Places {
    Number *packed, *gradient, *windows, *turned, *over_rows;
    float *sums, *weighed;

    Places(const Work<Number>& work, Room& room) {
        const Layer& layer = work.layer;
        const index positions = std::max(layer.S, layer.W), columns = std::max(work.side, depth_of<Number>(layer.C));
        packed = room.take<Number>(std::max(packed_size<Number>(work.width, layer.O), packed_size<Number>(layer.O, work.width)));
        gradient = room.take<Number>(layer.B * positions * columns);
        windows = room.take<Number>(work.rows * work.wide);
        turned = room.take<Number>(layer.O * depth_of<Number>(work.rows));
        over_rows = room.take<Number>(packed_size<Number>(work.rows, work.width));
        const bool chunks = words<Number>(std::max(work.width, layer.O)) > DEPTH<Number>;
        sums = room.take<float>(chunks ? work.rows * rounded_up(std::max(work.width, layer.O), MOST_COLUMNS) : 0);
        weighed = room.take<float>(layer.O * rounded_up(work.width, MOST_COLUMNS));
    }
};

// Run work(a thread's `Work`, places in memory).
template <class Do>
void with_layer(const Layer& layer, void* memory, const Do& run) {
    with_number(layer.bytes, [&](auto number) {
        using Number = decltype(number);
        together(layer.threads, [&](Team team) {
            const Work<Number> work(layer, team);
            Room room{static_cast<char*>(memory)};
            run(work, Places<Number>(work, room));
        });
    });
}

template <class Number>
const Number* as(const Number*, const void* given) {
    return static_cast<const Number*>(given);
}
template <class Number>
Number* as(const Number*, void* given) {
    return static_cast<Number*>(given);
}

}  // namespace

extern "C" {

// Bytes of the memory that the calls below want beside their arguments.
void textvae_layer_room(const Layer* layer, index* bytes) {
    with_number(layer->bytes, [&](auto number) {
        const Work<decltype(number)> work(*layer, Team{});
        Room room{nullptr};
        Places<decltype(number)>(work, room);
        *bytes = room.used;
    });
}

// x (B, S, C) to y (B, W, O); `windows` (B * W, kernel * C up to a whole depth) are kept for backward, and are x itself where nothing is cut.
void textvae_convolve(const Layer* layer, const void* x, const float* weight, const float* bias, void* windows, void* y, void* memory) {
    with_layer(*layer, memory, [&](const auto& work, const auto& in) {
        work.pack_ahead(weight, in.packed);
        if (work.cuts()) work.cut_windows(as(in.packed, x), as(in.packed, windows));
        work.team.wait();
        const auto finish = work.bent(bias, as(in.packed, y), layer->O);
        work.multiply(as(in.packed, windows), work.wide, work.width, in.packed, layer->O, in.sums, finish);
    });
}

// From the gradient of y, and y, those of x (nullptr where it is not asked for), weight and bias.
void textvae_convolve_backward(const Layer* layer, const void* windows, const float* weight, const void* y, const void* dy, void* dx,
                               float* dweight, float* dbias, void* memory) {
    with_layer(*layer, memory, [&](const auto& work, const auto& in) {
        const auto number = in.packed;
        work.bend_back(as(number, y), as(number, dy), layer->W, layer->O, in.gradient, work.side);
        if (dx) work.pack_back(weight, in.packed);
        work.team.wait();
        sum_columns(work.team, in.gradient, work.side, work.rows, layer->O, dbias);
        work.turn(in.gradient, work.side, as(number, windows), work.wide, in.turned, in.over_rows);
        if (dx) {
            const bool cuts = work.cuts();
            const auto to = cuts ? work.plain(in.windows, work.wide, work.width) : work.plain(as(number, dx), work.width, work.width);
            work.multiply(in.gradient, work.side, layer->O, in.packed, work.width, in.sums, to);
            if (cuts) work.add_windows(in.windows, work.plain(as(number, dx), layer->C, layer->C));
        }
        work.team.wait();
        work.weigh(in.turned, in.over_rows, in.weighed, dweight);
    });
}

// x (B, W, O), rows up to a whole depth, to y (B, S, C).
void textvae_convolve_transposed(const Layer* layer, const void* x, const float* weight, const float* bias, void* y, void* memory) {
    with_layer(*layer, memory, [&](const auto& work, const auto& in) {
        work.pack_back(weight, in.packed);
        work.team.wait();
        work.multiply(as(in.packed, x), work.side, layer->O, in.packed, work.width, in.sums, work.plain(in.windows, work.wide, work.width));
        work.add_windows(in.windows, work.bent(bias, as(in.packed, y), layer->C));
    });
}

// The same back.
void textvae_convolve_transposed_backward(const Layer* layer, const void* x, const float* weight, const void* y, const void* dy, void* dx,
                                          float* dweight, float* dbias, void* memory) {
    with_layer(*layer, memory, [&](const auto& work, const auto& in) {
        const auto number = in.packed;
        work.bend_back(as(number, y), as(number, dy), layer->S, layer->C, in.gradient, layer->C);
        work.cut_windows(in.gradient, in.windows);
        if (dx) work.pack_ahead(weight, in.packed);
        work.team.wait();
        sum_columns(work.team, in.gradient, layer->C, layer->B * layer->S, layer->C, dbias);
        work.turn(as(number, x), work.side, in.windows, work.wide, in.turned, in.over_rows);
        if (dx) work.multiply(in.windows, work.wide, work.width, in.packed, layer->O, in.sums, work.plain(as(number, dx), layer->O, layer->O));
        work.team.wait();
        work.weigh(in.turned, in.over_rows, in.weighed, dweight);
    });
}

}  // extern "C"
