#include "kernels/cuda/conv_kernel.h"

namespace ptynet::cuda {

template ConvKernel find_conv_kernel<Half>(const ConvTile&, int, bool);

}  // namespace ptynet::cuda
