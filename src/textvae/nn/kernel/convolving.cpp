// What convolutions do beside their product: windows of neighbouring positions side by side (im2col), and the sum of windows where
// they stand (col2im), which are each other's transpose. Of maps (B, S, C), channels last: a window's positions stand side by side in
// memory already.

#include <algorithm>

#include "tiles.h"

namespace {

// Window i of a row begins at position i * stride - crop; what lies outside of the row's positions is zero.
struct Cut {
    index positions, channels, windows, kernel, stride, crop;

    index first(index window) const { return window * stride - crop; }
    index from(index window) const { return std::max<index>(0, first(window)); }
    index to(index window) const { return std::max(from(window), std::min(positions, first(window) + kernel)); }
    index width() const { return kernel * channels; }
};

template <class Number>
void take(const Cut& cut, const Number* row, Number* windows) {
    for (index i = 0; i < cut.windows; ++i, windows += cut.width()) {
        const index before = (cut.from(i) - cut.first(i)) * cut.channels, inside = (cut.to(i) - cut.from(i)) * cut.channels;
        if (inside == 0) {
            __builtin_memset(windows, 0, cut.width() * sizeof(Number));
            continue;
        }
        __builtin_memset(windows, 0, before * sizeof(Number));
        __builtin_memcpy(windows + before, row + cut.from(i) * cut.channels, inside * sizeof(Number));
        __builtin_memset(windows + before + inside, 0, (cut.width() - before - inside) * sizeof(Number));
    }
}

// Position by position, so that sums are fp32 whatever the numbers are, and each is written once.
template <class Number>
void add(const Cut& cut, const Number* windows, const float* bias, Number* row) {
    const index C = cut.channels;
    for (index position = 0; position < cut.positions; ++position, row += C) {
        const index reach = position + cut.crop, past = reach - cut.kernel;  // windows begin at or before the one, after the other
        const index first = past < 0 ? 0 : past / cut.stride + 1, end = std::min(cut.windows, reach / cut.stride + 1);
        const auto at = [&](index i) { return windows + i * cut.width() + (position - cut.first(i)) * C; };
        index c = 0;
        for (; c + LANES <= C; c += LANES) {
            vec sum = bias ? load(bias + c) : vec{};
            for (index i = first; i < end; ++i) sum += load(at(i) + c);
            store(row + c, sum);
        }
        for (; c < C; ++c) {
            float sum = bias ? bias[c] : 0.0f;
            for (index i = first; i < end; ++i) sum += value(at(i) + c);
            put(row + c, sum);
        }
    }
}

}  // namespace

extern "C" {

// `bytes` is the size of a number, 4 (fp32) or 2 (bf16); pointers without a type are to such numbers.

// x (B, S, C) to windows (B, W, kernel * C).
void textvae_im2col(index bytes, index B, index S, index C, index W, index kernel, index stride, index crop, const void* x, void* windows,
                    index threads) {
    const Cut cut{S, C, W, kernel, stride, crop};
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(x);
        const auto to = static_cast<Number*>(windows);
        share(B, threads, [&](index first, index end) {
            for (index b = first; b < end; ++b) take(cut, from + b * S * C, to + b * W * cut.width());
        });
    });
}

// Windows (B, W, kernel * C) to x (B, S, C), which starts from a bias (C) where one is given.
void textvae_col2im(index bytes, index B, index S, index C, index W, index kernel, index stride, index crop, const void* windows,
                    const float* bias, void* x, index threads) {
    const Cut cut{S, C, W, kernel, stride, crop};
    with_number(bytes, [&](auto number) {
        using Number = decltype(number);
        const auto from = static_cast<const Number*>(windows);
        const auto to = static_cast<Number*>(x);
        share(B, threads, [&](index first, index end) {
            for (index b = first; b < end; ++b) add(cut, from + b * W * cut.width(), bias, to + b * S * C);
        });
    });
}

}  // extern "C"
