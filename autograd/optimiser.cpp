#include "autograd/optimiser.h"

#include <array>
#include <cmath>
#include <numbers>

namespace ptynet {

Adam::Adam(Context& context, const std::vector<Array>& values, const AdamOptions& options,
           std::optional<LossScale> scaling)
    : context_(context),
      options_(options),
      values_(values),
      state_(on_device(context, Array::zeros({2}, DType::kF64))) {
  for (const Array& value : values) {
    const auto zeros = [&] {
      return on_device(context, Array::zeros(value.shape(), value.dtype()));
    };
    moments_.push_back({zeros(), zeros()});
  }
  if (!scaling) return;
  scaling_ = on_device(context, Array::zeros({3}, DType::kF64));
  set_scaling(*scaling);
}

void Adam::step(const std::vector<Array>& gradients) {
  if (gradients.size() != values_.size()) {
    fail_runtime("Adam trains ", values_.size(), " tensors, found ", gradients.size(),
                 " gradients");
  }
  std::vector<AdamTensor> tensors;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (gradients[i].empty()) continue;
    tensors.push_back({values_[i], gradients[i], moments_[i].first, moments_[i].second});
  }
  context_.backend().adam(options_, tensors, state_, scaling_);
}

void Adam::set_learning_rate(double rate) {
  Array host = Array::host({1}, DType::kF64);
  host.data<double>()[0] = rate;
  Array to = learning_rate();
  context_.backend().copy(host, to);
}

double Adam::steps_done() const {
  Array host = Array::host({2}, DType::kF64);
  context_.backend().copy(state_, host);
  context_.backend().synchronize();
  return host.data<double>()[1];
}

LossScale Adam::scaling() const {
  Array host = Array::zeros({3}, DType::kF64);
  context_.backend().copy(scaling_, host);
  context_.backend().synchronize();
  return LossScale::from(host.data<double>());
}

void Adam::set_scaling(const LossScale& scaling) {
  Array host = Array::host({3}, DType::kF64);
  scaling.write(host.data<double>());
  context_.backend().copy(host, scaling_);
  context_.backend().synchronize();
}

void Adam::restore(double steps_done, const std::vector<Moments>& moments) {
  if (moments.size() != moments_.size()) {
    fail_input("expected the moments of ", moments_.size(), " tensors, found ", moments.size());
  }
  const auto expect_fit = [](const Array& from, const Array& to) {
    if (from.shape() == to.shape() && from.dtype() == to.dtype()) return;
    fail_input("expected a moment ", describe(to), ", found ", describe(from));
  };
  for (std::size_t i = 0; i < moments.size(); ++i) {
    expect_fit(moments[i].first, moments_[i].first);
    expect_fit(moments[i].second, moments_[i].second);
  }
  for (std::size_t i = 0; i < moments.size(); ++i) {
    context_.backend().copy(moments[i].first, moments_[i].first);
    context_.backend().copy(moments[i].second, moments_[i].second);
  }
  Array host = Array::host({1}, DType::kF64);
  host.data<double>()[0] = steps_done;
  Array to = state_.slice(1, 1);
  context_.backend().copy(host, to);
  context_.backend().synchronize();
}

std::string name_of(ScheduleKind kind) {
  constexpr std::array kNames{"constant", "step", "cosine", "cyclic"};
  return kNames.at(static_cast<std::size_t>(kind));
}

double Schedule::at(std::int64_t epoch, std::int64_t batch) const {
  const auto whole = static_cast<double>(epochs);
  switch (kind) {
    case ScheduleKind::kConstant:
      return rate;
    case ScheduleKind::kStep: {
      double now = rate;
      for (const double fraction : {0.2, 0.4, 0.6, 0.8}) {
        // MultiStepLR counts a milestone of 0 from the start, one below 0 never; of two that
        // coincide in a short run it counts both.
        const auto milestone = static_cast<std::int64_t>(fraction * whole) - 1;
        if (milestone >= 0 && epoch >= milestone) now *= 0.5;
      }
      return now;
    }
    case ScheduleKind::kCosine:
      return rate / 2 * (1 + std::cos(std::numbers::pi * static_cast<double>(epoch) / whole));
    case ScheduleKind::kCyclic: {
      const double half = half_cycle_epochs * static_cast<double>(batches_per_epoch);
      const auto step = static_cast<double>(epoch * batches_per_epoch + batch);
      const double cycle = std::floor(1 + step / (2 * half));
      const double distance = std::abs(step / half - 2 * cycle + 1);
      const double base = rate / 10;
      return base + (rate - base) * std::max(0.0, 1 - distance) / std::exp2(cycle - 1);
    }
  }
  return rate;
}

}  // namespace ptynet
