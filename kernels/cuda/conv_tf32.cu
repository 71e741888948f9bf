#include "kernels/cuda/conv_kernel.h"

namespace ptynet::cuda {

template ConvKernel find_conv_kernel<Tf32>(const ConvTile&, int, bool);

}  // namespace ptynet::cuda
