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

void take(const Cut& cut, const float* row, float* windows) {
    for (index i = 0; i < cut.windows; ++i, windows += cut.width()) {
        const index before = (cut.from(i) - cut.first(i)) * cut.channels, inside = (cut.to(i) - cut.from(i)) * cut.channels;
        if (inside == 0) {
            __builtin_memset(windows, 0, cut.width() * sizeof(float));
            continue;
        }
        __builtin_memset(windows, 0, before * sizeof(float));
        __builtin_memcpy(windows + before, row + cut.from(i) * cut.channels, inside * sizeof(float));
        __builtin_memset(windows + before + inside, 0, (cut.width() - before - inside) * sizeof(float));
    }
}

void add(const Cut& cut, const float* windows, const float* bias, float* row) {
    for (index position = 0; position < cut.positions; ++position)
        if (bias)
            __builtin_memcpy(row + position * cut.channels, bias, cut.channels * sizeof(float));
        else
            __builtin_memset(row + position * cut.channels, 0, cut.channels * sizeof(float));
    for (index i = 0; i < cut.windows; ++i, windows += cut.width()) {
        const float* from = windows + (cut.from(i) - cut.first(i)) * cut.channels;
        float* to = row + cut.from(i) * cut.channels;
        for (index n = 0; n < (cut.to(i) - cut.from(i)) * cut.channels; ++n) to[n] += from[n];
    }
}

}  // namespace

extern "C" {

// x (B, S, C) to windows (B, W, kernel * C).
void textvae_im2col(index B, index S, index C, index W, index kernel, index stride, index crop, const float* x, float* windows,
                    index threads) {
    const Cut cut{S, C, W, kernel, stride, crop};
    share(B, threads, [&](index first, index end) {
        for (index b = first; b < end; ++b) take(cut, x + b * S * C, windows + b * W * cut.width());
    });
}

// Windows (B, W, kernel * C) to x (B, S, C), which starts from a bias (C) where one is given.
void textvae_col2im(index B, index S, index C, index W, index kernel, index stride, index crop, const float* windows, const float* bias,
                    float* x, index threads) {
    const Cut cut{S, C, W, kernel, stride, crop};
    share(B, threads, [&](index first, index end) {
        for (index b = first; b < end; ++b) add(cut, windows + b * W * cut.width(), bias, x + b * S * C);
    });
}

}  // extern "C"
