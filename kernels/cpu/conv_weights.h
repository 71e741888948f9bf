// Rearrangements of convolution weights, f32, for the formulations that are fastest here.
#pragma once

#include <cstdint>

namespace ptynet::cpu {

// Of weights in our order, [co, kh, kw, ci / groups].
struct WeightShape {
  std::int64_t co, kh, kw, ci, groups;

  std::int64_t taps() const { return kh * kw; }
  std::int64_t ci_group() const { return ci / groups; }
  std::int64_t co_group() const { return co / groups; }
};

// oneDNN has slow code for groups of a few outputs (bf16: 117 us where a dense layer takes 13). As
// one dense convolution with zeros between the groups they are faster; true depthwise ones have
// code of their own.
std::int64_t groups_to_run(std::int64_t ci, std::int64_t co, std::int64_t groups);

// [co, kh, kw, ci / groups] -> [co, kh, kw, ci], zero outside of the output's group.
void ungroup_weights(const WeightShape& shape, const float* from, float* to);
// The way back, without what lies outside of the groups.
void regroup_weights(const WeightShape& shape, const float* from, float* to);

// [co, kh, kw, ci / groups] -> [ci, kh, kw, co / groups] with the taps in reverse: the convolution
// that takes a stride-1 convolution's output gradient to its input gradient. Its own inverse, by
// the mirrored shape.
void mirror_weights(const WeightShape& shape, const float* from, float* to);

// Rearranges a transposed convolution's weights [ci, kh, kw, co / groups] into those of the one
// convolution, in `parts` groups, that computes all output phases (TransposedAxis): output channels
// in the order [part][phase row][phase column][co / parts], window position u holding tap
// t = taps - 1 - u. `parts` is `groups`, or 1 with zeros between the groups.
struct PhaseWeights {
  std::int64_t ci, co, kh, kw, groups, parts, stride, taps_h, taps_w;

  void pack(const float* w, float* packed) const;
  void pack_bias(const float* b, float* packed) const;

 private:
  void pack_tap(const float* w, float* packed, std::int64_t group, std::int64_t phase,
                std::int64_t u) const;
};

}  // namespace ptynet::cpu
