// The geometry that assign, decode and upsample share, and the two movers of data between memory and threads.
//
// A cell is one pixel of the coarse map [h,w] and the 2x2 pixels of the fine map [H,W] below it; h = ceil(H/2),
// w = ceil(W/2). Its nine candidates are the 3x3 cells around it, n = 3*(dy+1) + (dx+1).
//
// Thread mapping: one thread a cell, one warp 32 cells of a row, one block four rows.
//
//        cells of the coarse map              a thread's share of the fine map
//                32 lanes
//      +--+--------------------+--+             column 2x  2x+1
//      |  | border row         |  |           +-----------+
//      +--+--------------------+--+   row 2y  |  p0    p1 |  one Pair
//      |b | warp 0             |b |           +-----------+
//      |o | warp 1             |o |   row 2y+1|  p2    p3 |  one Pair
//      |r | warp 2             |r |           +-----------+
//      |d | warp 3             |d |
//      +--+--------------------+--+           The tile with its border (6 x 34 cells) of kDepth channels lies in
//      |  | border row         |  |           shared memory as float32: a thread's nine candidates are nine
//      +--+--------------------+--+           conflict-free reads for 36 multiply-adds.
//
// Each channel of the fine map is read once, by the thread that owns it, straight into registers. Each channel of the
// coarse map is read by one warp of the block; its border (6*34/128 - 1 = 59%) is read by the neighbour block too and
// comes from the L2 cache then.
//
// A small map makes too few blocks to keep a GPU busy, and a block waits for memory at each step of kDepth channels. So
// the channels can be split: `Groups` groups of kThreads threads share a tile and take the steps in turn.
#pragma once
#include "numeric.cuh"

namespace hc {

constexpr int kCandidates = 9;
constexpr int kPixels = 4;
constexpr int kLanes = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kLanes * kWarps;  // of a group
// Groups where the channels are split: 512 threads have 128 registers each, into which float32 does not fit.
template <typename T>
constexpr int kSplit = sizeof(T) == 2 ? 4 : 2;
constexpr int kTileRows = kWarps + 2;
constexpr int kTileColumns = kLanes + 2;
constexpr int kTileCells = kTileRows * kTileColumns;

// Channels a step: each warp brings one to shared memory.
constexpr int kDepth = kWarps;

// Which cell a thread owns, and what of it lies inside the map.
struct Cell {
    int H, W, h, w;  // fine and coarse size
    int x, y;        // cell of this thread
    int lane, warp, group;
    bool inside;        // the cell exists
    bool right, below;  // its second column, its second row exist
    // Of its first pixel and of the one below in a channel of the fine map. 32 bits are enough for the bytes (launch.h
    // bounds H*W), and an offset to an address that all threads share costs half the instructions of an address.
    unsigned pixel, pixel_below;

    __device__ Cell(int fine_height, int fine_width)
        : H(fine_height),
          W(fine_width),
          h((fine_height + 1) / 2),
          w((fine_width + 1) / 2),
          x(blockIdx.x * kLanes + threadIdx.x % kLanes),
          y(blockIdx.y * kWarps + threadIdx.x / kLanes % kWarps),
          lane(threadIdx.x % kLanes),
          warp(threadIdx.x / kLanes % kWarps),
          group(threadIdx.x / kThreads),
          inside(x < w && y < h),
          right(2 * x + 1 < W),
          below(2 * y + 1 < H),
          pixel(unsigned(2 * y) * W + 2 * x),
          pixel_below(pixel + W) {}

    __device__ int64 coarse_plane() const { return int64(h) * w; }
    __device__ int64 fine_plane() const { return int64(H) * W; }

    // Whether candidate n of this cell lies inside the coarse map.
    __device__ bool has(int n) const {
        const int cy = y + n / 3 - 1, cx = x + n % 3 - 1;
        return cy >= 0 && cy < h && cx >= 0 && cx < w;
    }
};

template <typename T>
__device__ __forceinline__ const T* at(const T* map, unsigned element) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(map) + element * unsigned(sizeof(T)));
}
template <typename T>
__device__ __forceinline__ T* at(T* map, unsigned element) {
    return reinterpret_cast<T*>(reinterpret_cast<char*>(map) + element * unsigned(sizeof(T)));
}

// A thread's four pixels of one channel of a map [*,H,W]. `Paired`: rows start at a Pair's alignment (W even).
template <typename T, bool Paired>
struct FinePixels {
    Pair<T> row[2];

    // `first`: elements from `map` to the channel. What lies outside the map keeps its value: 0 from the start.
    __device__ void load(const T* map, unsigned first, const Cell& cell) {
        if (cell.inside) row[0] = pair_at(at(map, first + cell.pixel), cell);
        if (cell.inside && cell.below) row[1] = pair_at(at(map, first + cell.pixel_below), cell);
    }

    __device__ void get(float (&value)[kPixels]) const {
        const float2 above = to_float(row[0]), under = to_float(row[1]);
        value[0] = above.x;
        value[1] = above.y;
        value[2] = under.x;
        value[3] = under.y;
    }

   private:
    __device__ static Pair<T> pair_at(const T* here, const Cell& cell) {
        if (Paired) return *reinterpret_cast<const Pair<T>*>(here);
        return make_pair(here[0], cell.right ? here[1] : zero<T>());
    }
};

template <typename T, bool Paired>
__device__ __forceinline__ void store_pixels(T* map, unsigned first, const Cell& cell, const float (&value)[kPixels]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
        if (!cell.inside || (r == 1 && !cell.below)) continue;
        T* here = at(map, first + (r == 0 ? cell.pixel : cell.pixel_below));
        const T left = from_float<T>(value[2 * r]), right = from_float<T>(value[2 * r + 1]);
        if (Paired) {
            *reinterpret_cast<Pair<T>*>(here) = make_pair(left, right);
        } else {
            here[0] = left;
            if (cell.right) here[1] = right;
        }
    }
}

using Tile = float[kTileRows][kTileColumns];

// Moves kDepth channels of the coarse map into tiles: fetch() reads them into registers, put() lays them down, so that
// the reads of one step run while the step before is being multiplied.
//
// Warp i of a group moves channel i: 32 columns a row, one a lane; the two border columns of its six rows go to the
// first twelve lanes. What lies outside the map is 0.
template <typename T, int Groups>
class CoarseTile {
   public:
    static constexpr int kEdges = 2 * kTileRows;

    __device__ explicit CoarseTile(const Cell& cell) : cell_(cell) {
        const int top = int(blockIdx.y) * kWarps - 1, left = int(blockIdx.x) * kLanes - 1;
        const int edge_row = cell.lane / 2, edge_column = cell.lane % 2 * (kTileColumns - 1);
        const unsigned channel = unsigned(cell.group * kDepth + cell.warp) * unsigned(cell.coarse_plane());
        body_at_ = channel + unsigned(top) * cell.w + cell.x;  // wraps above the map, where nothing is read
        edge_at_ = channel + unsigned(top + edge_row) * cell.w + left + edge_column;
        edge_slot_ = edge_row * kTileColumns + edge_column;
        first_row_ = top < 0 ? 1 : 0;
        end_row_ = min(cell.h - top, int(kTileRows));
        whole_ = top >= 0 && top + kTileRows <= cell.h && left + kTileColumns - 1 <= cell.w;
        edge_inside_ = cell.lane < kEdges && left + edge_column >= 0 && left + edge_column < cell.w &&
                       edge_row >= first_row_ && edge_row < end_row_;
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) body_[r] = zero<T>(), square_[r] = 0.0f;
        edge_ = zero<T>();
        edge_square_ = 0.0f;
    }

    // Reads kDepth channels a group from `map` on, of which this group has `channels` left.
    __device__ void fetch(const T* map, int channels) {
        const bool exists = cell_.warp < channels;
        if (whole_ && exists) {
#pragma unroll
            for (int r = 0; r < kTileRows; ++r) body_[r] = *at(map, body_at_ + unsigned(r * cell_.w));
        } else {
#pragma unroll
            for (int r = 0; r < kTileRows; ++r)
                body_[r] = exists && cell_.x < cell_.w && r >= first_row_ && r < end_row_
                               ? *at(map, body_at_ + unsigned(r * cell_.w))
                               : zero<T>();
        }
        edge_ = exists && edge_inside_ ? *at(map, edge_at_) : zero<T>();
    }

    __device__ void put(Tile* tiles) const {
        float* tile = &tiles[cell_.warp][0][0];
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) tile[r * kTileColumns + cell_.lane + 1] = to_float(body_[r]);
        if (cell_.lane < kEdges) tile[edge_slot_] = to_float(edge_);
    }

    // Adds the squares of what was fetched: every element of the tile passes through exactly one thread, once.
    __device__ void add_squares() {
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) {
            const float v = to_float(body_[r]);
            square_[r] += v * v;
        }
        const float v = to_float(edge_);
        edge_square_ += v * v;
    }

    // The sums of squares of this warp's channels, one a cell of the tile.
    __device__ void put_squares(Tile& sums) const {
#pragma unroll
        for (int r = 0; r < kTileRows; ++r) sums[r][cell_.lane + 1] = square_[r];
        if (cell_.lane < kEdges) (&sums[0][0])[edge_slot_] = edge_square_;
    }

   private:
    const Cell& cell_;
    unsigned body_at_, edge_at_;  // offsets of what fetch() reads
    bool whole_;                  // the block's tile lies inside the map
    int first_row_, end_row_;     // rows of the tile that lie inside the map
    bool edge_inside_;
    int edge_slot_;  // where this lane's border element lies in a tile
    T body_[kTileRows];
    T edge_;
    float square_[kTileRows];
    float edge_square_;
};

// Two sets of tiles a group, used in turn: with one barrier between put() and reading, a warp that runs ahead writes
// the set that everybody has left.
struct Tiles {
    Tile set[2][kDepth];
};

// What a thread has of its pixels: products with the nine seeds, and squares.
constexpr int kSums = kPixels * kCandidates + kPixels;

// The shared memory of a block. The sums of the groups are added once the tiles are done with, in their place.
template <int Groups>
union Shared {
    Tiles tiles[Groups];
    float sums[Groups / 2][kSums][kThreads];
};
template <>
union Shared<1> {
    Tiles tiles[1];
};

class Turn {
   public:
    __device__ int next() { return turn_ ^= 1; }

   private:
    int turn_ = 0;
};

__device__ __forceinline__ void candidates(const Tile& tile, const Cell& cell, float (&value)[kCandidates]) {
#pragma unroll
    for (int n = 0; n < kCandidates; ++n) value[n] = tile[cell.warp + n / 3][cell.lane + n % 3];
}

// Rows of a map whose row starts lie on a Pair's alignment can be read and written in pairs.
template <typename T>
__device__ __forceinline__ bool paired(const void* map, int width) {
    return width % 2 == 0 && reinterpret_cast<unsigned long long>(map) % sizeof(Pair<T>) == 0;
}

}  // namespace hc
