// Dropout alone or after an ELU, in one pass over maps (B, T, C), fp32 or bf16.

#include <algorithm>

#include "bend.h"
#include "tiles.h"

namespace textvae {

namespace {

constexpr index AT_A_TIME = 1 << 12;  // numbers of a row

// each(place, count, row b, step t, column c): the next `count` numbers, a vector of them at most, of each row and step in turn.
template <class Each>
void visit(index B, index T, index C, index threads, const Each& each) {
    const index parts = (C + AT_A_TIME - 1) / AT_A_TIME;  // of a step: maps without gaps come as one long row
    share(B * T * parts, threads, [&](index first, index end) {
        for (index i = first; i < end; ++i) {
            const index r = i / parts, from = i % parts * AT_A_TIME, to = std::min(C, from + AT_A_TIME);
            for (index c = from; c < to; c += LANES) each(r * C + c, C - c, r / T, r % T, c);
        }
    });
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

// y = drop(x), or of its ELU; x with rows and steps so far apart, y without gaps. Of dropout alone, its gradient is the same of the
// output's gradient.
void textvae_drop(index bytes, index B, index T, index C, const void* x, index x_row, index x_step, void* y, int curved, index seed,
                  std::uint32_t least, float scale, index threads) {
    const Bend bend{{seed, least, scale}, curved != 0};
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x);
        const auto to = static_cast<Number*>(y);
        visit(B, T, C, threads, [&](index place, index count, index b, index t, index c) {
            store_some(to + place, bend.forward(load_some(from + b * x_row + t * x_step + c, count), places_from(place)), count);
        });
    });
}

// dx of y = drop(elu(x)), from y and its gradient, n numbers of each.
void textvae_drop_backward(index bytes, index n, const void* y, const void* dy, void* dx, index seed, std::uint32_t least, float scale,
                           index threads) {
    const Bend bend{{seed, least, scale}, true};
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto given = static_cast<const Number*>(y), gradient = static_cast<const Number*>(dy);
        const auto to = static_cast<Number*>(dx);
        share((n + LANES - 1) / LANES, threads, [&](index first, index end) {
            for (index i = first * LANES; i < std::min(end * LANES, n); i += LANES) {
                const index count = n - i;
                store_some(to + i, bend.backward(load_some(gradient + i, count), load_some(given + i, count), places_from(i)), count);
            }
        });
    });
}

}  // extern "C"

}  // namespace textvae
