// Fused LSTM and GRU recurrences: forward and backward over all steps of a batch, in fp32 or bf16.
//
// Forward, one product a step of [h, 1, x] with the packed weights and biases, to which may be added what the step's symbol adds, a row
// of a table, and what the sequence does at every step; backward, one of the gates' gradients with the recurrent weights. A product's
// tiles are held in registers from the first multiplication to the cell's last operation. What does not recur, the gradients of the
// input and of the weights, is left to the caller's matrix library, over all steps at once. Rows of the batch do not depend on each
// other: each thread walks all steps of its own rows, and none waits for another.
//
// In bf16 stand what is multiplied and what is kept for backward; sums, c, and what is carried from step to step are fp32.
//
// Arrays are time-major: steps T, rows B (the batch), units H, and C numbers beside h: a one, if there is a bias, and x. H is a multiple
// of 48 or 64, in bf16 of 32 too (the caller pads). The gates of a row stand block by block, of so many units that divide H: i, f, g and
// o of the first units, then of the next; what an LSTM writes of them at once are then whole lines of the cache. Plain C interface.

#include "tiles.h"

namespace {

// What every walk knows. Without packed weights there is nothing to multiply: LSTM's single step, whose gates hold the sums, and the
// last step of a backward walk.
template <class Real>
struct Shape {
    using Number = Real;
    static constexpr bool SQUARED = true;
    static constexpr index PACKED = WORD<Number>, VECTOR = LANES * PACKED;
    static constexpr index PADDING = 16 * PACKED;  // after each row of gates, so that rows do not fall on the same lines of the cache

    index T, B, H, C;  // C is of the forward walks
    const Number* packed;
    Number* rows;   // (T + 1, B, row): before each step h and what is beside it: (H + C); zeros up to a line; then unused
    index row;
    Number* gates;  // (T, B, 4H + PADDING); (B, ...) where no step is kept
    index block;    // units of a gate that stand side by side; GRU: H
    bool keep;

    bool turns(index t) const { return PACKED > 1 && t % 2; }  // bf16's products are so fast that weights would be waited for
    bool fresh(index k) const { return packed && k == 0; }  // sums begin with zeros
    index gates_row() const { return 4 * H + PADDING; }
    Number* gates_at(index t, index b, index place) const { return gates + ((keep ? t * B : 0) + b) * gates_row() + place; }
    index place(index unit) const { return unit / block * 4 * block + unit % block; }  // of the first gate; the others are blocks apart
    Number* h_at(index t, index b, index unit) const { return rows + (t * B + b) * row + unit; }
};

// What sums begin with: a symbol's row of a table, and a sequence's own at every step. Both of G * H, gates in blocks; nullptr where
// there is none.
template <class Number>
struct Added {
    const Number* table;   // (V, G * H)
    const index* symbols;  // (T, B), each below V
    const Number* fixed;   // (B, G * H)

    bool nothing() const { return !table && !fixed; }

    // N vectors `apart` from each other, from a place in the rows of `width` on.
    template <int N>
    void begin(vec* sum, index row, index b, index width, index place, index apart) const {
        const Number* of_symbol = table ? table + symbols[row] * width + place : nullptr;
        const Number* of_sequence = fixed ? fixed + b * width + place : nullptr;
        for (int n = 0; n < N; ++n) {
            sum[n] = of_symbol ? load(of_symbol + n * apart) : vec{};
            if (of_sequence) sum[n] += load(of_sequence + n * apart);
        }
    }
};

// What both forward walks share: where sums stand between chunks, in the gates' place where that holds fp32.
template <class Real>
struct Forward : Shape<Real> {
    Added<Real> added;
    float* sums;     // (B, 4H + 16), gate by gate; in fp32 nullptr where they stand in the gates' place
    float* carried;  // bf16, GRU: h (B, H), the first given

    bool fresh(index k) const { return Shape<Real>::fresh(k) && added.nothing(); }

    float* sum_at(index t, index b, index gate, index unit) const {
        if constexpr (WORD<Real> == 1)
            if (!sums) return this->gates_at(t, b, this->place(unit) + gate * this->block);
        return sums + b * (4 * this->H + 16) + gate * this->H + unit;
    }
    index panels() const { return this->H / LANES; }
    index left_row() const { return this->row; }

    template <int M>
    void prefetch(index, index, index, index) const {}
};

// i, f, g, o = activations of [h, 1, x] W and what is added;  c = f c + i g;  h = o tanh(c)
template <class Number>
struct LstmForward : Forward<Number> {
    static constexpr int N = 4;
    float* c;  // (T + 1, B, H), c[0] given; (B, H) where not `keep`

    index depth(index) const { return this->packed ? words<Number>(this->H + this->C) : 0; }
    index chunk(index t, index k) const { return chunk_end<Number>(k, 0, depth(t)); }
    const Number* left(index t, index b, index k) const { return this->h_at(t, b, k * this->PACKED); }

    template <int M>
    void enter(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index unit = panel * LANES;
        for (int m = 0; m < M; ++m)
            if (this->packed && k == 0)
                this->added.template begin<N>(sum[m], t * this->B + b + m, b + m, N * this->H, this->place(unit), this->block);
            else
                for (int n = 0; n < N; ++n) sum[m][n] = load(this->sum_at(t, b + m, n, unit));
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index B = this->B, H = this->H, unit = panel * LANES, place = this->place(unit), block = this->block;
        if (k < depth(t)) {
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; ++n) store(this->sum_at(t, b + m, n, unit), sum[m][n]);
            return;
        }
        for (int m = 0; m < M; ++m) {  // all rows' gates first: none waits for another
            sum[m][0] = sigmoid(sum[m][0]), sum[m][1] = sigmoid(sum[m][1]);
            sum[m][2] = tanh(sum[m][2]), sum[m][3] = sigmoid(sum[m][3]);
        }
        if (this->keep)
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; n += 2) store_pair(this->gates_at(t, b + m, place + n * block), block, sum[m][n], sum[m][n + 1]);
        for (int m = 0; m < M; ++m, ++b) {
            float* before = c + ((this->keep ? t * B : 0) + b) * H + unit;
            const vec cell = sum[m][1] * load(before) + sum[m][0] * sum[m][2], hidden = sum[m][3] * tanh(cell);
            store(this->keep ? before + B * H : before, cell);
            store(this->h_at(t + 1, b, unit), hidden);
        }
    }
};

// r, z = sigmoid of [h, 1, x] W and what is added;  q = [h, 1] W;  n = tanh([1, x] W and what is added + r q);  h = (1 - z) n + z h
// The depth has two parts, [h, 1] for r, z, q and [1, x] for r, z, n, that share the one (in bf16 the first of x too, which weigh
// nothing in the first part). In memory the gates stand as n, r, z, q.
template <class Number>
struct GruForward : Forward<Number> {
    static constexpr int N = 3;

    index first_part() const { return words<Number>(this->H + 1); }
    index depth(index) const { return first_part() + words<Number>(this->C); }
    index chunk(index t, index k) const {
        return k < first_part() ? chunk_end<Number>(k, 0, first_part()) : chunk_end<Number>(k, first_part(), depth(t));
    }
    const Number* left(index t, index b, index k) const {
        return this->h_at(t, b, k < first_part() ? k * this->PACKED : (k - first_part()) * this->PACKED + this->H);
    }

    template <int M>
    void enter(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index H = this->H, unit = panel * LANES;
        for (int m = 0; m < M; ++m) {
            const index row = t * this->B + b + m;
            if (k == 0)
                this->added.template begin<2>(sum[m], row, b + m, N * H, unit, H), sum[m][2] = vec{};
            else
                for (int n = 0; n < (k == first_part() ? 2 : N); ++n)
                    sum[m][n] = load(this->sum_at(t, b + m, slot(n, k < first_part()), unit));
            if (k == first_part()) this->added.template begin<1>(sum[m] + 2, row, b + m, N * H, 2 * H + unit, H);
        }
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index H = this->H, unit = panel * LANES;
        if (k < depth(t)) {
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; ++n) store(this->sum_at(t, b + m, slot(n, k <= first_part()), unit), sum[m][n]);
            return;
        }
        for (int m = 0; m < M; ++m) sum[m][0] = sigmoid(sum[m][0]), sum[m][1] = sigmoid(sum[m][1]);
        for (int m = 0; m < M; ++m) sum[m][2] = tanh(sum[m][2] + sum[m][0] * load(this->sum_at(t, b + m, 3, unit)));
        for (int m = 0; m < M; ++m, ++b) {
            const vec z = sum[m][1], n = sum[m][2], before = h_before(t, b, unit), hidden = n + z * (before - n);
            store(this->h_at(t + 1, b, unit), hidden);
            if constexpr (WORD<Number> > 1) store(this->carried + b * H + unit, hidden);
            if (!this->keep) continue;
            store(this->gates_at(t, b, unit), n), store(this->gates_at(t, b, H + unit), sum[m][0]);
            store(this->gates_at(t, b, 2 * H + unit), z);
            if constexpr (WORD<Number> > 1) store(this->gates_at(t, b, 3 * H + unit), load(this->sum_at(t, b, 3, unit)));
        }
    }

    // In fp32: what a small z adds in many steps would be lost in bf16.
    vec h_before(index t, index b, index unit) const {
        if constexpr (WORD<Number> == 1)
            return load(this->h_at(t, b, unit));
        else
            return load(this->carried + b * this->H + unit);
    }

    // Where a tile's vector stands in the gates' memory: r, z, then q of the first part or n of the second.
    static index slot(int n, bool first_part) { return n < 2 ? n + 1 : first_part ? 3 : 0; }
};

// What both backward walks share: dh of step t is the output's gradient plus the next step's dgates times W_hh. The gates'
// gradients take the place of the gates.
template <class Number, int WIDTH>
struct Backward : Shape<Number> {
    static constexpr int N = WIDTH;
    const Number* doutput;  // (B, T, H) with the strides below; nullptr where no output is used
    index doutput_row, doutput_step;
    float* dh;       // (B, H): in, the gradient of the last h; out, of the first
    float* scratch;  // (B, H)
    index last;      // step of the walk: 0; -1, of which there is only the product, where the first h's gradient is asked for

    index panels() const { return this->H / (N * LANES); }
    index left_row() const { return this->gates_row(); }
    float* partial(index b, index panel) const { return scratch + b * this->H + panel * N * LANES; }

    template <int M>
    void enter(Tile<M, N>& sum, index, index b, index panel, index k) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = k == 0 ? vec{} : load(partial(b + m, panel) + n * LANES);
    }

    template <int M>
    void pause(const Tile<M, N>& sum, index b, index panel) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) store(partial(b + m, panel) + n * LANES, sum[m][n]);
    }

    // Fetch what a tile's last operations read, some rows at each chunk: each row is fetched by one of them.
    template <int M>
    void prefetch_rows(index t, index b, index panel, index k, index depth, const float* states) const {
        const index chunks = (depth + DEPTH<Number> - 1) / DEPTH<Number>;
        if (chunks == 0 || t < 0) return;
        for (index m = k * chunks / depth; m < M; m += chunks)
            for (int n = 0; n < N; ++n) {
                const index unit = (panel * N + n) * LANES;
                for (int gate = 0; gate < 4; ++gate) __builtin_prefetch(this->gates_at(t, b + m, this->place(unit) + gate * this->block), 1, 2);
                if (doutput) __builtin_prefetch(doutput + (b + m) * doutput_row + t * doutput_step + unit, 0, 2);
                if (states) __builtin_prefetch(states + (t * this->B + b + m) * this->H + unit, 0, 2);
            }
    }

    vec output_gradient(index t, index b, index unit) const {
        return doutput ? load(doutput + b * doutput_row + t * doutput_step + unit) : vec{};
    }
};

template <class Number, int WIDTH>
struct LstmBackward : Backward<Number, WIDTH> {
    static constexpr int N = WIDTH;
    const float* c;  // (T + 1, B, H)
    float* dc;       // (B, H): in, the gradient of the last c; out, of the first

    index depth(index t) const { return t == this->T - 1 ? 0 : words<Number>(4 * this->H); }
    index chunk(index t, index k) const { return chunk_end<Number>(k, 0, depth(t)); }
    const Number* left(index t, index b, index k) const { return this->gates_at(t + 1, b, k * this->PACKED); }

    template <int M>
    void prefetch(index t, index b, index panel, index k) const {
        this->template prefetch_rows<M>(t, b, panel, k, depth(t), c);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index first, index panel, index k) const {
        const index B = this->B, H = this->H, block = this->block;
        if (k < depth(t)) return this->template pause<M>(sum, first, panel);
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const index b = first + m, unit = (panel * N + n) * LANES;
                if (t < 0) {
                    store(this->dh + b * H + unit, sum[m][n]);
                    continue;
                }
                Number* a = this->gates_at(t, b, this->place(unit));
                const vec i = load(a), f = load(a + block), g = load(a + 2 * block), o = load(a + 3 * block);
                const float* before = c + (t * B + b) * H + unit;
                vec dh = sum[m][n] + this->output_gradient(t, b, unit);
                if (t == this->T - 1) dh += load(this->dh + b * H + unit);
                const vec squashed = tanh(load(before + B * H));
                float* carried = dc + b * H + unit;
                const vec dcell = load(carried) + dh * o * (1.0f - squashed * squashed);
                store(carried, dcell * f);
                store_pair(a, block, dcell * g * i * (1.0f - i), dcell * load(before) * f * (1.0f - f));
                store_pair(a + 2 * block, block, dcell * i * (1.0f - g * g), dh * squashed * o * (1.0f - o));
            }
    }
};

template <class Number, int WIDTH>
struct GruBackward : Backward<Number, WIDTH> {
    static constexpr int N = WIDTH;

    index depth(index t) const { return t == this->T - 1 ? 0 : words<Number>(3 * this->H); }
    index chunk(index t, index k) const { return chunk_end<Number>(k, 0, depth(t)); }
    const Number* left(index t, index b, index k) const { return this->gates_at(t + 1, b, this->H + k * this->PACKED); }

    template <int M>
    void prefetch(index t, index b, index panel, index k) const {
        this->template prefetch_rows<M>(t, b, panel, k, depth(t), nullptr);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index first, index panel, index k) const {
        const index H = this->H;
        if (k < depth(t)) return this->template pause<M>(sum, first, panel);
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const index b = first + m, unit = (panel * N + n) * LANES;
                float* carried = this->dh + b * H + unit;
                if (t < 0) {
                    store(carried, load(carried) + sum[m][n]);
                    continue;
                }
                Number* a = this->gates_at(t, b, unit);
                const vec new_h = load(a), r = load(a + H), z = load(a + 2 * H), q = load(a + 3 * H);
                const vec dh = sum[m][n] + this->output_gradient(t, b, unit) + load(carried);
                const vec dn = dh * (1.0f - z) * (1.0f - new_h * new_h);
                store(carried, dh * z);
                store(a, dn), store(a + H, dn * q * r * (1.0f - r));
                store(a + 2 * H, dh * (load(this->h_at(t, b, unit)) - new_h) * z * (1.0f - z)), store(a + 3 * H, dn * r);
            }
    }
};

struct Nothing {};

template <class Cell>
void walk_forward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        [[maybe_unused]] const std::conditional_t<BY_SQUARES<Cell>, MatrixRegisters, Nothing> registers{};
        by_groups(first, end, [&](index from, index to) {
            for (index t = 0; t < cell.T; ++t) step(cell, t, from, to);
        });
    });
}

template <class Cell>
void walk_backward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        [[maybe_unused]] const std::conditional_t<BY_SQUARES<Cell>, MatrixRegisters, Nothing> registers{};
        by_groups(first, end, [&](index from, index to) {
            for (index t = cell.T - 1; t >= cell.last; --t) step(cell, t, from, to);
        });
    });
}

template <class Number>
Shape<Number> shaped(index T, index B, index H, index C, const void* packed, void* rows, index row, void* gates, index block,
                     bool keep) {
    const auto weights = static_cast<const Number*>(packed);
    return {T, B, H, C, weights, static_cast<Number*>(rows), row, static_cast<Number*>(gates), block, keep};
}

template <class Number>
Added<Number> adding(const void* table, const index* symbols, const void* fixed) {
    return {static_cast<const Number*>(table), symbols, static_cast<const Number*>(fixed)};
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

void textvae_lstm_forward(index bytes, index T, index B, index H, index C, const void* packed, void* rows, index row, void* gates,
                          index block, const void* table, const index* symbols, const void* fixed, float* sums, float* c, int keep,
                          index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto shape = shaped<Number>(T, B, H, C, packed, rows, row, gates, block, keep);
        walk_forward(LstmForward<Number>{{shape, adding<Number>(table, symbols, fixed), sums, nullptr}, c}, threads);
    });
}

void textvae_gru_forward(index bytes, index T, index B, index H, index C, const void* packed, void* rows, index row, void* gates,
                         index block, const void* table, const index* symbols, const void* fixed, float* sums, float* carried, int keep,
                         index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto shape = shaped<Number>(T, B, H, C, packed, rows, row, gates, block, keep);
        walk_forward(GruForward<Number>{{shape, adding<Number>(table, symbols, fixed), sums, carried}}, threads);
    });
}

void textvae_lstm_backward(index bytes, index T, index B, index H, const void* packed, void* rows, index row, void* gates,
                           index block, const float* c, const void* doutput, index doutput_row, index doutput_step, float* dh, float* dc,
                           float* scratch, int to_first, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto shape = shaped<Number>(T, B, H, 0, packed, rows, row, gates, block, true);
        const auto given = static_cast<const Number*>(doutput);
        with_width(H, [&](auto width) {
            walk_backward(LstmBackward<Number, width>{{shape, given, doutput_row, doutput_step, dh, scratch, to_first ? -1 : 0}, c, dc}, threads);
        });
    });
}

void textvae_gru_backward(index bytes, index T, index B, index H, const void* packed, void* rows, index row, void* gates,
                          index block, const void* doutput, index doutput_row, index doutput_step, float* dh, float* scratch, int to_first,
                          index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto shape = shaped<Number>(T, B, H, 0, packed, rows, row, gates, block, true);
        const auto given = static_cast<const Number*>(doutput);
        with_width(H, [&](auto width) {
            walk_backward(GruBackward<Number, width>{{shape, given, doutput_row, doutput_step, dh, scratch, to_first ? -1 : 0}}, threads);
        });
    });
}

}  // extern "C"
