// Fused LSTM and GRU recurrences: forward and backward over all steps of a batch, in fp32 or bf16.
//
// Forward, one product a step of [h, 1, x] with the packed weights and biases, to which may be added what the step's symbol adds, a row
// of a table, and what the sequence does at every step; backward, one of the gates' gradients with the recurrent weights. A product's
// tiles are held in registers from the first multiplication to the cell's last operation. What does not recur, the gradients of the
// input and of the weights, is left to the caller's matrix library, over all steps at once. Rows of the batch do not depend on each
// other: each thread walks all steps of its own rows, and none waits for another.
//
// In bf16 stand what is multiplied and what is kept for backward; sums, c, and what is carried from step to step are fp32.
//
// Arrays are time-major: steps T, rows B (the batch), units H, and C numbers beside h: a one, if there is a bias, and x. H is a multiple
// of 48 or 64, in bf16 of 32 too (the caller pads). The gates of a row stand block by block, of so many units that divide H: i, f, g and
// o of the first units, then of the next; what an LSTM writes of them at once are then whole lines of the cache. Plain C interface.

#pragma once

#include "tiles.h"

namespace textvae {

namespace {

// What every walk knows. Without packed weights there is nothing to multiply: LSTM's single step, whose gates hold the sums, and the
// last step of a backward walk.
template <class Real>
struct Shape {
    using Number = Real;
    static constexpr bool SQUARED = true;
    static constexpr index PACKED = WORD<Number>, VECTOR = LANES * PACKED;
    static constexpr index PADDING = 16 * PACKED;  // after each row of gates, so that rows do not fall on the same lines of the cache

    index T, B, H, C;  // C is of the forward walks
    const Number* packed;
    Number* rows;   // (T + 1, B, row): before each step h and what is beside it: (H + C); zeros up to a line; then unused
    index row;
    Number* gates;  // (T, B, 4H + PADDING); (B, ...) where no step is kept
    index block;    // units of a gate that stand side by side; GRU: H
    bool keep;

    bool turns(index t) const { return PACKED > 1 && t % 2; }  // bf16's products are so fast that weights would be waited for
    bool fresh(index k) const { return packed && k == 0; }  // sums begin with zeros
    index gates_row() const { return 4 * H + PADDING; }
    Number* gates_at(index t, index b, index place) const { return gates + ((keep ? t * B : 0) + b) * gates_row() + place; }
    index place(index unit) const { return unit / block * 4 * block + unit % block; }  // of the first gate; the others are blocks apart
    Number* h_at(index t, index b, index unit) const { return rows + (t * B + b) * row + unit; }
};

template <class Number>
Shape<Number> shaped(index T, index B, index H, index C, const void* packed, void* rows, index row, void* gates, index block,
                     bool keep) {
    const auto weights = static_cast<const Number*>(packed);
    return {T, B, H, C, weights, static_cast<Number*>(rows), row, static_cast<Number*>(gates), block, keep};
}

}  // namespace

}  // namespace textvae
