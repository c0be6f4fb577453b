// Fused LSTM and GRU recurrences: forward and backward over all steps of a batch, fp32.
//
// Forward, one product a step of [h, 1, x] with the packed weights and biases; backward, one of the gates' gradients with the
// recurrent weights. A product's tiles are held in registers from the first multiplication to the cell's last operation. What does
// not recur, the gradients of the input and of the weights, is left to the caller's matrix library, over all steps at once. Rows
// of the batch do not depend on each other: each thread walks all steps of its own rows, and none waits for another.
//
// Arrays are time-major: steps T, rows B (the batch), units H, inputs C. H is a multiple of 48 or 64 (the caller pads). Plain C
// interface.

#include "tiles.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

constexpr int PADDING = 16;  // floats after each row of gates, so that rows do not fall on the same lines of the cache

// What every walk knows. Where packed == nullptr there is nothing to multiply.
struct Shape {
    index T, B, H, C;
    const float* packed;
    float* rows;   // (T + 1, B, row): before each step h, a one, and the step's input: (H + 1 + C), then unused
    index row;
    float* gates;  // (T, B, 4H + PADDING); (B, ...) where no step is kept
    bool keep;

    bool turns(index) const { return false; }
    index gates_row() const { return 4 * H + PADDING; }
    float* gates_at(index t, index b, index unit) const { return gates + ((keep ? t * B : 0) + b) * gates_row() + unit; }
    float* h_at(index t, index b, index unit) const { return rows + (t * B + b) * row + unit; }
};

// i, f, g, o = activations of [h, 1, x] W;  c = f c + i g;  h = o tanh(c)
struct LstmForward : Shape {
    static constexpr int N = 4;
    float* c;       // (T + 1, B, H), c[0] given; (B, H) where not `keep`
    float* output;  // (B, T, H)

    index panels() const { return H / LANES; }
    index depth(index) const { return packed ? H + 1 + C : 0; }
    index chunk(index t, index k) const { return chunk_end(k, 0, depth(t)); }
    const float* left(index t, index b, index k) const { return h_at(t, b, k); }
    index left_row() const { return row; }

    template <int M>
    void prefetch(index, index, index, index) const {}

    template <int M>
    void enter(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = packed && k == 0 ? vec{} : load(gates_at(t, b + m, n * H + panel * LANES));
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index unit = panel * LANES;
        const bool done = k == depth(t);
        if (done)
            for (int m = 0; m < M; ++m) {  // all rows' gates first: none waits for another
                sum[m][0] = sigmoid(sum[m][0]), sum[m][1] = sigmoid(sum[m][1]);
                sum[m][2] = tanh(sum[m][2]), sum[m][3] = sigmoid(sum[m][3]);
            }
        if (!done || keep)
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; ++n) store(gates_at(t, b + m, n * H + unit), sum[m][n]);
        if (!done) return;
        for (int m = 0; m < M; ++m, ++b) {
            float* before = c + ((keep ? t * B : 0) + b) * H + unit;
            const vec cell = sum[m][1] * load(before) + sum[m][0] * sum[m][2], hidden = sum[m][3] * tanh(cell);
            store(keep ? before + B * H : before, cell);
            store(h_at(t + 1, b, unit), hidden);
            store(output + (b * T + t) * H + unit, hidden);
        }
    }
};

// r, z = sigmoid of [h, 1, x] W;  q = [h, 1] W;  n = tanh([1, x] W + r q);  h = (1 - z) n + z h
// The depth has two parts, [h, 1] for r, z, q and [1, x] for r, z, n. In the gates' memory they stand as n, r, z, q.
struct GruForward : Shape {
    static constexpr int N = 3;
    float* output;  // (B, T, H)

    index panels() const { return H / LANES; }
    index depth(index) const { return packed ? H + 1 + C + 1 : 0; }
    index chunk(index t, index k) const { return !packed ? 0 : k <= H ? chunk_end(k, 0, H + 1) : chunk_end(k, H + 1, depth(t)); }
    const float* left(index t, index b, index k) const { return h_at(t, b, k <= H ? k : k - 1); }
    index left_row() const { return row; }

    template <int M>
    void prefetch(index, index, index, index) const {}

    template <int M>
    void enter(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const bool fresh = packed && (k == 0 || (k == H + 1 && n == 2));
                sum[m][n] = fresh ? vec{} : load(gates_at(t, b + m, slot(n, k > 0 && k <= H) * H + panel * LANES));
            }
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        const index unit = panel * LANES;
        if (k < depth(t)) {
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; ++n) store(gates_at(t, b + m, slot(n, k <= H + 1) * H + unit), sum[m][n]);
            return;
        }
        for (int m = 0; m < M; ++m) sum[m][0] = sigmoid(sum[m][0]), sum[m][1] = sigmoid(sum[m][1]);
        for (int m = 0; m < M; ++m) sum[m][2] = tanh(sum[m][2] + sum[m][0] * load(gates_at(t, b + m, 3 * H + unit)));
        for (int m = 0; m < M; ++m, ++b) {
            const vec z = sum[m][1], n = sum[m][2], hidden = n + z * (load(h_at(t, b, unit)) - n);
            store(h_at(t + 1, b, unit), hidden);
            store(output + (b * T + t) * H + unit, hidden);
            if (!keep) continue;
            store(gates_at(t, b, unit), n), store(gates_at(t, b, H + unit), sum[m][0]), store(gates_at(t, b, 2 * H + unit), z);
        }
    }

    // Where a tile's vector stands in the gates' memory: r, z, then q of the first part or n of the second.
    static index slot(int n, bool first_part) { return n < 2 ? n + 1 : first_part ? 3 : 0; }
};

// What both backward walks share: dh of step t is the output's gradient plus the next step's dgates times W_hh. The gates'
// gradients take the place of the gates.
template <int WIDTH>
struct Backward : Shape {
    static constexpr int N = WIDTH;
    const float* doutput;  // (B, T, H) with the strides below; nullptr where no output is used
    index doutput_row, doutput_step;
    float* dh;       // (B, H): in, the gradient of the last h; GRU, out: that of the first but for the product with W_hh
    float* scratch;  // (B, H)

    index panels() const { return H / (N * LANES); }
    index left_row() const { return gates_row(); }
    float* partial(index b, index panel) const { return scratch + b * H + panel * N * LANES; }

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
        const index chunks = (depth + DEPTH - 1) / DEPTH;
        if (chunks == 0) return;
        for (index m = k * chunks / depth; m < M; m += chunks)
            for (int n = 0; n < N; ++n) {
                const index unit = (panel * N + n) * LANES;
                for (int gate = 0; gate < 4; ++gate) __builtin_prefetch(gates_at(t, b + m, gate * H + unit), 1, 2);
                if (doutput) __builtin_prefetch(doutput + (b + m) * doutput_row + t * doutput_step + unit, 0, 2);
                if (states) __builtin_prefetch(states + (t * B + b + m) * H + unit, 0, 2);
            }
    }

    vec output_gradient(index t, index b, index unit) const {
        return doutput ? load(doutput + b * doutput_row + t * doutput_step + unit) : vec{};
    }
};

template <int WIDTH>
struct LstmBackward : Backward<WIDTH> {
    static constexpr int N = WIDTH;
    const float* c;  // (T + 1, B, H)
    float* dc;       // (B, H): in, the gradient of the last c; out, of the first

    index depth(index t) const { return t == this->T - 1 ? 0 : 4 * this->H; }
    index chunk(index t, index k) const { return chunk_end(k, 0, depth(t)); }
    const float* left(index t, index b, index k) const { return this->gates_at(t + 1, b, k); }

    template <int M>
    void prefetch(index t, index b, index panel, index k) const {
        this->template prefetch_rows<M>(t, b, panel, k, depth(t), c);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index first, index panel, index k) const {
        const index B = this->B, H = this->H;
        if (k < depth(t)) return this->template pause<M>(sum, first, panel);
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const index b = first + m, unit = (panel * N + n) * LANES;
                float* a = this->gates_at(t, b, unit);
                const vec i = load(a), f = load(a + H), g = load(a + 2 * H), o = load(a + 3 * H);
                const float* before = c + (t * B + b) * H + unit;
                vec dh = sum[m][n] + this->output_gradient(t, b, unit);
                if (t == this->T - 1) dh += load(this->dh + b * H + unit);
                const vec squashed = tanh(load(before + B * H));
                float* carried = dc + b * H + unit;
                const vec dcell = load(carried) + dh * o * (1.0f - squashed * squashed);
                store(carried, dcell * f);
                store(a, dcell * g * i * (1.0f - i)), store(a + H, dcell * load(before) * f * (1.0f - f));
                store(a + 2 * H, dcell * i * (1.0f - g * g)), store(a + 3 * H, dh * squashed * o * (1.0f - o));
            }
    }
};

template <int WIDTH>
struct GruBackward : Backward<WIDTH> {
    static constexpr int N = WIDTH;

    index depth(index t) const { return t == this->T - 1 ? 0 : 3 * this->H; }
    index chunk(index t, index k) const { return chunk_end(k, 0, depth(t)); }
    const float* left(index t, index b, index k) const { return this->gates_at(t + 1, b, this->H + k); }

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
                float *a = this->gates_at(t, b, unit), *carried = this->dh + b * H + unit;
                const vec new_h = load(a), r = load(a + H), z = load(a + 2 * H), q = load(a + 3 * H);
                const vec dh = sum[m][n] + this->output_gradient(t, b, unit) + load(carried);
                const vec dn = dh * (1.0f - z) * (1.0f - new_h * new_h);
                store(carried, dh * z);
                store(a, dn), store(a + H, dn * q * r * (1.0f - r));
                store(a + 2 * H, dh * (load(this->h_at(t, b, unit)) - new_h) * z * (1.0f - z)), store(a + 3 * H, dn * r);
            }
    }
};

// Vectors to a panel of the backward walk: as many as divide the units.
index width(index H) { return H / LANES % 4 == 0 ? 4 : 3; }

template <class Cell>
void walk_forward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        by_groups(first, end, [&](index from, index to) {
            for (index t = 0; t < cell.T; ++t) step(cell, t, from, to);
        });
    });
}

template <class Cell>
void walk_backward(const Cell& cell, index threads) {
    share(cell.B, threads, [&](index first, index end) {
        by_groups(first, end, [&](index from, index to) {
            for (index t = cell.T - 1; t >= 0; --t) step(cell, t, from, to);
        });
    });
}

}  // namespace

extern "C" {

// Ask for huge pages behind fresh memory, before it is written: a fault a page of 4 KB costs more than what is computed into it.
void textvae_huge_pages(void* memory, index bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const auto page = std::uintptr_t{4096}, first = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
    const auto end = (reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::uintptr_t>(bytes)) / page * page;
    if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

// Columns of a matrix (gates * H, columns), rows `stride` apart, into rows k... of the forward walk's weights: per panel of
// units (depth of them in all), per k, the gates' vectors.
void textvae_pack_forward(index gates, index H, index depth, index k, const float* W, index columns, index stride, float* packed,
                          index threads) {
    share(H / LANES, threads, [&](index first, index end) {
        for (index panel = first; panel < end; ++panel)
            for (index gate = 0; gate < gates; ++gate) {
                const float* from = W + (gate * H + panel * LANES) * stride;
                float* to = packed + ((panel * depth + k) * gates + gate) * LANES;
                index column = 0;
                for (; column + LANES <= columns; column += LANES) {  // square by square, each read along rows
                    float square[LANES][LANES];
                    for (int lane = 0; lane < LANES; ++lane)
                        for (int j = 0; j < LANES; ++j) square[j][lane] = from[lane * stride + column + j];
                    for (int j = 0; j < LANES; ++j) store(to + (column + j) * gates * LANES, load(square[j]));
                }
                for (; column < columns; ++column)
                    for (int lane = 0; lane < LANES; ++lane) to[column * gates * LANES + lane] = from[lane * stride + column];
            }
    });
}

// W (gates * H, H) as the backward walk reads it: per panel, per k of the gates, the panel's units.
void textvae_pack_backward(index gates, index H, const float* W, float* packed, index threads) {
    const index units = width(H) * LANES, depth = gates * H;
    share(H / units, threads, [&](index first, index end) {
        for (index panel = first; panel < end; ++panel)
            for (index k = 0; k < depth; ++k)
                for (index unit = 0; unit < units; unit += LANES)
                    store(packed + (panel * depth + k) * units + unit, load(W + k * H + panel * units + unit));
    });
}

void textvae_lstm_forward(index T, index B, index H, index C, const float* packed, float* rows, index row, float* gates, float* c,
                          float* output, int keep, index threads) {
    walk_forward(LstmForward{{T, B, H, C, packed, rows, row, gates, keep != 0}, c, output}, threads);
}

void textvae_gru_forward(index T, index B, index H, index C, const float* packed, float* rows, index row, float* gates, float* output,
                         int keep, index threads) {
    walk_forward(GruForward{{T, B, H, C, packed, rows, row, gates, keep != 0}, output}, threads);
}

void textvae_lstm_backward(index T, index B, index H, index C, const float* packed, float* rows, index row, float* gates,
                           const float* c, const float* doutput, index doutput_row, index doutput_step, float* dh, float* dc,
                           float* scratch, index threads) {
    const Shape shape{T, B, H, C, packed, rows, row, gates, true};
    const auto run = [&](auto cell) { walk_backward(cell, threads); };
    if (width(H) == 4) return run(LstmBackward<4>{{shape, doutput, doutput_row, doutput_step, dh, scratch}, c, dc});
    run(LstmBackward<3>{{shape, doutput, doutput_row, doutput_step, dh, scratch}, c, dc});
}

void textvae_gru_backward(index T, index B, index H, index C, const float* packed, float* rows, index row, float* gates,
                          const float* doutput, index doutput_row, index doutput_step, float* dh, float* scratch, index threads) {
    const Shape shape{T, B, H, C, packed, rows, row, gates, true};
    const auto run = [&](auto cell) { walk_backward(cell, threads); };
    if (width(H) == 4) return run(GruBackward<4>{{shape, doutput, doutput_row, doutput_step, dh, scratch}});
    run(GruBackward<3>{{shape, doutput, doutput_row, doutput_step, dh, scratch}});
}

}  // extern "C"
