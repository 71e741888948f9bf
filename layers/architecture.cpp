#include "layers/architecture.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

namespace ptynet {

namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 32;
constexpr std::int64_t kMaxChannels = 65536;

// One JSON object of an architecture, with errors that say where it stands.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) fail_input("architecture: ", where_, " is not an object");
  }

  const Json& at(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) fail_input("architecture: ", where_, " lacks '", key, "'");
    return *found;
  }
  bool has(const char* key) const { return object_.contains(key); }

  std::string string(const char* key) const {
    const Json& v = at(key);
    if (!v.is_string()) fail_input("architecture: '", key, "' of ", where_, " is not a string");
    return v.get<std::string>();
  }
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const {
    const Json& v = at(key);
    if (!v.is_number_integer() || (v.is_number_unsigned() && v.get<std::uint64_t>() > INT64_MAX) ||
        v.get<std::int64_t>() < low || v.get<std::int64_t>() > high) {
      fail_input("architecture: '", key, "' of ", where_, " must be a whole number from ", low,
                 " to ", high, ", found ", shown(v));
    }
    return v.get<std::int64_t>();
  }
  float number(const char* key) const {
    const Json& v = at(key);
    if (!v.is_number() || !std::isfinite(v.get<float>())) {
      fail_input("architecture: '", key, "' of ", where_, " is not a finite number");
    }
    return v.get<float>();
  }
  float number_or(const char* key, float otherwise) const {
    return has(key) ? number(key) : otherwise;
  }
  float positive(const char* key) const {
    const float v = number(key);
    if (!(v > 0)) fail_input("architecture: '", key, "' of ", where_, " must be > 0, found ", v);
    return v;
  }
  bool boolean(const char* key) const {
    const Json& v = at(key);
    if (!v.is_boolean()) fail_input("architecture: '", key, "' of ", where_, " is not a boolean");
    return v.get<bool>();
  }
  const std::string& where() const { return where_; }

 private:
  // Lists and objects by their kind alone: printing them goes as deep as they nest.
  static std::string shown(const Json& v) {
    return v.is_primitive() ? v.dump(-1, ' ', false, Json::error_handler_t::replace)
                            : text("an ", v.type_name());
  }

  const Json& object_;
  std::string where_;
};

// Parses the tree of layers and keeps what spans it: names in use, and the depth.
class TreeParser {
 public:
  std::vector<LayerSpec> sequence(const Json& list, const std::string& where, int depth) {
    if (!list.is_array()) fail_input("architecture: ", where, " is not a list of layers");
    if (depth > kMaxDepth) fail_input("architecture: layers nest deeper than ", kMaxDepth);
    std::vector<LayerSpec> layers;
    layers.reserve(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) {
      layers.push_back(layer(list[i], text("layer ", i, " of ", where), depth));
    }
    return layers;
  }

 private:
  LayerSpec layer(const Json& object, const std::string& where, int depth) {
    const Reader anonymous(object, where);
    const std::string type = anonymous.string("type");
    std::string place = text(where, " (", type, ")");
    LayerSpec spec;
    if (anonymous.has("name")) {
      spec.name = anonymous.string("name");
      place = text("layer '", spec.name, "' (", type, ")");
    }
    const Reader reader(object, place);
    if (type == "conv2d" || type == "conv_transpose2d") {
      read_convolution(reader, type == "conv2d", spec);
    } else if (type == "batch_norm2d") {
      read_batch_norm(reader, spec);
    } else if (type == "residual") {
      spec.type = LayerType::kResidual;
      spec.parts = {sequence(reader.at("main"), "main of " + place, depth + 1),
                    sequence(reader.at("shortcut"), "shortcut of " + place, depth + 1)};
    } else if (type == "branches") {
      read_branches(reader, depth, spec);
    } else {
      read_simple(reader, type, spec);
    }
    return spec;
  }

  void own_name(const Reader& reader, const LayerSpec& spec) {
    if (spec.name.empty()) fail_input("architecture: ", reader.where(), " lacks 'name'");
    if (!names_.insert(spec.name).second) {
      fail_input("architecture: the name '", spec.name, "' is used twice");
    }
  }

  void read_convolution(const Reader& reader, bool forward, LayerSpec& spec) {
    own_name(reader, spec);
    spec.type = forward ? LayerType::kConv2d : LayerType::kConvTranspose2d;
    spec.in = reader.integer("in", 1, kMaxChannels);
    spec.out = reader.integer("out", 1, kMaxChannels);
    spec.kernel = reader.integer("kernel", 1, 63);
    spec.stride = reader.integer("stride", 1, 16);
    spec.padding = reader.integer("padding", 0, 63);
    spec.groups = reader.integer("groups", 1, kMaxChannels);
    spec.bias = reader.boolean("bias");
    if (spec.in % spec.groups != 0 || spec.out % spec.groups != 0) {
      fail_input("architecture: ", reader.where(), ": ", spec.in, " and ", spec.out,
                 " channels cannot be split into ", spec.groups, " groups");
    }
  }

  void read_batch_norm(const Reader& reader, LayerSpec& spec) {
    own_name(reader, spec);
    spec.type = LayerType::kBatchNorm2d;
    spec.in = reader.integer("channels", 1, kMaxChannels);
    spec.out = spec.in;
    spec.epsilon = reader.positive("eps");
    spec.momentum = reader.number_or("momentum", 0.1F);
  }

  void read_branches(const Reader& reader, int depth, LayerSpec& spec) {
    spec.type = LayerType::kBranches;
    const Json& list = reader.at("branches");
    if (!list.is_array() || list.empty()) {
      fail_input("architecture: ", reader.where(), " has no branches");
    }
    for (std::size_t i = 0; i < list.size(); ++i) {
      spec.parts.push_back(
          sequence(list[i], text("branch ", i, " of ", reader.where()), depth + 1));
    }
  }

  static void read_simple(const Reader& reader, const std::string& type, LayerSpec& spec) {
    if (type == "leaky_relu") {
      spec.activation = {ActivationKind::kLeakyRelu, reader.number("slope"), 0};
    } else if (type == "hardtanh") {
      spec.activation = {ActivationKind::kHardtanh, reader.number("min"), reader.number("max")};
      if (!(spec.activation.alpha < spec.activation.beta)) {
        fail_input("architecture: 'min' of ", reader.where(), " must be below 'max'");
      }
    } else if (type == "relu") {
      spec.activation = {ActivationKind::kRelu, 0, 0};
    } else if (type == "sigmoid") {
      spec.activation = {ActivationKind::kSigmoid, 0, 0};
    } else if (type == "tanh") {
      spec.activation = {ActivationKind::kTanh, 0, 0};
    } else if (type == "max_pool2d") {
      spec.type = LayerType::kMaxPool2d;
      spec.kernel = reader.integer("kernel", 1, 64);
    } else if (type == "upsample_bilinear2d") {
      spec.type = LayerType::kUpsampleBilinear2d;
      spec.scale = reader.integer("scale", 1, 16);
    } else if (type == "dropout") {
      spec.type = LayerType::kDropout;
      spec.probability = reader.number("p");
    } else {
      fail_input("architecture: ", reader.where(), " is of unknown type '", type, "'");
    }
  }

  std::set<std::string> names_;
};

InputRule parse_input(const Reader& reader) {
  InputRule rule;
  const std::string quantity = reader.string("quantity");
  const std::string scale = reader.string("scale");
  if (quantity == "amplitude") {
    rule.quantity = InputQuantity::kAmplitude;
  } else if (quantity == "intensity") {
    rule.quantity = InputQuantity::kIntensity;
  } else {
    fail_input("architecture: input quantity must be amplitude or intensity, found '", quantity,
               "'");
  }
  if (scale == "none") {
    rule.scale = InputScale::kNone;
  } else if (scale == "frame_max") {
    rule.scale = InputScale::kFrameMax;
    if (reader.has("epsilon")) rule.epsilon = reader.positive("epsilon");
  } else if (scale == "scan_max") {
    rule.scale = InputScale::kScanMax;
    if (reader.has("factor")) rule.factor = reader.positive("factor");
  } else {
    fail_input("architecture: input scale must be none, frame_max or scan_max, found '", scale,
               "'");
  }
  return rule;
}

OutputHead parse_head(const Reader& output, const char* which) {
  if (!output.has(which)) return {};
  const Reader head(output.at(which), text("output '", which, "'"));
  return {static_cast<int>(head.integer("channel", 0, kMaxChannels - 1)),
          head.number_or("scale", 1.0F), head.number_or("offset", 0.0F)};
}

}  // namespace

Architecture parse_architecture(std::string_view json) {
  Json root;
  try {
    root = Json::parse(json);
  } catch (const Json::exception& problem) {
    fail_input("architecture: not JSON: ", problem.what());
  }
  const Reader reader(root, "the file");
  Architecture a;
  a.json = std::string(json);
  a.name = reader.string("name");
  a.input = parse_input(Reader(reader.at("input"), "'input'"));
  const Reader output(reader.at("output"), "'output'");
  a.amplitude = parse_head(output, "amplitude");
  a.phase = parse_head(output, "phase");
  if (a.amplitude.channel < 0 && a.phase.channel < 0) {
    fail_input("architecture: 'output' names neither amplitude nor phase");
  }
  a.layers = TreeParser().sequence(reader.at("layers"), "'layers'", 0);
  if (a.layers.empty()) fail_input("architecture: '", a.name, "' has no layers");
  return a;
}

InputRule named_input_rule(std::string_view name) {
  if (name == "ptynet") return {};
  if (name == "ptychonn") return {InputQuantity::kIntensity, InputScale::kNone};
  if (name == "hxn") {
    InputRule rule{InputQuantity::kAmplitude, InputScale::kScanMax};
    rule.factor = 1e4F;
    return rule;
  }
  fail_input("an input rule is ptynet, ptychonn or hxn, found '", name, "'");
}

}  // namespace ptynet
