// Adam (Kingma and Ba, ICLR 2015, algorithm 1) as PyTorch's torch.optim.Adam computes it, and the
// learning-rate schedules of PyTorch that the field uses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autograd/tensor.h"
#include "kernels/context.h"

namespace ptynet {

// Moments and step count of the tensors it trains. All of it stays at fixed addresses on the
// device, so that step() may be recorded. Used by one thread at a time.
class Adam {
 public:
  // `values` keep their order from now on; moments begin at zero. With a loss scale, gradients are
  // those of the loss times it, and a step with one that is not finite is left out.
  Adam(Context& context, const std::vector<Array>& values, const AdamOptions& options = {},
       std::optional<LossScale> scaling = {});

  // One step; a gradient may be empty where the loss does not depend on a value, which then stays.
  void step(const std::vector<Array>& gradients);

  // f64 [1] on the device, for recordings that set it themselves.
  Array learning_rate() const { return state_.slice(0, 1); }
  // f64 [1] on the device; of an Adam with a LossScale.
  Array loss_scale() const { return scaling_.slice(0, 1); }

  // Host access between steps.
  void set_learning_rate(double rate);
  double steps_done() const;
  LossScale scaling() const;
  void set_scaling(const LossScale& scaling);

  struct Moments {
    Array first;
    Array second;
  };
  const Moments& moments(std::size_t i) const { return moments_.at(i); }  // on the device
  // Copied; throws Error (input), with nothing changed, when shapes or types do not fit.
  void restore(double steps_done, const std::vector<Moments>& moments);

 private:
  Context& context_;
  AdamOptions options_;
  std::vector<Array> values_;
  std::vector<Moments> moments_;
  Array state_;    // f64 [2] on the device: learning rate, steps done
  Array scaling_;  // f64 [3] there, or empty
};

enum class ScheduleKind : std::uint8_t { kConstant, kStep, kCosine, kCyclic };
// "constant", "step", "cosine", "cyclic".
std::string name_of(ScheduleKind kind);

// The learning rate over a run, a pure function of where it stands.
//   constant  rate
//   step      halved after int(f * epochs) - 1 epochs for f = 0.2, 0.4, 0.6, 0.8 (MultiStepLR of
//             the published fine-tuning)
//   cosine    rate / 2 * (1 + cos(pi epoch / epochs)) (CosineAnnealingLR to 0)
//   cyclic    triangular2 between rate / 10 and rate, half a cycle being `half_cycle_epochs`,
//             stepped per batch (CyclicLR of the published training)
struct Schedule {
  ScheduleKind kind = ScheduleKind::kStep;
  double rate = 1e-4;
  std::int64_t epochs = 1;
  std::int64_t batches_per_epoch = 1;
  double half_cycle_epochs = 60;

  // Of batch `batch` (from 0) in epoch `epoch` (from 0).
  double at(std::int64_t epoch, std::int64_t batch) const;
};

}  // namespace ptynet
