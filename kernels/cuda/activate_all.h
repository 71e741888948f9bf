// The activation of several values at once, and its slope: what kind it is, is asked once.
#pragma once

#include "kernels/cuda/device.h"

namespace ptynet::cuda {

template <int N>
PTYNET_DEVICE void activate_all(Vector<float, N>& v, const Activation& a) {
  if (a.kind == ActivationKind::kLeakyRelu) {  // of nearly every layer
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) v[i] = activate(v[i], {ActivationKind::kLeakyRelu, a.alpha, 0});
  } else if (a.kind != ActivationKind::kNone) {
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) v[i] = activate(v[i], a);
  }
}

// dy before the activation that gave y.
template <int N>
PTYNET_DEVICE void slope_all(Vector<float, N>& dy, const Vector<float, N>& y, const Activation& a) {
  if (a.kind == ActivationKind::kLeakyRelu) {
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      dy[i] *= activation_slope(y[i], {ActivationKind::kLeakyRelu, a.alpha, 0});
    }
  } else if (a.kind != ActivationKind::kNone) {
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) dy[i] *= activation_slope(y[i], a);
  }
}

}  // namespace ptynet::cuda
