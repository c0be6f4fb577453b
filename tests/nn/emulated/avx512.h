// The instructions of AVX-512, AVX512-BF16 and AMX that the kernel uses, one by one in C++: a compiler that reads this first
// (`-include`) builds the kernel as for a processor that has them, and any processor with AVX runs it, slowly.
//
// Numbers are those of the instructions but for denormals and for the order in which sums are rounded. What such a processor would
// refuse ends the process. What is not emulated is the compiler: which reads and writes it may move across an instruction.
//
// WITHOUT_MATRIX_REGISTERS leaves AMX out. In a process with EMULATED_SYSTEM=refuses the system gives no room for matrix registers.

#pragma once

#include <immintrin.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#undef __AVX__  // vectors of 64 bytes are in no register here
#undef __AVX512F__
#undef __AVX512BF16__
#undef __AMX_BF16__
#define __AVX512F__ 1
#define __AVX512BF16__ 1
#ifndef WITHOUT_MATRIX_REGISTERS
#define __AMX_BF16__ 1
#endif

namespace emulated {

using floats = float __attribute__((vector_size(64)));
using words = std::uint32_t __attribute__((vector_size(64)));
using bf16s = std::uint16_t __attribute__((vector_size(32)));

[[gnu::noinline]] inline void demand(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "a processor would refuse this: %s\n", what);
    __builtin_abort();
}

[[gnu::noinline]] inline floats set1(float x) { return x - floats{}; }
[[gnu::noinline]] inline floats max(floats a, floats b) { return a > b ? a : b; }  // the second where one is NaN, as the instruction
[[gnu::noinline]] inline floats min(floats a, floats b) { return a < b ? a : b; }

[[gnu::noinline]] inline float reduce_add(floats x) {
    float sum = 0;
    for (int lane = 0; lane < 16; ++lane) sum += x[lane];
    return sum;
}

[[gnu::noinline]] inline float reduce_max(floats x) {
    float most = x[0];
    for (int lane = 1; lane < 16; ++lane) most = x[lane] > most ? x[lane] : most;
    return most;
}

[[gnu::noinline]] inline floats reciprocal14(floats x) {  // 14 bits of it
    const words some = (words)(1.0f / x) & 0xfffffe00u;
    return (floats)some;
}

[[gnu::noinline]] inline void store(void* to, words x) { __builtin_memcpy(to, &x, 64); }

[[gnu::noinline]] inline float upper(std::uint32_t word) {
    const std::uint32_t bits = word & 0xffff0000u;
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}

[[gnu::noinline]] inline float dot(float sum, std::uint32_t a, std::uint32_t b) { return sum + upper(a << 16) * upper(b << 16) + upper(a) * upper(b); }

[[gnu::noinline]] inline floats dot(floats sum, words a, words b) {
    for (int lane = 0; lane < 16; ++lane) sum[lane] = dot(sum[lane], a[lane], b[lane]);
    return sum;
}

[[gnu::noinline]] inline bf16s narrow(floats x) {
    bf16s y{};
    for (int lane = 0; lane < 16; ++lane) {
        std::uint32_t bits;
        const float one = x[lane];
        __builtin_memcpy(&bits, &one, 4);
        y[lane] = static_cast<std::uint16_t>((one == one ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000) >> 16);
    }
    return y;
}

[[gnu::noinline]] inline words narrow_both(floats upper, floats lower) {  // the second's numbers stand first
    const bf16s halves[2] = {narrow(lower), narrow(upper)};
    words x;
    __builtin_memcpy(&x, halves, 64);
    return x;
}

// A thread's eight matrix registers of 16 rows of 16 words: no use of them before they are laid out, or after their release.
struct Matrices {
    bool laid_out = false;
    std::uint32_t words[8][16][16];

    std::uint32_t (&operator[](int i))[16][16] {
        demand(laid_out, "matrix registers that are not laid out in this thread");
        demand(i >= 0 && i < 8, "a ninth matrix register");
        return words[i];
    }
};

[[gnu::noinline]] inline Matrices& matrices() {
    thread_local Matrices own;
    return own;
}

[[gnu::noinline]] inline void lay_out(const void* from) {
    unsigned char shape[64];
    __builtin_memcpy(shape, from, 64);
    demand(shape[0] == 1, "a palette other than 1");
    for (int i = 0; i < 8; ++i) {
        std::uint16_t bytes;
        __builtin_memcpy(&bytes, shape + 16 + 2 * i, 2);
        demand(bytes == 64 && shape[48 + i] == 16, "this emulation has full squares only");
    }
    matrices().laid_out = true;
    __builtin_memset(matrices().words, 0, sizeof matrices().words);
}

[[gnu::noinline]] inline void release() {
    demand(matrices().laid_out, "a release of registers that were not laid out");
    matrices().laid_out = false;
}

[[gnu::noinline]] inline void zero(int i) { __builtin_memset(matrices()[i], 0, 1024); }

[[gnu::noinline]] inline void read(int i, const void* from, std::int64_t stride) {
    auto& to = matrices()[i];
    for (int row = 0; row < 16; ++row) __builtin_memcpy(to[row], static_cast<const char*>(from) + row * stride, 64);
}

[[gnu::noinline]] inline void write(int i, void* to, std::int64_t stride) {
    auto& from = matrices()[i];
    for (int row = 0; row < 16; ++row) __builtin_memcpy(static_cast<char*>(to) + row * stride, from[row], 64);
}

[[gnu::noinline]] inline void multiply(int sums, int left, int right) {
    demand(sums != left && sums != right && left != right, "a product of a matrix register and itself");
    auto& a = matrices()[left];
    auto& b = matrices()[right];
    auto& c = matrices()[sums];
    for (int row = 0; row < 16; ++row)
        for (int k = 0; k < 16; ++k)
            for (int column = 0; column < 16; ++column) {
                float sum;
                __builtin_memcpy(&sum, &c[row][column], 4);
                sum = dot(sum, a[row][k], b[k][column]);
                __builtin_memcpy(&c[row][column], &sum, 4);
            }
}

// What the system answers a process that asks for matrix registers.
[[gnu::noinline]] inline long ask(long, long, long) {
    const char* told = std::getenv("EMULATED_SYSTEM");
    return told && *told == 'r' ? -1 : 0;
}

}  // namespace emulated

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define __m512 emulated::floats
#define __m512bh emulated::words
#define __m512i emulated::words
#define __m256i emulated::bf16s
#define _mm512_set1_ps emulated::set1
#define _mm512_max_ps emulated::max
#define _mm512_min_ps emulated::min
#define _mm512_reduce_add_ps emulated::reduce_add
#define _mm512_reduce_max_ps emulated::reduce_max
#define _mm512_rcp14_ps emulated::reciprocal14
#define _mm512_storeu_si512 emulated::store
#define _mm512_dpbf16_ps emulated::dot
#define _mm512_cvtneps_pbh emulated::narrow
#define _mm512_cvtne2ps_pbh emulated::narrow_both
#define _mm256_storeu_si256(to, x) __builtin_memcpy(to, &static_cast<const emulated::bf16s&>(x), 32)
#define _tile_loadconfig emulated::lay_out
#define _tile_release emulated::release
#define _tile_zero emulated::zero
#define _tile_loadd emulated::read
#define _tile_stored emulated::write
#define _tile_dpbf16ps emulated::multiply
#define syscall emulated::ask
