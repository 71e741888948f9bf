#include "kernels/cpu/fft.h"

#ifdef PTYNET_FFT_KISSFFT
#include <kissfft/kissfft.hh>
#else
#include <fftw3.h>
#endif

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "kernels/error.h"

namespace ptynet {

#ifdef PTYNET_FFT_KISSFFT

namespace {

// kissfft keeps scratch inside its plan, so every concurrent call needs plans of its own.
template <typename Real>
struct Workspace {
  Workspace(std::size_t rows, std::size_t columns, bool inverse)
      : along_row(columns, inverse),
        along_column(rows, inverse),
        line(2 * std::max(rows, columns)) {
    // The plan's scratch for odd factors grows on first use: grow it now.
    along_row.transform(line.data(), line.data() + line.size() / 2);
    along_column.transform(line.data(), line.data() + line.size() / 2);
  }
  kissfft<Real> along_row;
  kissfft<Real> along_column;
  std::vector<std::complex<Real>> line;  // one row or column gathered, one transformed
};

}  // namespace

template <typename Real>
struct Fft2<Real>::Plan {
  Plan(std::int64_t rows, std::int64_t columns, FftDirection direction) {
    const unsigned threads = std::max(1u, std::thread::hardware_concurrency());
    workspaces.reserve(threads);
    for (unsigned i = 0; i < threads; ++i) {
      workspaces.emplace_back(static_cast<std::size_t>(rows), static_cast<std::size_t>(columns),
                              direction == FftDirection::kInverse);
      free.push_back(&workspaces.back());
    }
  }

  void run(const std::complex<Real>* in, std::complex<Real>* out, std::int64_t rows,
           std::int64_t columns) {
    Workspace<Real>& workspace = *take();
    std::complex<Real>* gathered = workspace.line.data();
    std::complex<Real>* transformed = gathered + workspace.line.size() / 2;
    for (std::int64_t r = 0; r < rows; ++r) {
      workspace.along_row.transform(in + r * columns, transformed);
      std::copy_n(transformed, columns, out + r * columns);
    }
    for (std::int64_t c = 0; c < columns; ++c) {
      for (std::int64_t r = 0; r < rows; ++r) gathered[r] = out[r * columns + c];
      workspace.along_column.transform(gathered, transformed);
      for (std::int64_t r = 0; r < rows; ++r) out[r * columns + c] = transformed[r];
    }
    give(&workspace);
  }

  Workspace<Real>* take() {
    std::unique_lock lock(mutex);
    returned.wait(lock, [this] { return !free.empty(); });
    Workspace<Real>* workspace = free.back();
    free.pop_back();
    return workspace;
  }
  void give(Workspace<Real>* workspace) {
    {
      const std::lock_guard lock(mutex);
      free.push_back(workspace);  // within the capacity of construction
    }
    returned.notify_one();
  }

  std::vector<Workspace<Real>> workspaces;
  std::vector<Workspace<Real>*> free;
  std::mutex mutex;
  std::condition_variable returned;
};

#else

namespace {

// FFTW's two precisions under one name.
template <typename Real>
struct Fftw;
template <>
struct Fftw<float> {
  using Complex = fftwf_complex;
  using Handle = fftwf_plan;
  static constexpr auto kPlan = fftwf_plan_dft_2d;
  static constexpr auto kDestroy = fftwf_destroy_plan;
  static constexpr auto kExecute = fftwf_execute_dft;
  static constexpr auto kAlignmentOf = fftwf_alignment_of;
  static constexpr auto kAllocate = fftwf_malloc;
  static constexpr auto kFree = fftwf_free;
};
template <>
struct Fftw<double> {
  using Complex = fftw_complex;
  using Handle = fftw_plan;
  static constexpr auto kPlan = fftw_plan_dft_2d;
  static constexpr auto kDestroy = fftw_destroy_plan;
  static constexpr auto kExecute = fftw_execute_dft;
  static constexpr auto kAlignmentOf = fftw_alignment_of;
  static constexpr auto kAllocate = fftw_malloc;
  static constexpr auto kFree = fftw_free;
};

// An array as FFTW aligns its own; empty where there is no memory.
template <typename Real>
struct FftwFree {
  void operator()(Real* p) const { Fftw<Real>::kFree(p); }
};
template <typename Real>
using FftwRoom = std::unique_ptr<Real, FftwFree<Real>>;

template <typename Real>
FftwRoom<Real> fftw_room(std::size_t reals) {
  return FftwRoom<Real>(static_cast<Real*>(Fftw<Real>::kAllocate(reals * sizeof(Real))));
}

// Only the execution of plans is thread-safe in FFTW; making and destroying them is not.
std::mutex& planner() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

template <typename Real>
struct Fft2<Real>::Plan {
  using Library = Fftw<Real>;
  using Complex = typename Library::Complex;

  Plan(std::int64_t rows, std::int64_t columns, FftDirection direction) {
    // FFTW_ESTIMATE looks at the addresses, not at the elements. With aligned ones it vectorises,
    // three times as fast; run() brings the others there.
    const std::size_t reals = 2 * static_cast<std::size_t>(rows * columns);
    const FftwRoom<Real> a = fftw_room<Real>(reals);
    const FftwRoom<Real> b = fftw_room<Real>(reals);
    if (a == nullptr || b == nullptr) fail_plan(rows, columns);
    const int sign = direction == FftDirection::kForward ? FFTW_FORWARD : FFTW_BACKWARD;
    const std::lock_guard lock(planner());
    const auto plan = [&](Real* to) {
      return Library::kPlan(static_cast<int>(rows), static_cast<int>(columns),
                            reinterpret_cast<Complex*>(a.get()), reinterpret_cast<Complex*>(to),
                            sign, FFTW_ESTIMATE);
    };
    in_place_ = plan(a.get());
    out_of_place_ = plan(b.get());
    if (in_place_ == nullptr || out_of_place_ == nullptr) {
      destroy();
      fail_plan(rows, columns);
    }
  }
  ~Plan() {
    const std::lock_guard lock(planner());
    destroy();
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  void run(const std::complex<Real>* in, std::complex<Real>* out, std::int64_t rows,
           std::int64_t columns) {
    // An out-of-place complex transform leaves its input alone; FFTW's signature cannot say so.
    auto* from = reinterpret_cast<Real*>(const_cast<std::complex<Real>*>(in));
    auto* to = reinterpret_cast<Real*>(out);
    if (is_aligned(from) && is_aligned(to)) {
      Library::kExecute(in == out ? in_place_ : out_of_place_, reinterpret_cast<Complex*>(from),
                        reinterpret_cast<Complex*>(to));
    } else {
      run_elsewhere(from, to, 2 * static_cast<std::size_t>(rows * columns), in == out);
    }
  }

 private:
  static bool is_aligned(Real* p) { return Library::kAlignmentOf(p) == 0; }

  [[noreturn]] static void fail_plan(std::int64_t rows, std::int64_t columns) {
    fail_runtime("FFTW made no plan for ", rows, " x ", columns, " pixels; free some memory");
  }

  // In aligned memory of this thread, by the plan that aligned arrays take: the same rounding.
  void run_elsewhere(const Real* in, Real* out, std::size_t reals, bool in_place) {
    constexpr std::size_t kStep = 64 / sizeof(Real);
    const std::size_t apart =
        (reals + kStep - 1) / kStep * kStep;  // the second half is aligned too
    thread_local FftwRoom<Real> room;
    thread_local std::size_t held = 0;
    if (held < 2 * apart) {
      held = 0;
      room = fftw_room<Real>(2 * apart);
      if (room == nullptr) fail_runtime("expected memory for a transform, found none");
      held = 2 * apart;
    }
    Real* from = room.get();
    Real* to = in_place ? from : from + apart;
    std::copy_n(in, reals, from);
    Library::kExecute(in_place ? in_place_ : out_of_place_, reinterpret_cast<Complex*>(from),
                      reinterpret_cast<Complex*>(to));
    std::copy_n(to, reals, out);
  }

  void destroy() {
    if (in_place_ != nullptr) Library::kDestroy(in_place_);
    if (out_of_place_ != nullptr) Library::kDestroy(out_of_place_);
  }

  typename Library::Handle in_place_ = nullptr;
  typename Library::Handle out_of_place_ = nullptr;
};

#endif

template <typename Real>
Fft2<Real>::Fft2(std::int64_t rows, std::int64_t columns, FftDirection direction)
    : rows_(rows), columns_(columns), direction_(direction) {
  if (rows < 1 || columns < 1 || rows > kMaxExtent || columns > kMaxExtent) {
    fail_input("expected a transform of 1 to ", kMaxExtent, " rows and columns, found ", rows,
               " x ", columns);
  }
  try {
    plan_ = std::make_unique<Plan>(rows, columns, direction);
  } catch (const std::bad_alloc&) {
    fail_runtime("out of memory while planning a transform of ", rows, " x ", columns, " pixels");
  }
}

template <typename Real>
Fft2<Real>::~Fft2() = default;
template <typename Real>
Fft2<Real>::Fft2(Fft2&&) noexcept = default;
template <typename Real>
Fft2<Real>& Fft2<Real>::operator=(Fft2&&) noexcept = default;

template <typename Real>
void Fft2<Real>::run(const std::complex<Real>* in, std::complex<Real>* out) const {
  plan_->run(in, out, rows_, columns_);
  if (direction_ == FftDirection::kForward) return;
  const std::int64_t n = rows_ * columns_;
  const Real scale = Real(1) / static_cast<Real>(n);
  for (std::int64_t i = 0; i < n; ++i) out[i] *= scale;
}

template class Fft2<float>;
template class Fft2<double>;

}  // namespace ptynet
