// Rows of tables that symbols choose, with dropout, and sums of rows by their symbol, in fp32: each is the other's gradient.

#include "bend.h"
#include "tiles.h"

namespace textvae {

namespace {

constexpr index AHEAD = 4;  // rows by which those that are summed are fetched: parts of rows are too short for the processor to guess

// Numbers of rows (B, T, columns), so far apart.
template <class Number>
struct Rows {
    Number* at;
    index T, row, step;

    Number* operator[](index r) const { return at + r / T * row + r % T * step; }
};

// Each thread has columns of its own, and adds all rows of them: none waits for another, and the order of the sums is always the same.
template <class Number>
void sum_by_symbol(index rows, index columns, const Rows<const Number>& given, const Drops& drops, const index* symbols, index count,
                   float* sums, index threads) {
    share((columns + LANES - 1) / LANES, threads, [&](index first, index end) {
        const index begin = first * LANES, past = end * LANES < columns ? end * LANES : columns;
        for (index symbol = 0; symbol < count; ++symbol)
            for (index c = begin; c < past; ++c) sums[symbol * columns + c] = 0.0f;
        for (index r = 0; r < rows; ++r) {
            float* to = sums + symbols[r] * columns;
            const Number *from = given[r], *ahead = given[r + AHEAD < rows ? r + AHEAD : r];
            for (index c = begin; c < past; c += LANES) {
                __builtin_prefetch(ahead + c, 0, 2);
                const vec added = drops(load_some(from + c, columns - c), places_from(r * columns + c));
                store_some(to + c, load_some(to + c, columns - c) + added, columns - c);
            }
        }
    });
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

// The rows of a table (count, columns) that symbols (rows) choose, of which numbers are dropped. Into `outside` how many symbols are of no
// row; then nothing is written.
void textvae_embed(index bytes, index rows, index columns, const index* symbols, const float* table, index count, void* y, index* outside,
                   index seed, std::uint32_t least, float scale, index threads) {
    const Drops drops{seed, least, scale};
    *outside = 0;
    for (index r = 0; r < rows; ++r) *outside += symbols[r] < 0 || symbols[r] >= count;
    if (*outside) return;
    with_number(bytes, [&](auto number) {
        const auto to = static_cast<decltype(number)*>(y);
        share(rows, threads, [&](index first, index end) {
            for (index r = first; r < end; ++r)
                for (index c = 0; c < columns; c += LANES) {
                    const vec x = load_some(table + symbols[r] * columns + c, columns - c);
                    store_some(to + r * columns + c, drops(x, places_from(r * columns + c)), columns - c);
                }
        });
    });
}

// Into `sums` (count, columns) for each symbol the sum of the rows `given` (B, T, columns) that are its, of which numbers are dropped.
void textvae_sum_by_symbol(index bytes, index B, index T, index columns, const void* given, index row, index step, const index* symbols,
                           index count, float* sums, index seed, std::uint32_t least, float scale, index threads) {
    with_number(bytes, [&](auto number) {
        const Rows<const decltype(number)> rows{static_cast<const decltype(number)*>(given), T, row, step};
        sum_by_symbol(B * T, columns, rows, Drops{seed, least, scale}, symbols, count, sums, threads);
    });
}

}  // extern "C"

}  // namespace textvae
