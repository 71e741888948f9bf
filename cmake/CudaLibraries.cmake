# NVIDIA's libraries beside nvcc, as imported targets: ptynet::cudnn, ptynet::cublasLt, ptynet::cufft
# and, for code that nvcc does not compile, the CUDA runtime as ptynet::cudart_static.
# They are looked for in the toolkit that nvcc belongs to and where the system has its libraries;
# cuDNN, which comes apart from the toolkit, in CUDNN_ROOT before that.

# What is missing is said in PTYNET_CUDA_MISSING.
set(PTYNET_CUDA_MISSING "")

# ptynet_cuda_library(<name> <header> <where to get it> [FILES file names...] [ROOTS folders...])
function(ptynet_cuda_library name header package)
  cmake_parse_arguments(ARG "" "" "FILES;ROOTS" ${ARGN})
  set(roots ${ARG_ROOTS} ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT})
  find_path(PTYNET_${name}_INCLUDE_DIR ${header} HINTS ${roots} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}
            PATH_SUFFIXES include)
  find_library(PTYNET_${name}_LIBRARY NAMES ${name} ${ARG_FILES} NAMES_PER_DIR HINTS ${roots}
               PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu targets/x86_64-linux/lib)
  mark_as_advanced(PTYNET_${name}_INCLUDE_DIR PTYNET_${name}_LIBRARY)
  foreach(part IN ITEMS INCLUDE_DIR LIBRARY)
    if(NOT PTYNET_${name}_${part})
      set(what_LIBRARY "the library ${name}")
      set(what_INCLUDE_DIR "the header ${header}")
      list(JOIN roots ", " places)
      set(PTYNET_CUDA_MISSING "expected ${what_${part}}, found none in ${places} or the system's \
folders: ${package}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  add_library(ptynet::${name} UNKNOWN IMPORTED)
  set_target_properties(ptynet::${name} PROPERTIES
    IMPORTED_LOCATION ${PTYNET_${name}_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES
      "${PTYNET_${name}_INCLUDE_DIR};${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}")
endfunction()

# As wheels have them there is no file without the number.
ptynet_cuda_library(cudnn cudnn.h
  "install cuDNN 9 (Debian: cudnn9-cuda-12 or -13 of NVIDIA's repository) or name its folder in CUDNN_ROOT"
  FILES libcudnn.so.9
  ROOTS ${CUDNN_ROOT} $ENV{CUDNN_ROOT})
ptynet_cuda_library(cublasLt cublasLt.h "install cuBLAS of the CUDA toolkit that nvcc belongs to"
  FILES libcublasLt.so.13 libcublasLt.so.12)
ptynet_cuda_library(cufft cufft.h "install cuFFT of the CUDA toolkit that nvcc belongs to"
  FILES libcufft.so.12 libcufft.so.11)
ptynet_cuda_library(cudart_static cuda_runtime_api.h
  "install the static CUDA runtime of the toolkit that nvcc belongs to")
set_target_properties(ptynet::cudart_static PROPERTIES
                      INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};rt")

if(PTYNET_CUDA_MISSING)
  return()
endif()
file(STRINGS ${PTYNET_cudnn_INCLUDE_DIR}/cudnn_version.h cudnn_major REGEX "#define CUDNN_MAJOR")
string(REGEX MATCH "[0-9]+" cudnn_major "${cudnn_major}")
if(NOT cudnn_major EQUAL 9)
  set(PTYNET_CUDA_MISSING "expected cuDNN 9, found ${cudnn_major} in ${PTYNET_cudnn_INCLUDE_DIR}: \
name the folder of cuDNN 9 in CUDNN_ROOT")
endif()
