// The forward walks of LSTM and GRU layers: see recurrence.h.

#include "recurrence.h"

namespace textvae {

namespace {

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

template <class Cell>
void walk_forward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        [[maybe_unused]] const Registers<Cell> registers{};
        by_groups(first, end, [&](index from, index to) {
            for (index t = 0; t < cell.T; ++t) step(cell, t, from, to);
        });
    });
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

}  // extern "C"

}  // namespace textvae
