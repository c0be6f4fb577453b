// Products of bf16 by squares: 16 rows of the batch by 16 columns at once, as the matrix registers of some processors (AMX) do.
//
// A processor without bf16 does the same, vector by vector, for tests; one that has bf16 but no matrix registers does without squares.

#pragma once

#include "numbers.h"

#include <cstddef>

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define TEXTVAE_MATRIX_REGISTERS
#endif

namespace textvae {

namespace {

constexpr index SIDE = 16;           // rows of a square, and words of the depth that are multiplied at once
constexpr index SQUARE_ROWS = 2 * SIDE;  // rows of the batch that are multiplied with a panel's weights side by side

// The depth of so many numbers, in words: of bf16 in whole squares, which the caller fills with zeros.
template <class Number>
constexpr index words(index numbers) {
    constexpr index NUMBERS = WORD<Number> == 1 ? 1 : SIDE * WORD<Number>;
    return (numbers + NUMBERS - 1) / NUMBERS * NUMBERS / WORD<Number>;
}

#if defined(TEXTVAE_MATRIX_REGISTERS) || !defined(__AVX512BF16__)
constexpr bool SQUARES = true;
#else
constexpr bool SQUARES = false;
#endif

#ifdef TEXTVAE_MATRIX_REGISTERS

// Whether the system lets this process use them: it keeps room for them only for those that ask.
inline bool squares_allowed() {
    constexpr long ASK = 0x1023, TILE_DATA = 18;
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
}

// Compilers do not know what memory the instructions of matrix registers read and write: here all of it is as the source says.
inline void settle() { __asm__ volatile("" ::: "memory"); }

// A thread's matrix registers, all of them full squares of 16 rows by 64 bytes, while it walks.
struct MatrixRegisters {
    MatrixRegisters() {
        struct alignas(64) {
            std::uint8_t palette = 1, start = 0, reserved[14] = {};
            std::uint16_t bytes[16] = {};
            std::uint8_t rows[16] = {};
        } shape;
        for (int i = 0; i < 8; ++i) shape.bytes[i] = 64, shape.rows[i] = SIDE;
        settle();
        _tile_loadconfig(&shape);
    }
    ~MatrixRegisters() { _tile_release(); }
    MatrixRegisters(const MatrixRegisters&) = delete;
};

// Where some words of the depth stand: of the rows, and of a panel's weights.
struct Words {
    const half* left;
    index left_row;  // bytes
    const half* right;
    index right_row;  // bytes
};

// Add the products of 16 words: up to two squares of rows, in registers 4 and 5, by up to two of weights, in 6 and 7.
template <bool BOTH_ROWS, bool BOTH_COLUMNS>
inline void add_squares(const Words& at) {
    _tile_loadd(6, at.right, at.right_row);
    _tile_loadd(4, at.left, at.left_row);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (BOTH_COLUMNS) {
        _tile_loadd(7, at.right + LANES * WORD<half>, at.right_row);
        _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (BOTH_ROWS) {
        _tile_loadd(5, at.left + SIDE * at.left_row / index{sizeof(half)}, at.left_row);
        _tile_dpbf16ps(2, 5, 6);
        if constexpr (BOTH_COLUMNS) _tile_dpbf16ps(3, 5, 7);
    }
}

// The sums of 16 or 32 rows and one or two of a panel's N vectors.
template <int N, bool BOTH_ROWS, bool BOTH_COLUMNS>
inline void multiply_some(float* sums, Words at, index depth, const half* ahead, index pace, bool fresh) {
    constexpr index ROW = N * LANES, VECTOR = LANES * WORD<half>, LINE = 64 / index{sizeof(half)};
    settle();
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums, ROW * 4);
        if constexpr (BOTH_COLUMNS) _tile_loadd(1, sums + LANES, ROW * 4);
        if constexpr (BOTH_ROWS) _tile_loadd(2, sums + SIDE * ROW, ROW * 4);
        if constexpr (BOTH_ROWS && BOTH_COLUMNS) _tile_loadd(3, sums + SIDE * ROW + LANES, ROW * 4);
    }
    for (index k = 0; k < depth; k += SIDE, at.left += SIDE * WORD<half>, at.right += SIDE * N * VECTOR, ahead += pace * LINE) {
        add_squares<BOTH_ROWS, BOTH_COLUMNS>(at);
        for (index line = 0; line < pace; ++line) __builtin_prefetch(ahead + line * LINE, 0, 2);
    }
    _tile_stored(0, sums, ROW * 4);
    if constexpr (BOTH_COLUMNS) _tile_stored(1, sums + LANES, ROW * 4);
    if constexpr (BOTH_ROWS) _tile_stored(2, sums + SIDE * ROW, ROW * 4);
    if constexpr (BOTH_ROWS && BOTH_COLUMNS) _tile_stored(3, sums + SIDE * ROW + LANES, ROW * 4);
    settle();
}

template <int N, bool BOTH_ROWS>
inline void multiply_rows(float* sums, const half* left, index stride, const half* right, index depth, const half* ahead, index pace,
                          bool fresh) {
    constexpr index VECTOR = LANES * WORD<half>, BYTES = sizeof(half);
    const Words first{left, stride * BYTES, right, N * VECTOR * BYTES}, second{left, stride * BYTES, right + 2 * VECTOR, N * VECTOR * BYTES};
    multiply_some<N, BOTH_ROWS, true>(sums, first, depth, ahead, pace, fresh);
    multiply_some<N, BOTH_ROWS, (N > 3)>(sums + 2 * LANES, second, depth, ahead + pace * (depth / SIDE) * 32, pace, fresh);
}

// Add to sums (rows, N vectors), or begin with them: rows, 16 or 32 of them a stride apart, by a panel's weights, over so many words, a
// multiple of 16; and fetch `pace` lines from `ahead` on into the second cache for every 16 words and two vectors.
template <int N>
inline void multiply_squares(float* sums, index rows, const half* left, index stride, const half* right, index depth, const half* ahead,
                             index pace, bool fresh) {
    static_assert(N == 3 || N == 4, "two vectors, and one or two more");
    if (rows == SQUARE_ROWS)
        multiply_rows<N, true>(sums, left, stride, right, depth, ahead, pace, fresh);
    else
        multiply_rows<N, false>(sums, left, stride, right, depth, ahead, pace, fresh);
}

// Lines of the next weights that each of so many blocks of rows fetches for every 16 words and two vectors, so that all are fetched.
template <int N>
constexpr index lines_to_fetch(index blocks) {
    const index all = N * SIDE / 2;
    return blocks ? ((all + blocks - 1) / blocks < 8 ? (all + blocks - 1) / blocks : 8) : 0;
}

#else

template <int N>
constexpr index lines_to_fetch(index) {
    return 0;
}

inline bool squares_allowed() { return true; }

struct MatrixRegisters {};

template <int N>
inline void multiply_squares(float* sums, index rows, const half* left, index stride, const half* right, index depth, const half*, index,
                             bool fresh) {
    if (fresh) __builtin_memset(sums, 0, static_cast<std::size_t>(rows * N * LANES) * sizeof(float));
    for (index row = 0; row < rows; ++row, sums += N * LANES, left += stride)
        for (index k = 0; k < depth; ++k)
            for (int n = 0; n < N; ++n) {
                const auto weight = load_words(right + (k * N + n) * LANES * WORD<half>);
                store(sums + n * LANES, add_product(load(sums + n * LANES), splat_word(left + k * WORD<half>), weight));
            }
}

#endif

}  // namespace

}  // namespace textvae
