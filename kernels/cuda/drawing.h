// Objects to simulate with (kernels/drawing.h), drawn on the device.
#pragma once

#include "kernels/cuda/stream.h"
#include "kernels/drawing.h"

namespace ptynet::cuda {

struct DrawnObjects {
  int n, h, w;
  float* amplitude;  // [n, h, w]
  float* phase;      // rad
};

// Objects first[0], first[0] + 1, ... of the series, `first` on the device too. Leaves are drawn
// anew by every block that may show one, from the front until all of its pixels are covered.
void draw_objects(const ObjectSource& source, const double* first, const DrawnObjects& to,
                  Stream stream);

}  // namespace ptynet::cuda
