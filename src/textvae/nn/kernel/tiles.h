// What the sources share: vectors and what is computed with them, tiles of a product, rows split over threads.
//
// A file without AVX-512 is the same code through the compiler's vectors, on narrower tiles.

#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

using index = std::int64_t;

#if defined(__AVX512F__)
constexpr int LANES = 16, ACCUMULATORS = 24;  // of 32 vector registers
#elif defined(__AVX__)
constexpr int LANES = 8, ACCUMULATORS = 12;  // of 16
#elif defined(__aarch64__)
constexpr int LANES = 4, ACCUMULATORS = 24;  // of 32
#else
constexpr int LANES = 4, ACCUMULATORS = 12;  // of 16
#endif

// Weights of a panel that are multiplied with all rows before the next ones are: about 100 KB, a tenth of the second cache. (Shorter
// chunks, that would stay in the first cache, measured slower: sums go to memory and back between chunks.)
constexpr index DEPTH = 400;

constexpr index NEAR = 16;  // depths by which a single row's weights are fetched ahead: 8 and 16 measured alike, 32 slower

constexpr index GROUP = 128;  // rows of the batch that walk together

using vec = float __attribute__((vector_size(LANES * 4)));
using bits = std::int32_t __attribute__((vector_size(LANES * 4)));
using loose = float __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

inline vec splat(float x) { return x - vec{}; }
inline vec load(const float* from) { return *reinterpret_cast<const loose*>(from); }
inline void store(float* to, vec x) { *reinterpret_cast<loose*>(to) = x; }

inline vec clamped(vec x, float limit) {  // NaN stays NaN
#ifdef __AVX512F__
    return (vec)_mm512_max_ps(_mm512_set1_ps(-limit), _mm512_min_ps(_mm512_set1_ps(limit), (__m512)x));
#else
    const vec high = splat(limit), low = splat(-limit);
    x = x > high ? high : x;
    return x < low ? low : x;
#endif
}

inline vec reciprocal(vec x) {
#ifdef __AVX512F__
    const vec near = (vec)_mm512_rcp14_ps((__m512)x);
    return near + near * (1.0f - x * near);  // one step of Newton: 28 bits
#else
    return 1.0f / x;
#endif
}

// 2^x: the integer part goes into the exponent, the rest through a minimax polynomial (relative error 7.5e-8).
inline vec exp2(vec x) {
    x = clamped(x, 126.0f);
    const vec shifted = x + 12582912.0f;  // 1.5 * 2^23: what is left of x's fraction has been rounded away
    const vec f = x - (shifted - 12582912.0f);
    vec p = 1.327647169e-3f * f + 9.675541332e-3f;
    p = p * f + 5.550713274e-2f;
    p = p * f + 2.402211972e-1f;
    p = p * f + 6.931469671e-1f;
    p = p * f + 1.000000072f;
    return (vec)((bits)p + ((bits)shifted << 23));
}

inline vec sigmoid(vec x) { return reciprocal(1.0f + exp2(-1.44269504f * x)); }
inline vec tanh(vec x) { return 1.0f - 2.0f * reciprocal(1.0f + exp2(2.88539008f * x)); }

// A tile: M rows of the batch by N vectors. While it is multiplied, a share of the next weights is fetched into the second cache:
// all weights are read once a step, and where they do not fit there, waiting for them would cost a tenth of the time.
template <int M, int N>
using Tile = vec[M][N];

template <int M, int N>
inline void multiply(Tile<M, N>& sum, const float* left, index stride, const float* right, index depth, const float* ahead, index pace) {
    for (index k = 0; k < depth; ++k, right += N * LANES, ahead += pace) {
        if constexpr (M == 1)  // a single row waits for nothing but the weights
            for (int n = 0; n < N; ++n) __builtin_prefetch(right + (NEAR * N + n) * LANES, 0, 3);
        else
            __builtin_prefetch(ahead, 0, 2);
        vec weight[N];
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n) weight[n] = load(right + n * LANES);
#pragma GCC unroll 24
        for (int m = 0; m < M; ++m) {
            const vec one = splat(left[m * stride + k]);
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[m][n] += one * weight[n];
        }
    }
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

// A cell says what a tile starts from (`enter`), where its sum stands when a chunk of the depth is done (`leave`), and which
// memory it will want by then (`prefetch`). Its depth is walked in chunks from k to `chunk(t, k)`.
template <int M, class Cell>
inline void run_tile(const Cell& cell, index rows, index t, index row, index panel, index k, index end, index lead, index pace) {
    if constexpr (M > 1) {
        if (rows < M) return run_tile<M - 1>(cell, rows, t, row, panel, k, end, lead, pace);
    }
    constexpr int N = Cell::N;
    Tile<M, N> sum;
    cell.template enter<M>(sum, t, row, panel, k);
    cell.template prefetch<M>(t, row, panel, k);
    const float* right = cell.packed + (panel * cell.depth(t) + k) * N * LANES;
    multiply<M, N>(sum, cell.left(t, row, k), cell.left_row(), right, end - k, right + (end - k) * lead, pace);
    cell.template leave<M>(sum, t, row, panel, end);
}

// One step for the rows [first, end): panels of units, each in chunks of its depth, each over all rows. A cell may turn at some
// steps and take its panels from the last to the first: what the step before has read last is then still in the second cache.
template <class Cell>
void step(const Cell& cell, index t, index first, index end) {
    constexpr int M = ACCUMULATORS / Cell::N;
    const index blocks = (end - first + M - 1) / M, depth = cell.depth(t), pace = (Cell::N * LANES + blocks - 1) / blocks;
    const bool turned = cell.turns(t);
    for (index i = 0; i < cell.panels(); ++i)
        for (index k = 0, next; k == 0 || k < depth; k = next) {
            const index panel = turned ? cell.panels() - 1 - i : i;
            next = cell.chunk(t, k);
            for (index block = 0; block < blocks; ++block) {
                const index row = first + (end - first) * block / blocks, lead = (turned ? -1 : 1) * Cell::N * LANES + block * pace;
                run_tile<M>(cell, first + (end - first) * (block + 1) / blocks - row, t, row, panel, k, next, lead, pace);
            }
            if (next == 0) break;
        }
}

// The end of the chunk that begins at k, of a part of the depth that is cut into equal chunks.
inline index chunk_end(index k, index first, index last) {
    const index chunks = (last - first + DEPTH - 1) / DEPTH, size = chunks ? (last - first + chunks - 1) / chunks : 0;
    return k + size < last ? k + size : last;
}

// Walk all steps with some rows, then with the next: what a step writes is still in the second cache when the next reads it.
template <class Visit>
void by_groups(index first, index end, const Visit& visit) {
    const index groups = (end - first + GROUP - 1) / GROUP;
    for (index group = 0; group < groups; ++group)
        visit(first + (end - first) * group / groups, first + (end - first) * (group + 1) / groups);
}

}  // namespace
