// Loops over an activation, one for each kind.
#pragma once

#include "kernels/math.h"

namespace ptynet::cpu {

// An activation whose kind the compiler knows, so that loops over it hold no switch.
template <ActivationKind Kind>
struct FixedActivation {
  float alpha, beta;
  Activation activation() const { return {Kind, alpha, beta}; }
};

// Calls body with the activation as one of them.
template <typename Body>
void with_kind(const Activation& a, Body&& body) {
  switch (a.kind) {
    case ActivationKind::kNone:
      return body(FixedActivation<ActivationKind::kNone>{a.alpha, a.beta});
    case ActivationKind::kLeakyRelu:
      return body(FixedActivation<ActivationKind::kLeakyRelu>{a.alpha, a.beta});
    case ActivationKind::kRelu:
      return body(FixedActivation<ActivationKind::kRelu>{a.alpha, a.beta});
    case ActivationKind::kHardtanh:
      return body(FixedActivation<ActivationKind::kHardtanh>{a.alpha, a.beta});
    case ActivationKind::kSigmoid:
      return body(FixedActivation<ActivationKind::kSigmoid>{a.alpha, a.beta});
    case ActivationKind::kTanh:
      return body(FixedActivation<ActivationKind::kTanh>{a.alpha, a.beta});
  }
}

}  // namespace ptynet::cpu
