// What a benchmark times: one call of a job, behind one face.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/bench.h"

namespace ptynet {

class Workload {
 public:
  virtual ~Workload() = default;
  virtual void call() = 0;
  // Which a call is divided into where they are too short to be waited for.
  virtual std::int64_t steps_per_call() const { return 1; }
  // Seconds of each step of a call.
  virtual std::vector<StepTime> profile() = 0;
  virtual std::size_t arena_bytes() const = 0;
  virtual Context& context() = 0;
};

// On frames of made-up counts.
std::unique_ptr<Workload> make_workload(const Architecture& architecture, const StateDict& state,
                                        const BenchOptions& options);

// f32 in [0, high), the same for the same name.
Array uniform_values(const Shape& shape, float high, std::string_view name);

}  // namespace ptynet
