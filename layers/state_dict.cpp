#include "layers/state_dict.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "kernels/random.h"

namespace ptynet {

namespace {

// Every layer that owns tensors, depth first.
template <typename Visit>
void for_each_owner(const std::vector<LayerSpec>& layers, Visit&& visit) {
  for (const LayerSpec& layer : layers) {
    if (!layer.name.empty()) visit(layer);
    for (const auto& part : layer.parts) for_each_owner(part, visit);
  }
}

Shape weight_shape(const LayerSpec& layer) {
  if (layer.type == LayerType::kConv2d) {
    return {layer.out, layer.in / layer.groups, layer.kernel, layer.kernel};
  }
  return {layer.in, layer.out / layer.groups, layer.kernel, layer.kernel};
}

std::string joined(const std::vector<std::string>& items) {
  constexpr std::size_t kShown = 8;
  std::string out;
  for (std::size_t i = 0; i < items.size() && i < kShown; ++i) {
    out += (i > 0 ? ", " : "") + items[i];
  }
  if (items.size() > kShown) out += text(" and ", items.size() - kShown, " more");
  return out;
}

template <typename Test>
bool all_of(const Array& tensor, Test&& test) {
  const auto* values = tensor.data<float>();
  return std::all_of(values, values + tensor.elements(), test);
}

// Scales a convolution's output channels and moves its bias: what the batch norm would do.
void fold_pair(LayerSpec& convolution, const LayerSpec& norm, StateDict& state) {
  if (norm.in != convolution.out) {
    fail_input("layer '", norm.name, "' takes ", norm.in, " channels, but '", convolution.name,
               "' before it gives ", convolution.out);
  }
  const auto values = [&](const std::string& name) { return state.at(name).data<float>(); };
  const float* gamma = values(norm.name + ".weight");
  const float* beta = values(norm.name + ".bias");
  const float* mean = values(norm.name + ".running_mean");
  const float* variance = values(norm.name + ".running_var");
  Array weight = state.at(convolution.name + ".weight").clone();
  Array bias = convolution.bias ? state.at(convolution.name + ".bias").clone()
                                : Array::zeros({convolution.out}, DType::kF32);
  const std::int64_t area = convolution.kernel * convolution.kernel;
  const std::int64_t in_group = convolution.in / convolution.groups;
  const std::int64_t out_group = convolution.out / convolution.groups;
  const bool transposed = convolution.type == LayerType::kConvTranspose2d;
  for (std::int64_t o = 0; o < convolution.out; ++o) {
    const double scale = double{gamma[o]} / std::sqrt(double{variance[o]} + double{norm.epsilon});
    float& b = bias.data<float>()[o];
    b = static_cast<float>((double{b} - double{mean[o]}) * scale + double{beta[o]});
    for (std::int64_t i = 0; i < in_group; ++i) {
      // [co, ci / g, k, k], or [ci, co / g, k, k] seen from the output channel's group.
      const std::int64_t row = transposed
                                   ? (o / out_group * in_group + i) * out_group + o % out_group
                                   : o * in_group + i;
      float* kernel = weight.data<float>() + row * area;
      for (std::int64_t k = 0; k < area; ++k) {
        kernel[k] = static_cast<float>(double{kernel[k]} * scale);
      }
    }
  }
  convolution.bias = true;
  state[convolution.name + ".weight"] = weight;
  state[convolution.name + ".bias"] = bias;
}

// Number i of a normal series of mean 0 and standard deviation 1 (Box and Muller, 1958).
double normal(const CounterRandom& random, std::uint64_t i) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform(2 * i)));
  return radius * std::cos(2 * std::numbers::pi * random.uniform(2 * i + 1));
}

bool is_convolution(const LayerSpec& layer) {
  return layer.type == LayerType::kConv2d || layer.type == LayerType::kConvTranspose2d;
}

void fold_sequence(std::vector<LayerSpec>& layers, StateDict& state) {
  std::vector<LayerSpec> kept;
  for (LayerSpec& layer : layers) {
    for (auto& part : layer.parts) fold_sequence(part, state);
    if (layer.type == LayerType::kBatchNorm2d && !kept.empty() && is_convolution(kept.back())) {
      fold_pair(kept.back(), layer, state);
    } else {
      kept.push_back(std::move(layer));
    }
  }
  layers = std::move(kept);
}

}  // namespace

std::vector<TensorSpec> tensors_of(const Architecture& architecture) {
  std::vector<TensorSpec> tensors;
  for_each_owner(architecture.layers, [&](const LayerSpec& layer) {
    if (layer.type == LayerType::kBatchNorm2d) {
      for (const char* suffix : {".weight", ".bias", ".running_mean", ".running_var"}) {
        tensors.push_back({layer.name + suffix, {layer.in}});
      }
    } else if (is_convolution(layer)) {
      tensors.push_back({layer.name + ".weight", weight_shape(layer)});
      if (layer.bias) tensors.push_back({layer.name + ".bias", {layer.out}});
    }
  });
  return tensors;
}

std::int64_t parameter_count(const Architecture& architecture) {
  std::int64_t count = 0;
  for (const TensorSpec& tensor : tensors_of(architecture)) {
    if (tensor.name.ends_with(".running_mean") || tensor.name.ends_with(".running_var")) continue;
    count += tensor.shape.elements();
  }
  return count;
}

std::vector<std::string> check_state(const Architecture& architecture, const StateDict& state) {
  std::vector<std::string> missing;
  std::vector<std::string> wrong;
  std::vector<std::string> not_finite;
  std::vector<std::string> negative;
  std::set<std::string> used;
  for (const TensorSpec& tensor : tensors_of(architecture)) {
    used.insert(tensor.name);
    const auto found = state.find(tensor.name);
    if (found == state.end()) {
      missing.push_back(tensor.name);
    } else if (found->second.shape() != tensor.shape || found->second.dtype() != DType::kF32) {
      wrong.push_back(text(tensor.name, " (expected ", to_string(tensor.shape), ", found ",
                           to_string(found->second.shape()), ")"));
    } else if (!all_of(found->second, [](float v) { return std::isfinite(v); })) {
      not_finite.push_back(tensor.name);
    } else if (tensor.name.ends_with(".running_var") &&
               !all_of(found->second, [](float v) { return v >= 0; })) {
      negative.push_back(tensor.name);
    }
  }
  if (!missing.empty() || !wrong.empty()) {
    std::string message = text("the weights are not those of '", architecture.name, "':");
    if (!missing.empty()) message += " missing " + joined(missing);
    if (!wrong.empty())
      message += (missing.empty() ? " " : "; ") + text("wrong shape ", joined(wrong));
    fail_input(message, "; name the right --architecture");
  }
  if (!not_finite.empty()) fail_input("weights hold NaN or infinity: ", joined(not_finite));
  if (!negative.empty()) fail_input("weights hold a negative variance: ", joined(negative));
  std::vector<std::string> extra;
  for (const auto& [name, tensor] : state) {
    // PyTorch counts batches beside the statistics; nothing here needs the count.
    if (!used.contains(name) && !name.ends_with(".num_batches_tracked")) extra.push_back(name);
  }
  return extra;
}

StateDict random_state(const Architecture& architecture, std::uint64_t seed, double gain) {
  StateDict state;
  const auto uniform = [&](const std::string& name, const Shape& shape, double low, double high) {
    const CounterRandom random(seed, name);
    Array tensor = Array::host(shape, DType::kF32);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      tensor.data<float>()[i] =
          static_cast<float>(low + (high - low) * random.uniform(static_cast<std::uint64_t>(i)));
    }
    state[name] = tensor;
  };
  for_each_owner(architecture.layers, [&](const LayerSpec& layer) {
    if (layer.type == LayerType::kBatchNorm2d) {
      uniform(layer.name + ".weight", {layer.in}, 0.8, 1.2);
      uniform(layer.name + ".bias", {layer.in}, -0.2, 0.2);
      uniform(layer.name + ".running_mean", {layer.in}, -0.2, 0.2);
      uniform(layer.name + ".running_var", {layer.in}, 0.8, 1.4);
    } else if (is_convolution(layer)) {
      const bool transposed = layer.type == LayerType::kConvTranspose2d;
      const double area = static_cast<double>(layer.kernel * layer.kernel);
      const double taps =
          transposed ? area / static_cast<double>(layer.stride * layer.stride) : area;
      const double fan_in = static_cast<double>(layer.in) / static_cast<double>(layer.groups);
      const double bound = gain * std::sqrt(6.0 / (fan_in * taps));
      uniform(layer.name + ".weight", weight_shape(layer), -bound, bound);
      if (layer.bias) uniform(layer.name + ".bias", {layer.out}, -0.1, 0.1);
    }
  });
  return state;
}

StateDict initial_state(const Architecture& architecture, std::uint64_t seed) {
  constexpr double kTransposedDeviation = 0.02;
  StateDict state;
  const auto fill = [&](const std::string& name, const Shape& shape, auto&& value) {
    Array tensor = Array::host(shape, DType::kF32);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      tensor.data<float>()[i] = static_cast<float>(value(static_cast<std::uint64_t>(i)));
    }
    state[name] = tensor;
  };
  const auto constant = [&](const std::string& name, std::int64_t count, double value) {
    fill(name, {count}, [value](std::uint64_t) { return value; });
  };
  for_each_owner(architecture.layers, [&](const LayerSpec& layer) {
    if (layer.type == LayerType::kBatchNorm2d) {
      constant(layer.name + ".weight", layer.in, 1);
      constant(layer.name + ".bias", layer.in, 0);
      constant(layer.name + ".running_mean", layer.in, 0);
      constant(layer.name + ".running_var", layer.in, 1);
    } else if (is_convolution(layer)) {
      const std::string name = layer.name + ".weight";
      const Shape shape = weight_shape(layer);
      const CounterRandom random(seed, name);
      if (layer.type == LayerType::kConvTranspose2d) {
        fill(name, shape,
             [&](std::uint64_t i) { return kTransposedDeviation * normal(random, i); });
      } else {
        const double fans = static_cast<double>((shape[0] + shape[1]) * shape[2] * shape[3]);
        const double bound = std::sqrt(6.0 / fans);
        fill(name, shape, [&](std::uint64_t i) { return bound * (2 * random.uniform(i) - 1); });
      }
      if (layer.bias) constant(layer.name + ".bias", layer.out, 0);
    }
  });
  return state;
}

void fold_batch_norm(Architecture& architecture, StateDict& state) {
  fold_sequence(architecture.layers, state);
}

}  // namespace ptynet
