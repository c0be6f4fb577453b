// The backward walks of LSTM and GRU layers: see recurrence.h.

#include "recurrence.h"

namespace textvae {

namespace {

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

template <class Cell>
void walk_backward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        [[maybe_unused]] const Registers<Cell> registers{};
        by_groups(first, end, [&](index from, index to) {
            for (index t = cell.T - 1; t >= cell.last; --t) step(cell, t, from, to);
        });
    });
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

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

}  // namespace textvae
