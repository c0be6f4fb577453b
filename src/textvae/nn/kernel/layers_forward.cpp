// Layers without recurrence, ahead: see layers.h.

#include "layers.h"

namespace textvae {

extern "C" {

// Bytes of the memory that the calls below want beside their arguments.
void textvae_layer_room(const Layer* layer, index* bytes) {
    with_number(layer->bytes, [&](auto number) { *bytes = Work<decltype(number)>(*layer, Team{}, nullptr).room; });
}

// x (B, S, C) to y (B, W, O).
void textvae_convolve(const Layer* layer, const void* x, const float* weight, const float* bias, void* y, void* memory) {
    with_layer(*layer, memory, [&](const auto& work) {
        work.pack_ahead(weight);
        work.team.wait();
        work.by_sequences([&](index first, index end) {
            const auto windows = work.cut_windows(first, end, as(work.packed, x));
            const auto finish = work.bent(bias, as(work.packed, y), layer->O, first * layer->W);
            work.multiply(end - first, windows, work.wide, work.width, layer->O, finish);
        });
    });
}

// x (B, W, O), rows up to a whole depth, to y (B, S, C).
void textvae_convolve_transposed(const Layer* layer, const void* x, const float* weight, const float* bias, void* y, void* memory) {
    with_layer(*layer, memory, [&](const auto& work) {
        work.pack_back(weight);
        work.team.wait();
        work.by_sequences([&](index first, index end) {
            const auto from = as(work.packed, x) + first * layer->W * work.side;
            work.multiply(end - first, from, work.side, layer->O, work.width, work.plain(work.windows, work.wide, work.width));
            work.add_windows(first, end, work.bent(bias, as(work.packed, y), layer->C, 0));
        });
    });
}

}  // extern "C"

}  // namespace textvae
