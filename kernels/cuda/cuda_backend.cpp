#include "kernels/cuda/cuda_backend.h"

#include "kernels/cuda/cuda_replay.h"
#include "kernels/cuda/values.h"
#include "kernels/scoped_value.h"

namespace ptynet::cuda {

namespace {

constexpr int kLeastCapability = 80;

class CudaEvent final : public ptynet::Event {
 public:
  CudaEvent(int device, const OwnStream& on) : mark(on.get()), device_(device), stream_(on) {}
  void wait() override { mark.wait(); }
  void renew() override {
    const DeviceScope scope(device_);
    mark.renew(stream_.get());
  }
  Mark mark;

 private:
  int device_;
  OwnStream stream_;
};

}  // namespace

std::string why_unusable(const DeviceFacts& facts) {
  if (facts.capability >= kLeastCapability) return {};
  return text("its compute capability is ", facts.capability / 10, ".", facts.capability % 10,
              ", the kernels need 8.0 (Ampere) or newer");
}

std::unique_ptr<Backend> make_backend(const ContextOptions& options) {
  const int index = options.device.index;
  const std::vector<DeviceFacts> found = find_devices();
  const auto count = static_cast<int>(found.size());
  if (index >= count) {
    fail_runtime("there is no cuda:", index, ": this machine has ", count, " CUDA device",
                 count == 1 ? ", cuda:0" : text("s, cuda:0 to cuda:", count - 1));
  }
  const DeviceFacts& facts = found[static_cast<std::size_t>(index)];
  const std::string why = why_unusable(facts);
  if (!why.empty()) fail_runtime("cuda:", index, " (", facts.name, ") cannot be used: ", why);
  const DeviceScope scope(index);
  return std::make_unique<CudaBackend>(options, facts);
}

CudaBackend::CudaBackend(const ContextOptions& options, DeviceFacts facts)
    : index_(options.device.index),
      facts_(std::move(facts)),
      tf32_(options.tf32),
      tune_(options.tune),
      pool_({DeviceKind::kCuda, index_}, [this](std::size_t bytes) { return allocate_raw(bytes); }),
      allocator_(&pool_) {}

CudaBackend::~CudaBackend() {
  try {
    const DeviceScope scope(index_);
    stream_.synchronize();
    plans_.clear();
    library_candidates_.clear();
    libraries_.reset();
  } catch (const Error&) {  // of earlier work, which was or will be reported where it is waited for
    return;
  }
}

std::string CudaBackend::description() const {
  return text("ptynet ", build_id(), ", ", facts_.name, ", ", facts_.multiprocessors,
              " multiprocessors, driver ", facts_.driver, ", ", Libraries::versions());
}

Precision CudaBackend::precision_of(const Array& array) const {
  switch (array.dtype()) {
    case DType::kF32:
      return tf32_ ? Precision::kTf32 : Precision::kF32;
    case DType::kBf16:
      return Precision::kBf16;
    case DType::kF16:
      return Precision::kF16;
    default:
      fail_runtime("CUDA networks run on f32, bf16 and f16, found ", ptynet::describe(array));
  }
}

void CudaBackend::set_allocator(Allocator* allocator) {
  allocator_ = allocator != nullptr ? allocator : &pool_;
}

Array CudaBackend::staging(const Shape& shape, DType type) {
  const DeviceScope scope(index_);
  const auto bytes = static_cast<std::size_t>(shape.elements()) * size_of(type);
  std::shared_ptr<void> memory = allocate_pinned_memory(bytes);
  void* data = memory.get();
  return Array::view(data, shape, type, {}, std::move(memory));
}

void CudaBackend::release_unused() {
  const DeviceScope scope(index_);
  stream_.synchronize();  // what is given back may still be read
  pool_.trim();
}

std::shared_ptr<void> CudaBackend::allocate_raw(std::size_t bytes) {
  const DeviceScope scope(index_);
  try {
    return allocate_device_memory(bytes);
  } catch (const Error&) {
    release_unused();
    return allocate_device_memory(bytes);
  }
}

bool CudaBackend::computes_in(Precision) const { return true; }

void CudaBackend::submit(std::string_view operation, const Array& shown, Step step) {
  if (recording()) {
    recording_->add(text(operation, " ", to_string(shown.shape())), std::move(step));
    if (recording_->aside()) recording_->updates(shown);
    return;
  }
  const DeviceScope scope(index_);
  step(stream_.get());
}

Array CudaBackend::scratch(const Shape& shape, DType type) {
  // The arena reuses memory in the order of the main branch.
  Allocator& from = recording() && recording_->aside() ? pool_ : *allocator_;
  Array memory = from.allocate(shape, type);
  if (recording() && &from == &pool_) recording_->keep(memory);
  return memory;
}

void CudaBackend::updates(std::initializer_list<Array> arrays) {
  if (!recording()) return;
  for (const Array& array : arrays) recording_->updates(array);
}

// From the pool also where an arena is planned: other steps must not write there.
Array CudaBackend::on_device(const Array& host) {
  const DeviceScope scope(index_);
  Array memory = pool_.allocate(host.shape(), host.dtype());
  if (rehearsing_) return memory;
  copy_bytes(memory.data(), host.data(), host.bytes(), stream_.get());
  stream_.synchronize();
  if (recording()) recording_->keep(memory);
  return memory;
}

std::unique_ptr<Replay> CudaBackend::record(const std::function<void()>& work) {
  if (recording()) fail_runtime("a recording cannot be made within another");
  const DeviceScope scope(index_);
  auto replay = std::make_unique<CudaReplay>(index_, stream_);
  {
    const ScopedValue recording(recording_, replay.get());
    work();
  }
  if (!rehearsing_) replay->capture();
  return replay;
}

// Memory that is asked for and never written to costs nothing but its place.
void CudaBackend::rehearse(const std::function<void()>& work) {
  const ScopedValue rehearsing(rehearsing_, true);
  record(work);
}

void CudaBackend::beside(const std::function<void()>& work) {
  if (!recording()) return work();
  const ScopedValue aside(recording_->aside(), true);
  work();
}

void CudaBackend::synchronize() {
  const DeviceScope scope(index_);
  stream_.synchronize();
}

std::unique_ptr<ptynet::Event> CudaBackend::event() {
  const DeviceScope scope(index_);
  return std::make_unique<CudaEvent>(index_, stream_);
}

double CudaBackend::seconds_between(const ptynet::Event& from, const ptynet::Event& to) {
  const auto& start = dynamic_cast<const CudaEvent&>(from);
  const auto& end = dynamic_cast<const CudaEvent&>(to);
  end.mark.wait();
  return end.mark.seconds_since(start.mark);
}

void CudaBackend::copy(const Array& from, Array& to) {
  if (from.bytes() != to.bytes()) {
    fail_runtime("cannot copy ", ptynet::describe(from), " to ", ptynet::describe(to));
  }
  submit("copy", to,
         [source = from.data(), target = to.data(), bytes = from.bytes()](Stream stream) {
           copy_bytes(target, source, bytes, stream);
         });
  // The host's side may be gone or read as soon as this returns.
  if (!recording() && !(from.device() == to.device())) synchronize();
}

void CudaBackend::zero(Array& x) {
  submit("zero", x,
         [to = x.data(), bytes = x.bytes()](Stream stream) { zero_bytes(to, bytes, stream); });
}

void CudaBackend::random_uniform(std::uint64_t seed, std::string_view stream, float low, float high,
                                 Array& y) {
  submit(
      "random_uniform", y,
      [random = CounterRandom(seed, stream), range = UniformRange{low, high}, out = y.data<float>(),
       count = y.elements()](Stream on) { cuda::random_uniform(random, range, out, count, on); });
}

}  // namespace ptynet::cuda
