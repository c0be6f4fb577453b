// Sums of rows by their symbol, in fp32: the gradient of a table whose rows the symbols have chosen.

#include "tiles.h"

namespace {

// Each thread has columns of its own, and adds all rows of them: none waits for another, and the order of the sums is always the same.
template <class Number>
void sum_by_symbol(index rows, index columns, const Number* given, index row, const index* symbols, index count, float* sums,
                   index threads) {
    share(columns / LANES, threads, [&](index first, index end) {
        for (index symbol = 0; symbol < count; ++symbol)
            for (index i = first; i < end; ++i) store(sums + symbol * columns + i * LANES, vec{});
        for (index r = 0; r < rows; ++r) {
            float* to = sums + symbols[r] * columns;
            const Number* from = given + r * row;
            for (index i = first; i < end; ++i) store(to + i * LANES, load(to + i * LANES) + load(from + i * LANES));
        }
    });
}

}  // namespace

extern "C" {

// `given` holds rows of numbers of so many bytes, 4 (fp32) or 2 (bf16), `row` apart; `symbols` one for each row, below `count`; `sums` is
// (count, columns). Columns are a multiple of a vector.
void textvae_sum_by_symbol(index bytes, index rows, index columns, const void* given, index row, const index* symbols, index count,
                           float* sums, index threads) {
    with_number(bytes, [&](auto number) {
        sum_by_symbol(rows, columns, static_cast<const decltype(number)*>(given), row, symbols, count, sums, threads);
    });
}

}  // extern "C"
