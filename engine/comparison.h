// Results beside their truth, in one picture for people.
#pragma once

#include <vector>

#include "engine/evaluate.h"
#include "engine/judged.h"
#include "kernels/array.h"

namespace ptynet {

// u8 [rows, columns, 3]: a column for every result, named by its file and with its error, and one
// for the truth; amplitudes above, phases below. All of a row is drawn in the colours of the
// truth's range, and a result with its best constant phase and scale, as the physical scores take
// it. Where no frame covers a pixel it is neutral.
Array comparison_picture(const Judged& judged, const std::vector<Evaluation>& evaluations);

// The picture as comparison.png in request.png, which is made when missing. Throws Error (input)
// when it cannot be written or would replace an input of the request.
void write_comparison(const EvaluateRequest& request, const Judged& judged,
                      const std::vector<Evaluation>& evaluations);

}  // namespace ptynet
