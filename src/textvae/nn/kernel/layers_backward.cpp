// Layers without recurrence, back: see layers.h.

#include "layers.h"

namespace textvae {

namespace {

// From x, y and the gradient of y that of x, where it is asked for, and those of the parameters.
template <class Number>
void convolve_back(const Work<Number>& work, const Number* x, const Number* y, const Number* dy, Number* dx) {
    const Layer& layer = work.layer;
    if (dx) work.pack_back(layer.weight);
    work.forget();
    work.team.wait();
    work.by_sequences([&](index first, index end) {
        const index rows = (end - first) * layer.W, columns = layer.S * layer.C;
        work.bend_back(first * layer.W, end * layer.W, y, dy, layer.O, work.side);
        if (layer.dweight) {
            add_rows(work.gradient, work.side, rows, layer.O, work.dbias);
            work.weigh(first, rows, work.gradient, work.side, work.cut_windows(first, end, x));
        }
        if (!dx) return;
        const bool cuts = work.cuts();
        const auto to = cuts ? work.plain(work.windows, work.wide, work.width) : work.plain(dx + first * columns, work.width, work.width);
        work.multiply(end - first, work.gradient, work.side, layer.O, work.width, to);
        if (cuts) work.add_windows(first, end, work.plain(dx, layer.C, layer.C));
    });
    if (layer.dweight) work.gather(layer.O, layer.dweight, layer.dbias);
}

// The same of a transposed one.
template <class Number>
void convolve_transposed_back(const Work<Number>& work, const Number* x, const Number* y, const Number* dy, Number* dx) {
    const Layer& layer = work.layer;
    if (dx) work.pack_ahead(layer.weight);
    work.forget();
    work.team.wait();
    work.by_sequences([&](index first, index end) {
        const index rows = (end - first) * layer.W;
        work.bend_back(first * layer.S, end * layer.S, y, dy, layer.C, layer.C);
        if (layer.dweight) add_rows(work.gradient, layer.C, (end - first) * layer.S, layer.C, work.dbias);
        for (index b = 0; b < end - first; ++b)
            take(work.cut, work.gradient + b * layer.S * layer.C, work.windows + b * layer.W * work.wide, work.wide);
        if (layer.dweight) work.weigh(first, rows, x + first * layer.W * layer.O, layer.O, work.windows);
        if (!dx) return;
        const auto to = work.plain(dx + first * layer.W * layer.O, layer.O, layer.O);
        work.multiply(end - first, work.windows, work.wide, work.width, layer.O, to);
    });
    if (layer.dweight) work.gather(layer.C, layer.dweight, layer.dbias);
}

}  // namespace

extern "C" {

// From the gradient of what the last of the layers gave those of their parameters, where they are asked for, and that of x, where dx is
// no nullptr; only layers from `first` on have any. What goes from layer to layer stands in two places of `carried`, so many bytes apart.
void textvae_layers_backward(const Layer* layers, index count, index first, const void* x, const void* dy, void* dx, void* memory,
                             char* carried, index apart) {
    with_number(layers->bytes, [&](auto number) {
        using Number = decltype(number);
        for (index i = count - 1; i >= first; --i) {
            const Layer& layer = layers[i];
            void* to = i > first ? carried + i % 2 * apart : i ? nullptr : dx;
            with_layer<Number>(layer, memory, [&](const auto& work) {
                const auto given = static_cast<const Number*>(i ? layers[i - 1].y : x), gradient = static_cast<const Number*>(dy);
                const auto gave = layer.curved ? static_cast<const Number*>(layer.y) : gradient;  // else it is read for nothing
                const auto back = static_cast<Number*>(to);
                layer.back ? convolve_transposed_back(work, given, gave, gradient, back) : convolve_back(work, given, gave, gradient, back);
            });
            dy = to;
        }
    });
}

}  // extern "C"

}  // namespace textvae
