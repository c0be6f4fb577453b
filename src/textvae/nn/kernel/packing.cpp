// Weights in the order that the walks read them, and memory for what they write.

#include <atomic>

#include "tiles.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace textvae {

namespace {

// Where row k of gates in blocks of units stands with the gates one after the other.
index gate_row(index k, index H, index block, index gates = 4) { return k / block % gates * H + k / (gates * block) * block + k % block; }

template <class From, class To>
void copy(const From* from, To* to, index count) {
    for (index i = 0; i < count; i += LANES) store_some(to + i, load_some(from + i, count - i), count - i);
}

// Columns of one gate's weights for one panel, from number k of the depth on: each number's lanes stand WORD apart.
template <class Number>
void pack_panel(const float* from, index stride, index columns, index k, Number* to, index gates) {
    constexpr index PACKED = WORD<Number>;
    const auto place = [&](index column) { return to + (k + column) / PACKED * gates * LANES * PACKED + (k + column) % PACKED; };
    const auto pack_column = [&](index column) {
        for (int lane = 0; lane < LANES; ++lane) put(place(column) + lane * PACKED, from ? from[lane * stride + column] : 0.0f);
    };
    index column = 0;
    if (!from) {
        for (; column < columns; ++column) pack_column(column);
        return;
    }
    for (; column < columns && (k + column) % PACKED; ++column) pack_column(column);
    for (; column + LANES <= columns; column += LANES) {  // square by square, each read along rows
        bits square[LANES];
        for (int lane = 0; lane < LANES; ++lane) square[lane] = (bits)load(from + lane * stride + column);
        turn(square);
        for (int j = 0; j < LANES; j += PACKED) store_words(place(column + j), (vec)square[j], (vec)square[j + PACKED - 1]);
    }
    for (; column < columns; ++column) pack_column(column);
}

}  // namespace

extern "C" {

// Whether the processor multiplies bf16, rather than that the same is computed from fp32, and the system lets it.
int textvae_has_bf16() {
#ifdef __AVX512BF16__
    return squares_allowed();
#else
    return 0;
#endif
}

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

// Into `same` whether so many arrays are others bit by bit, each of so many bytes.
void textvae_same(index count, const void* const* arrays, const void* const* others, const index* bytes, index* same, index threads) {
    std::atomic<bool> differs{false};
    share(threads, threads, [&](index first, index end) {
        for (index i = 0; i < count && !differs; ++i) {
            const index from = bytes[i] * first / threads, to = bytes[i] * end / threads;
            const auto one = static_cast<const char*>(arrays[i]) + from, other = static_cast<const char*>(others[i]) + from;
            if (__builtin_memcmp(one, other, static_cast<std::size_t>(to - from))) differs = true;
        }
    });
    *same = !differs;
}

// Matrices (gates * H, columns), rows `strides` apart, side by side as the forward walk reads them: per panel of units (`depth` words of
// them in all), per word, the gates' vectors. What has no matrix is zero. Numbers have so many bytes.
void textvae_pack_forward(index bytes, index gates, index H, index depth, index count, const float* const* matrices, const index* columns,
                          const index* strides, void* packed, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        share(H / LANES, threads, [&](index first, index end) {
            for (index panel = first; panel < end; ++panel)
                for (index gate = 0; gate < gates; ++gate) {
                    Number* to = static_cast<Number*>(packed) + (panel * depth * gates + gate) * LANES * WORD<Number>;
                    for (index i = 0, k = 0; i < count; k += columns[i++])
                        pack_panel(matrices[i] ? matrices[i] + (gate * H + panel * LANES) * strides[i] : nullptr, strides[i], columns[i], k,
                                   to, gates);
                }
        });
    });
}

// What the steps multiply, (T + 1, B, row): before the first h, (B, H); beside it `one` ones, a map's numbers (B, T, C), rows and steps so
// far apart, and zeros up to `end`.
void textvae_lay_rows(index bytes, index T, index B, index H, const void* h, index one, const void* x, index x_row, index x_step, index C,
                      index end, void* rows, index row, index threads) {
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x), before = static_cast<const Number*>(h);
        share(T * B, threads, [&](index first, index past) {
            for (index r = first; r < past; ++r) {
                Number* to = static_cast<Number*>(rows) + r * row;
                if (r < B) copy(before + r * H, to, H);
                if (one) put(to + H, 1.0f);
                copy(from + r % B * x_row + r / B * x_step, to + H + one, C);
                for (index i = H + one + C; i < end; ++i) to[i] = Number{};
            }
        });
    });
}

// W (gates * H, H) as the backward walk reads it: per panel, per word of the gates, which stand in blocks of units, the panel's units.
void textvae_pack_backward(index bytes, index gates, index H, index block, const float* W, void* packed, index threads) {
    with_number(bytes, [&](auto number) {
        with_width(H, [&](auto width) {
            using Number = decltype(number);
            constexpr index units = width * LANES, PACKED = WORD<Number>;
            const index depth = gates * H;
            const auto row = [&](index k) { return gate_row(k, H, block, gates); };
            share(H / units, threads, [&](index first, index end) {
                for (index panel = first; panel < end; ++panel)
                    for (index k = 0; k < depth; k += PACKED)
                        for (index unit = 0; unit < units; unit += LANES) {
                            const float* from = W + row(k) * H + panel * units + unit;
                            Number* to = static_cast<Number*>(packed) + (panel * depth + k) * units + unit * PACKED;
                            store_words(to, load(from), load(from + (PACKED - 1) * H));
                        }
            });
        });
    });
}

// Arrays (outer, 4H, columns) of an LSTM's gates one after the other, as numbers, in blocks of units.
void textvae_in_blocks(index bytes, index outer, index H, index block, const float* from, index columns, void* to, index threads) {
    const index runs = 4 * H / block, run = block * columns;
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        share(outer * runs, threads, [&](index first, index end) {
            for (index i = first; i < end; ++i) {
                const float* there = from + (i / runs * 4 * H + gate_row(i % runs * block, H, block)) * columns;
                copy(there, static_cast<Number*>(to) + i * run, run);
            }
        });
    });
}

// And back, in fp32, from rows (outer * 4H) `row` apart: columns side by side into so many arrays.
void textvae_by_gate(index bytes, index outer, index H, index block, const void* from, index row, index count, const index* columns,
                     float* const* to, index threads) {
    const index runs = 4 * H / block;
    with_number(bytes, [&](auto number) {
        share(outer * runs, threads, [&](index first, index end) {
            for (index run = first; run < end; ++run) {
                auto there = static_cast<const decltype(number)*>(from) + run * block * row;
                const index place = run / runs * 4 * H + gate_row(run % runs * block, H, block);
                for (index i = 0; i < count; there += columns[i++]) {
                    float* at = to[i] + place * columns[i];
                    if (row == columns[i])
                        copy(there, at, block * row);
                    else
                        for (index j = 0; j < block; ++j) copy(there + j * row, at + j * columns[i], columns[i]);
                }
            }
        });
    });
}

}  // extern "C"

}  // namespace textvae
