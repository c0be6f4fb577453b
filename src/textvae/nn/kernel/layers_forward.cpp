// Layers without recurrence, ahead: see layers.h.

#include "layers.h"

namespace textvae {

namespace {

// x (B, S, C) to y (B, W, O).
template <class Number>
void convolve(const Work<Number>& work, const Number* x, Number* y) {
    const Layer& layer = work.layer;
    work.pack_ahead(layer.weight);
    work.team.wait();
    work.by_sequences([&](index first, index end) {
        const auto finish = work.bent(layer.bias, y, layer.O, first * layer.W);
        work.multiply(end - first, work.cut_windows(first, end, x), work.wide, work.width, layer.O, finish);
    });
}

// x (B, W, O) to y (B, S, C).
template <class Number>
void convolve_transposed(const Work<Number>& work, const Number* x, Number* y) {
    const Layer& layer = work.layer;
    work.pack_back(layer.weight);
    work.team.wait();
    work.by_sequences([&](index first, index end) {
        const auto to = work.plain(work.windows, work.wide, work.width);
        work.multiply(end - first, work.whole_rows(first, end, x), work.side, layer.O, work.width, to);
        work.add_windows(first, end, work.bent(layer.bias, y, layer.C, 0));
    });
}

}  // namespace

extern "C" {

// Bytes of the memory that a layer's calls want beside what is given.
void textvae_layer_room(const Layer* layer, index* bytes) {
    with_number(layer->bytes, [&](auto number) { *bytes = Work<decltype(number)>(*layer, Team{}, nullptr).room; });
}

// x through layers, each from what the one before gave.
void textvae_layers_forward(const Layer* layers, index count, const void* x, void* memory) {
    with_number(layers->bytes, [&](auto number) {
        using Number = decltype(number);
        for (const Layer* layer = layers; layer < layers + count; x = layer++->y)
            with_layer<Number>(*layer, memory, [&](const auto& work) {
                const auto from = static_cast<const Number*>(x);
                const auto to = static_cast<Number*>(layer->y);
                layer->back ? convolve_transposed(work, from, to) : convolve(work, from, to);
            });
    });
}

}  // extern "C"

}  // namespace textvae
