// Internal: what the machine refuses, as the errors of a job.
#pragma once

#include <new>
#include <stdexcept>
#include <system_error>

#include "kernels/error.h"

namespace ptynet {

// Does `work`. Throws Error (runtime) for what the machine cannot give: memory, with `less_memory`
// as what to do about it, or threads; `cannot` says what then fails ("cannot fine-tune").
template <typename Work>
auto run_job(const char* cannot, const char* less_memory, const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    fail_runtime("out of memory: ", less_memory);
  } catch (const std::length_error&) {  // more than any memory holds
    fail_runtime("out of memory: ", less_memory);
  } catch (const std::system_error& problem) {
    fail_runtime(cannot, ": ", problem.what());
  }
}

}  // namespace ptynet
