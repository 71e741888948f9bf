#include "engine/training_warning.h"

#include <array>
#include <cmath>

namespace ptynet {

void warn_about_training(const io::TrainingRecord& trained, const Scan& scan,
                         std::optional<double> mean_counts,
                         const std::function<void(const std::string&)>& warning) {
  if (!warning) return;
  if (trained.frame_px && *trained.frame_px != std::array{scan.height(), scan.width()}) {
    warning(text("the weights were trained on frames of ", (*trained.frame_px)[0], "x",
                 (*trained.frame_px)[1], " px, this scan has ", scan.height(), "x", scan.width()));
  }
  if (trained.object_pixel_m && scan.object_pixel_m()) {
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const double expected = (*trained.object_pixel_m)[axis];
      const double found = (*scan.object_pixel_m())[axis];
      if (std::abs(found - expected) > 0.01 * expected) {
        warning(text("the weights were trained for an object pixel of ", expected,
                     " m, this scan has ", found, " m"));
        break;
      }
    }
  }
  if (trained.probe_sha256 && !scan.probe().empty() &&
      *trained.probe_sha256 != io::sha256_of_probe(scan.probe())) {
    warning("the weights were trained with another probe than this scan's");
  }
  if (trained.orientation && *trained.orientation != scan.orientation()) {
    warning(text("the weights were trained on frames of orientation ", *trained.orientation,
                 ", this scan is read with ", scan.orientation()));
  }
  if (trained.photons && *trained.photons > 0 && mean_counts) {
    if (*mean_counts < *trained.photons / 10 || *mean_counts > *trained.photons * 10) {
      warning(text("the weights were trained for ", *trained.photons,
                   " counts a frame, this scan has ", *mean_counts));
    }
  }
}

}  // namespace ptynet
