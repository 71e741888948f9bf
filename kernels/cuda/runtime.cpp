#include "kernels/cuda/runtime.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <exception>
#include <limits>

#include "kernels/cuda/cuda_status.h"

namespace ptynet::cuda {

namespace {

std::string version_text(int version) { return text(version / 1000, ".", version % 1000 / 10); }

// The runtime's own words for both of these are "driver version is insufficient".
[[noreturn]] void fail_without_driver(int driver) {
  if (driver == 0) fail_runtime("no NVIDIA driver is loaded: install it");
  fail_runtime("the NVIDIA driver supports CUDA ", version_text(driver), ", this build needs ",
               version_text(CUDART_VERSION / 1000 * 1000), ": update the driver");
}

DeviceFacts facts_of(int index, int driver) {
  cudaDeviceProp found{};
  check(cudaGetDeviceProperties(&found, index), "cudaGetDeviceProperties");
  return {found.name, found.major * 10 + found.minor, found.multiProcessorCount,
          found.totalGlobalMem, driver};
}

// Asked of the driver, for which every version of the runtime has another way.
bool has_context(int device) {
  using GetState = int (*)(int device, unsigned* flags, int* active);
  static const auto get_state = [] {
    void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return driver == nullptr
               ? nullptr
               : reinterpret_cast<GetState>(dlsym(driver, "cuDevicePrimaryCtxGetState"));
  }();
  unsigned flags = 0;
  int active = 0;
  return get_state != nullptr && get_state(device, &flags, &active) == 0 && active != 0;
}

}  // namespace

std::vector<DeviceFacts> find_devices() {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) fail_without_driver(driver);
  if (status == cudaErrorNoDevice) {
    fail_runtime(
        "the NVIDIA driver sees no CUDA device: check nvidia-smi and "
        "CUDA_VISIBLE_DEVICES");
  }
  check(status, "cudaGetDeviceCount");
  std::vector<DeviceFacts> out;
  for (int i = 0; i < count; ++i) out.push_back(facts_of(i, driver));
  return out;
}

DeviceScope::DeviceScope(int device) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  changed_ = device != before_;
  if (changed_) check(cudaSetDevice(device), "cudaSetDevice");
}

// Since CUDA 12 to set a device makes a context on it, which takes memory and time: where nobody
// had one before, there is nothing to go back to.
DeviceScope::~DeviceScope() {
  if (changed_ && has_context(before_)) cudaSetDevice(before_);
}

std::shared_ptr<void> allocate_device_memory(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it would be reported again by the next launch
    std::size_t free = 0;
    std::size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    fail_runtime("out of device memory: ", bytes, " bytes wanted, ", free, " of ", total,
                 " free: use a smaller --batch, or stop other programs on the device");
  }
  check(status, "cudaMalloc");
  return {memory, [](void* p) { cudaFree(p); }};
}

std::shared_ptr<void> allocate_pinned_memory(std::size_t bytes) {
  void* memory = nullptr;
  const cudaError_t status = cudaMallocHost(&memory, bytes);
  if (status != cudaSuccess) {
    cudaGetLastError();
    fail_runtime("out of memory: ", bytes, " bytes of page-locked host memory could not be had (",
                 cudaGetErrorString(status), "): use a smaller --batch");
  }
  return {memory, [](void* p) { cudaFreeHost(p); }};
}

OwnStream::OwnStream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  stream_ = {stream, [](cudaStream_t s) { cudaStreamDestroy(s); }};
}

void OwnStream::synchronize() const {
  check(cudaStreamSynchronize(get()), "the work that was waited for");
}

void copy_bytes(void* to, const void* from, std::size_t bytes, Stream stream) {
  if (bytes > 0) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  }
}

void zero_bytes(void* to, std::size_t bytes, Stream stream) {
  if (bytes > 0) check(cudaMemsetAsync(to, 0, bytes, stream), "cudaMemsetAsync");
}

Mark::Mark(Stream stream) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "cudaEventCreate");
  event_ = {event, [](void* e) { cudaEventDestroy(static_cast<cudaEvent_t>(e)); }};
  renew(stream);
}

void Mark::renew(Stream stream) {
  check(cudaEventRecord(static_cast<cudaEvent_t>(event_.get()), stream), "cudaEventRecord");
}

void Mark::wait() const {
  check(cudaEventSynchronize(static_cast<cudaEvent_t>(event_.get())), "the work before an event");
}

double Mark::seconds_since(const Mark& earlier) const {
  float ms = 0;
  check(cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(earlier.event_.get()),
                             static_cast<cudaEvent_t>(event_.get())),
        "cudaEventElapsedTime");
  return double{ms} * 1e-3;
}

void let_wait(Stream stream, const Mark& mark) {
  check(cudaStreamWaitEvent(stream, static_cast<cudaEvent_t>(mark.event_.get()), 0),
        "cudaStreamWaitEvent");
}

namespace {

// Empty where a thread that waited for the whole device has broken the capture off.
std::shared_ptr<CUgraph_st> try_capture(Stream stream, const std::function<void()>& work) {
  // Other threads may allocate meanwhile: only this one is held to what a capture allows.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t found = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream, &found);
  std::shared_ptr<CUgraph_st> graph;
  if (found != nullptr) graph = {found, [](cudaGraph_t g) { cudaGraphDestroy(g); }};
  if (status == cudaErrorStreamCaptureInvalidated) {
    cudaGetLastError();
    return nullptr;
  }
  if (failure) std::rethrow_exception(failure);
  check(status, "cudaStreamEndCapture");
  return graph;
}

}  // namespace

Graph Graph::capture(Stream stream, const std::function<void()>& work) {
  // Another session that closes waits for the device, and so may the caller's own code.
  constexpr int kTries = 20;
  std::shared_ptr<CUgraph_st> graph;
  for (int i = 0; i < kTries && !graph; ++i) graph = try_capture(stream, work);
  if (!graph) check(cudaErrorStreamCaptureInvalidated, "a graph's capture");
  cudaGraphExec_t executable = nullptr;
  check(cudaGraphInstantiate(&executable, graph.get(), 0), "cudaGraphInstantiate");
  Graph out;
  out.executable_ = {executable,
                     [](void* g) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(g)); }};
  check(cudaGraphUpload(executable, stream), "cudaGraphUpload");
  return out;
}

void Graph::launch(Stream stream) const {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_.get()), stream),
        "cudaGraphLaunch");
}

// Kernels of microseconds: launched one by one, the launches would be timed. A device that was idle
// is slow for the first milliseconds, and others may use it too: warm up, then take the fastest of
// a few times.
double Graph::time(Stream stream, const std::function<void()>& work) {
  constexpr int kRuns = 20;
  constexpr int kRounds = 3;
  constexpr double kWarmUpSeconds = 3e-3;
  work();  // what loads for the first time may allocate, which a graph must not
  check(cudaStreamSynchronize(stream), "the work that is timed");
  const Graph graph = capture(stream, [&] {
    for (int i = 0; i < kRuns; ++i) work();
  });
  const auto seconds_of_launch = [&] {
    const Mark start(stream);
    graph.launch(stream);
    const Mark end(stream);
    end.wait();
    return end.seconds_since(start);
  };
  for (double warm = 0; warm < kWarmUpSeconds;) warm += seconds_of_launch();
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRounds; ++i) least = std::min(least, seconds_of_launch());
  return least / kRuns;
}

}  // namespace ptynet::cuda
