// Windows of neighbouring positions of maps (B, S, C), channels last, side by side (im2col), and the sum of windows where they stand
// (col2im): each other's transpose. A window's positions stand side by side in memory already.

#pragma once

#include <algorithm>

#include "bend.h"

namespace textvae {

namespace {

// Window i of a row begins at position i * stride - crop; what lies outside of the row's positions is zero.
struct Cut {
    index positions, channels, windows, kernel, stride, crop;

    index first(index window) const { return window * stride - crop; }
    index from(index window) const { return std::max<index>(0, first(window)); }
    index to(index window) const { return std::max(from(window), std::min(positions, first(window) + kernel)); }
};

// A row's windows, each with zeros after it up to `width`.
template <class Number>
void take(const Cut& cut, const Number* row, Number* windows, index width) {
    for (index i = 0; i < cut.windows; ++i, windows += width) {
        const index before = (cut.from(i) - cut.first(i)) * cut.channels, inside = (cut.to(i) - cut.from(i)) * cut.channels;
        if (inside == 0) {
            __builtin_memset(windows, 0, width * sizeof(Number));
            continue;
        }
        __builtin_memset(windows, 0, before * sizeof(Number));
        __builtin_memcpy(windows + before, row + cut.from(i) * cut.channels, inside * sizeof(Number));
        __builtin_memset(windows + before + inside, 0, (width - before - inside) * sizeof(Number));
    }
}

// A row's sum of windows `width` apart, position by position, so that sums are fp32 whatever the numbers are: `finish(sum, position, c)`
// takes each vector of it.
template <class Number, class Finish>
void add(const Cut& cut, const Number* windows, index width, const Finish& finish) {
    for (index position = 0; position < cut.positions; ++position) {
        const index reach = position + cut.crop, past = reach - cut.kernel;  // windows begin at or before the one, after the other
        const index first = past < 0 ? 0 : past / cut.stride + 1, end = std::min(cut.windows, reach / cut.stride + 1);
        for (index c = 0; c < cut.channels; c += LANES) {
            vec sum{};
            for (index i = first; i < end; ++i)
                sum += load_some(windows + i * width + (position - cut.first(i)) * cut.channels + c, cut.channels - c);
            finish(sum, position, c);
        }
    }
}

}  // namespace

}  // namespace textvae
