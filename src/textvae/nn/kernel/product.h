// Products of layers without recurrence: rows by packed weights, and the sum over rows of what stands in two matrices.

#pragma once

#include <algorithm>

#include "bend.h"
#include "tiles.h"

namespace textvae {

namespace {

constexpr index MOST_COLUMNS = 4 * LANES;  // of a panel

inline index rounded_up(index x, index unit) { return (x + unit - 1) / unit * unit; }

// Numbers of a row that is multiplied: what is beyond its own is zero.
template <class Number>
index depth_of(index numbers) {
    return words<Number>(numbers) * WORD<Number>;
}

// Run work(vectors to a panel): three or four, whichever leaves fewer of them idle.
template <class Work>
void with_panels(index columns, const Work& work) {
    const index vectors = (columns + LANES - 1) / LANES;
    rounded_up(vectors, 4) <= rounded_up(vectors, 3) ? work(std::integral_constant<int, 4>{}) : work(std::integral_constant<int, 3>{});
}

// Room for packed columns, in numbers.
template <class Number>
index packed_size(index depth, index columns) {
    return depth_of<Number>(depth) * rounded_up(columns, MOST_COLUMNS);
}

// Rows by packed columns; `finish(sum, row, column)` takes each vector of the result.
template <class Number, int WIDTH, class Finish>
struct Product {
    static constexpr int N = WIDTH;
    static constexpr bool SQUARED = true;
    static constexpr index PACKED = WORD<Number>, VECTOR = LANES * PACKED;

    const Number* rows;
    index row, numbers;  // apart from each other; that are multiplied
    const Number* packed;
    index columns;
    float* sums;  // (rows, columns in whole panels), between chunks of the depth
    bool goes_on;  // from the sums that stand there
    const Finish& finish;

    index depth(index) const { return words<Number>(numbers); }
    index chunk(index t, index k) const { return chunk_end<Number>(k, 0, depth(t)); }
    bool fresh(index k) const { return k == 0 && !goes_on; }
    bool turns(index) const { return false; }
    index panels() const { return (columns + N * LANES - 1) / (N * LANES); }
    const Number* left(index, index b, index k) const { return rows + b * row + k * PACKED; }
    index left_row() const { return row; }
    float* sum_at(index b, index panel) const { return sums + (b * panels() + panel) * N * LANES; }

    template <int M>
    void prefetch(index, index, index, index) const {}

    template <int M>
    void enter(Tile<M, N>& sum, index, index b, index panel, index k) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) sum[m][n] = fresh(k) ? vec{} : load(sum_at(b + m, panel) + n * LANES);
    }

    template <int M>
    void leave(Tile<M, N>& sum, index t, index b, index panel, index k) const {
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) {
                const index column = (panel * N + n) * LANES;
                if (k < depth(t))
                    store(sum_at(b + m, panel) + n * LANES, sum[m][n]);
                else if (column < columns)
                    finish(sum[m][n], b + m, column);
            }
    }
};

// Rows [first, end) of them.
template <class Cell>
void run_product(const Cell& cell, index first, index end) {
    [[maybe_unused]] const Registers<Cell> registers{};
    by_groups(first, end, [&](index from, index to) { step(cell, 0, from, to); });
}

// A thread's share of the panels of a matrix (depth, columns), whose number (d, column) stands at from[deep(d) + wide(column)].
template <class Number, int N, class Deep, class Wide>
void pack_columns(Team team, index depth, index columns, const float* from, const Deep& deep, const Wide& wide, Number* packed) {
    constexpr index PACKED = WORD<Number>, VECTORS = N * LANES;
    const index panels = (columns + VECTORS - 1) / VECTORS, words_deep = words<Number>(depth);
    for (index panel = panels * team.mine / team.all; panel < panels * (team.mine + 1) / team.all; ++panel) {
        index places[VECTORS];
        const index there = std::min(VECTORS, columns - panel * VECTORS);
        for (index i = 0; i < there; ++i) places[i] = wide(panel * VECTORS + i);
        Number* to = packed + panel * words_deep * VECTORS * PACKED;
        for (index word = 0; word < words_deep; ++word, to += VECTORS * PACKED) {
            float numbers[2][VECTORS] = {};
            for (index j = 0; j < PACKED && word * PACKED + j < depth; ++j) {
                const float* row = from + deep(word * PACKED + j);
                for (index i = 0; i < there; ++i) numbers[j][i] = row[places[i]];
            }
            for (index i = 0; i < VECTORS; i += LANES) store_words(to + i * PACKED, load(numbers[0] + i), load(numbers[1] + i));
        }
    }
}

// Word `word` of some columns of rows that stand one below the other: zeros below the last.
inline bits word_of(const float* from, index row, index rows, index word, index count) {
    return word < rows ? (bits)load_some(from + word * row, count) : bits{};
}
inline bits word_of(const half* from, index row, index rows, index word, index count) {
    const half* first = from + 2 * word * row;
    const bits lower = 2 * word < rows ? (bits)load_some(first, count) >> 16 : bits{};
    return 2 * word + 1 < rows ? lower | (bits)load_some(first + row, count) : lower;
}

inline void store_bits(float* to, bits x) { store(to, (vec)x); }
inline void store_bits(half* to, bits x) { *reinterpret_cast<loose_bits*>(to) = x; }

// Columns of rows, word by word of two rows of bf16 or one of fp32: what is multiplied where a sum goes over rows.
template <class Number, int N>
void pack_over_rows(const Number* from, index row, index rows, index columns, Number* packed) {
    constexpr index VECTORS = N * LANES, VECTOR = LANES * WORD<Number>;
    const index panels = (columns + VECTORS - 1) / VECTORS, deep = words<Number>(rows);
    for (index panel = 0; panel < panels; ++panel)
        for (index word = 0; word < deep; ++word)
            for (index column = panel * VECTORS; column < (panel + 1) * VECTORS; column += LANES, packed += VECTOR)
                store_bits(packed, word_of(from + column, row, rows, word, std::max<index>(0, columns - column)));
}

// Columns as rows (columns, depth_of(rows)), a column's words side by side.
template <class Number>
void transpose(const Number* from, index row, index rows, index columns, Number* to) {
    const index deep = words<Number>(rows);
    for (index column = 0; column < columns; column += LANES)
        for (index word = 0; word < deep; word += LANES) {
            const index count = std::min<index>(LANES, columns - column), most = std::min<index>(LANES, deep - word);
            bits square[LANES];
            for (index i = 0; i < LANES; ++i) square[i] = word_of(from + column, row, rows, word + i, count);
            turn(square);
            for (index lane = 0; lane < count; ++lane) {
                Number* place = to + ((column + lane) * deep + word) * WORD<Number>;
                if (most == LANES)
                    store_bits(place, square[lane]);
                else
                    __builtin_memcpy(place, &square[lane], static_cast<std::size_t>(most) * sizeof(float));
            }
        }
}

// Add rows (rows, columns) to sums (columns).
template <class Number>
void add_rows(const Number* from, index row, index rows, index columns, float* sums) {
    for (index column = 0; column < columns; column += LANES) {
        const index count = columns - column;
        vec sum{};
        for (index r = 0; r < rows; ++r) sum += load_some(from + r * row + column, count);
        store_some(sums + column, load_some(sums + column, count) + sum, count);
    }
}

}  // namespace

}  // namespace textvae
