// What the sources share: tiles of a product, and rows split over threads.

#pragma once

#include <type_traits>

#include "squares.h"

#ifdef _OPENMP
#include <omp.h>
#endif

namespace textvae {

namespace {

// Weights of a panel that are multiplied with all rows before the next ones are: 256 KB of the second cache with the widest vectors, where
// 400 words are up to 6% slower, 128 KB with vectors of 8, which measured alike. (Shorter chunks, that would stay in the first cache, are
// slower: sums go to memory and back between chunks.) By squares the depth of nearly every layer is one chunk.
template <class Number>
constexpr index DEPTH = SQUARES && WORD<Number> > 1 ? 1 << 12 : 1 << 10;  // words

constexpr index NEAR = 16;  // depths by which a single row's weights are fetched ahead: 8 and 16 measured alike, 32 slower

constexpr index GROUP = 128;  // rows of the batch that walk together

// A tile: M rows of the batch by N vectors. While it is multiplied, a share of the next weights is fetched into the second cache:
// all weights are read once a step, and where they do not fit there, waiting for them would cost a tenth of the time.
template <int M, int N>
using Tile = vec[M][N];

template <int M, int N, class Number>
inline void multiply(Tile<M, N>& sum, const Number* left, index stride, const Number* right, index depth, const Number* ahead, index pace) {
    constexpr index VECTOR = LANES * WORD<Number>;
    for (index k = 0; k < depth; ++k, left += WORD<Number>, right += N * VECTOR, ahead += pace) {
        if constexpr (M == 1)  // a single row waits for nothing but the weights
            for (int n = 0; n < N; ++n) __builtin_prefetch(right + (NEAR * N + n) * VECTOR, 0, 3);
        else
            __builtin_prefetch(ahead, 0, 2);
        // What there is fewer of stands in registers, the other is read as it is multiplied: with 16 registers there is room for no more.
        if constexpr (M < N) {
            decltype(splat_word(left)) one[M];
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) one[m] = splat_word(left + m * stride);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) {
                const auto weight = held(load_words(right + n * VECTOR));
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) sum[m][n] = add_product(sum[m][n], one[m], weight);
            }
        } else {
            decltype(load_words(right)) weight[N];
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) weight[n] = held(load_words(right + n * VECTOR));
#pragma GCC unroll 24
            for (int m = 0; m < M; ++m) {
                const auto one = splat_word(left + m * stride);
#pragma GCC unroll 4
                for (int n = 0; n < N; ++n) sum[m][n] = add_product(sum[m][n], one, weight[n]);
            }
        }
    }
}

// The threads that walk some rows together, each with its share of the units: a team of one walks rows of its own.
struct Team {
    index mine = 0, all = 1;

    void wait() const {  // all of them, for each other
#ifdef _OPENMP
        if (all > 1) {
#pragma omp barrier
        }
#endif
    }
};

// Run work(team) by so many threads that walk the same rows.
template <class Work>
void together(index threads, const Work& work) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(static_cast<int>(threads))
        work(Team{omp_get_thread_num(), omp_get_num_threads()});
        return;
    }
#endif
    work(Team{});
}

// Run work(first row, end row) for each thread's share of the rows; with one thread, outside of OpenMP.
template <class Work>
void share(index rows, index threads, const Work& work) {
    if (threads > rows) threads = rows;
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(static_cast<int>(threads))
        {
            const index all = omp_get_num_threads(), mine = omp_get_thread_num();
            work(rows * mine / all, rows * (mine + 1) / all);
        }
        return;
    }
#endif
    work(0, rows);
}

// A cell says what a tile starts from (`enter`; zeros where `fresh`), where its sum stands when a chunk of the depth is done
// (`leave`), and which memory it will want by then (`prefetch`). Its depth, counted in words, is walked in chunks from k to `chunk(t, k)`.
template <int M, class Cell>
inline void run_tile(const Cell& cell, index rows, index t, index row, index panel, index k, index end, index lead, index pace) {
    if constexpr (M > 1) {
        if (rows < M) return run_tile<M - 1>(cell, rows, t, row, panel, k, end, lead, pace);
    }
    constexpr int N = Cell::N;
    Tile<M, N> sum;
    cell.template enter<M>(sum, t, row, panel, k);
    cell.template prefetch<M>(t, row, panel, k);
    const auto* right = cell.packed + (panel * cell.depth(t) + k) * N * Cell::VECTOR;
    multiply<M, N>(sum, cell.left(t, row, k), cell.left_row(), right, end - k, right + (end - k) * lead, pace);
    cell.template leave<M>(sum, t, row, panel, end);
}

// The same for 16 or 32 rows by squares: their sums stand in memory while they are multiplied.
template <class Cell>
inline void run_squares(const Cell& cell, index rows, index t, index row, index panel, index k, index end, index lead, index pace) {
    constexpr int N = Cell::N, M = 4;  // rows that a cell works on at a time: it divides 16
    constexpr index ROW = N * LANES;
    alignas(64) float sums[SQUARE_ROWS * ROW];
    Tile<M, N> sum;
    const bool fresh = cell.fresh(k);
    for (index m = 0; m < rows; m += M) {
        cell.template prefetch<M>(t, row + m, panel, k);
        if (fresh) continue;
        cell.template enter<M>(sum, t, row + m, panel, k);
        for (int i = 0; i < M; ++i)
            for (int n = 0; n < N; ++n) store(sums + (m + i) * ROW + n * LANES, sum[i][n]);
    }
    const auto* right = cell.packed + (panel * cell.depth(t) + k) * N * Cell::VECTOR;
    multiply_squares<N>(sums, rows, cell.left(t, row, k), cell.left_row(), right, end - k, right + (end - k) * lead, pace,
                        fresh);
    for (index m = 0; m < rows; m += M) {
        for (int i = 0; i < M; ++i)
            for (int n = 0; n < N; ++n) sum[i][n] = load(sums + (m + i) * ROW + n * LANES);
        cell.template leave<M>(sum, t, row + m, panel, end);
    }
}

// What a step's panels are multiplied with: all rows at once, some at a time.
template <class Cell>
constexpr bool BY_SQUARES = SQUARES && Cell::SQUARED && std::is_same_v<std::decay_t<decltype(*Cell::packed)>, half>;

struct Nothing {};

// What a thread holds while it multiplies: matrix registers, where they are used.
template <class Cell>
using Registers = std::conditional_t<BY_SQUARES<Cell>, MatrixRegisters, Nothing>;

// One step for the rows [first, end): panels of units, each in chunks of its depth, each over all rows. A cell may turn at some
// steps and take its panels from the last to the first: what the step before has read last is then still in the second cache.
template <class Cell>
void step(const Cell& cell, index t, index first, index end, Team team = {}) {
    constexpr int M = ACCUMULATORS / Cell::N;
    constexpr index VECTORS = Cell::N * Cell::VECTOR;  // numbers of a panel's weights at one depth
    const index squares = BY_SQUARES<Cell> ? (end - first) / SIDE * SIDE : 0, begin = first + squares;  // rows; the rest follows
    const index blocks = (end - begin + M - 1) / M, depth = cell.depth(t), pace = blocks ? (VECTORS + blocks - 1) / blocks : 0;
    const index squared = (squares + SQUARE_ROWS - 1) / SQUARE_ROWS, square_pace = lines_to_fetch<Cell::N>(squared);
    const bool turned = cell.turns(t);
    const index from = cell.panels() * team.mine / team.all, to = cell.panels() * (team.mine + 1) / team.all;
    for (index i = from; i < to; ++i)
        for (index k = 0, next; k == 0 || k < depth; k = next) {
            const index panel = turned ? from + to - 1 - i : i, ahead = (turned ? -1 : 1) * VECTORS;
            next = cell.chunk(t, k);
            if constexpr (BY_SQUARES<Cell>)
                for (index block = 0; block < squared; ++block) {
                    const index row = first + block * SQUARE_ROWS, rows = begin - row < SQUARE_ROWS ? begin - row : SQUARE_ROWS;
                    // Two passes over the depth to a block, each with so many lines of 32 numbers to every 16 words.
                    run_squares(cell, rows, t, row, panel, k, next, ahead + block * 2 * square_pace * 32 / SIDE, square_pace);
                }
            for (index block = 0; block < blocks; ++block) {
                const index row = begin + (end - begin) * block / blocks, lead = ahead + block * pace;
                run_tile<M>(cell, begin + (end - begin) * (block + 1) / blocks - row, t, row, panel, k, next, lead, pace);
            }
            if (next == 0) break;
        }
}

// The end of the chunk that begins at k, of a part of the depth that is cut into equal chunks of whole squares.
template <class Number>
inline index chunk_end(index k, index first, index last) {
    constexpr index MOST = DEPTH<Number>;
    const index chunks = (last - first + MOST - 1) / MOST, least = chunks ? (last - first + chunks - 1) / chunks : 0;
    const index size = (least + SIDE - 1) / SIDE * SIDE;
    return k + size < last ? k + size : last;
}

// Walk all steps with some rows, then with the next: what a step writes is still in the second cache when the next reads it.
template <class Visit>
void by_groups(index first, index end, const Visit& visit) {
    const index groups = (end - first + GROUP - 1) / GROUP;
    for (index group = 0; group < groups; ++group)
        visit(first + (end - first) * group / groups, first + (end - first) * (group + 1) / groups);
}

// Run work(a number of so many bytes).
template <class Work>
void with_number(index bytes, const Work& work) {
    bytes == sizeof(half) ? work(half{}) : work(float{});
}

// Run work(vectors to a panel of the backward walk): as many as divide the units.
template <class Work>
void with_width(index H, const Work& work) {
    H / LANES % 4 == 0 ? work(std::integral_constant<int, 4>{}) : work(std::integral_constant<int, 3>{});
}

}  // namespace

}  // namespace textvae
