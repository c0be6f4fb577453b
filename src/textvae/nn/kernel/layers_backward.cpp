// Layers without recurrence, back: see layers.h.

#include "layers.h"

namespace textvae {

extern "C" {

// From x, y and the gradient of y those of x, and of weight and bias; nullptr for what is not asked for, of the two for both.
void textvae_convolve_backward(const Layer* layer, const void* x, const float* weight, const void* y, const void* dy, void* dx,
                               float* dweight, float* dbias, void* memory) {
    with_layer(*layer, memory, [&](const auto& work) {
        if (dx) work.pack_back(weight);
        work.forget();
        work.team.wait();
        work.by_sequences([&](index first, index end) {
            const auto number = work.packed;
            const index rows = (end - first) * layer->W, columns = layer->S * layer->C;
            work.bend_back(first * layer->W, end * layer->W, as(number, y), as(number, dy), layer->O, work.side);
            if (dweight) {
                add_rows(work.gradient, work.side, rows, layer->O, work.dbias);
                work.weigh(first, rows, work.gradient, work.cut_windows(first, end, as(number, x)));
            }
            if (!dx) return;
            const bool cuts = work.cuts();
            const auto to = cuts ? work.plain(work.windows, work.wide, work.width)
                                 : work.plain(as(number, dx) + first * columns, work.width, work.width);
            work.multiply(end - first, work.gradient, work.side, layer->O, work.width, to);
            if (cuts) work.add_windows(first, end, work.plain(as(number, dx), layer->C, layer->C));
        });
        if (dweight) work.gather(layer->O, dweight, dbias);
    });
}

// The same of a transposed one.
void textvae_convolve_transposed_backward(const Layer* layer, const void* x, const float* weight, const void* y, const void* dy, void* dx,
                                          float* dweight, float* dbias, void* memory) {
    with_layer(*layer, memory, [&](const auto& work) {
        if (dx) work.pack_ahead(weight);
        work.forget();
        work.team.wait();
        work.by_sequences([&](index first, index end) {
            const auto number = work.packed;
            const index rows = (end - first) * layer->W;
            work.bend_back(first * layer->S, end * layer->S, as(number, y), as(number, dy), layer->C, layer->C);
            if (dweight) add_rows(work.gradient, layer->C, (end - first) * layer->S, layer->C, work.dbias);
            for (index b = 0; b < end - first; ++b)
                take(work.cut, work.gradient + b * layer->S * layer->C, work.windows + b * layer->W * work.wide, work.wide);
            if (dweight) work.weigh(first, rows, as(number, x) + first * layer->W * work.side, work.windows);
            if (!dx) return;
            const auto to = work.plain(as(number, dx) + first * layer->W * layer->O, layer->O, layer->O);
            work.multiply(end - first, work.windows, work.wide, work.width, layer->O, to);
        });
        if (dweight) work.gather(layer->C, dweight, dbias);
    });
}

}  // extern "C"

}  // namespace textvae
