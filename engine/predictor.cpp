#include "engine/predictor.h"

#include "engine/choice_cache.h"

namespace ptynet {

namespace {

void expect_usable(const SessionOptions& options, const InputRule& rule) {
  if (options.batch < 1 || options.batch > 65536) {
    fail_input("a batch is 1 to 65536 frames, found ", options.batch);
  }
  switch (options.frame_type) {
    case DType::kU8:
    case DType::kU16:
    case DType::kU32:
    case DType::kI32:
    case DType::kF32:
      break;
    default:
      fail_input("frames are u8, u16, u32, i32 or f32, found ", name_of(options.frame_type));
  }
  if (rule.scale == InputScale::kScanMax && !(rule.scan_max > 0)) {
    fail_input("this input rule divides by the scan's largest count, which must be above 0");
  }
}

// "fp32, tf32 and fp16"
std::string precisions_of(const Backend& backend) {
  std::vector<std::string_view> names;
  for (const Precision precision : kPrecisions) {
    if (backend.computes_in(precision)) names.push_back(name_of(precision));
  }
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const char* between = i == 0 ? "" : i + 1 < names.size() ? ", " : " and ";
    out += text(between, names[i]);
  }
  return out;
}

}  // namespace

void expect_precision(Context& context, Precision precision) {
  const Backend& backend = context.backend();
  if (backend.computes_in(precision)) return;
  fail_input("--precision ", name_of(precision), " needs a CUDA device that has it; ",
             to_string(backend.device()), " computes in ", precisions_of(backend));
}

Predictor::Predictor(const Architecture& architecture, const StateDict& state,
                     const SessionOptions& options)
    : options_(options), rule_(options.input_rule.value_or(architecture.input)) {
  expect_usable(options, rule_);
  trace(architecture, options.height, options.width);
  options_.context.tf32 = options.precision == Precision::kTf32;
  context_ = std::make_unique<Context>(options_.context);
  expect_precision(*context_, options.precision);
  if (options.context.tune) load_choices(choice_file(), context_->backend());
  network_ = std::make_unique<Network>(*context_, architecture, state);
  if (options.mask.empty()) return;
  if (options.mask.shape() != Shape{options.height, options.width}) {
    fail_input("expected a mask of ", options.height, "x", options.width, ", found ",
               describe(options.mask));
  }
  mask_ = on_device(*context_, options.mask.clone());
}

void Predictor::predict(const Array& frames, Array& amplitude, Array& phase) {
  const Tensor input = input_rule(*context_, frames, mask_, rule_, array_type(options_.precision));
  const Tensor output = network_->forward(*context_, input);
  context_->backend().output_heads(output.value(), network_->architecture().amplitude,
                                   network_->architecture().phase, amplitude, phase);
}

}  // namespace ptynet
