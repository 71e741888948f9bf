# CUDA: the kernels, by nvcc, and with NVIDIA's libraries the backend that the library loads. g++
# always compiles the kernels too, for tests/cuda_on_cpu.
set(PTYNET_CUDA AUTO CACHE STRING
    "Compile for CUDA: AUTO where nvcc 12 or newer and its libraries are found, ON or OFF")
set_property(CACHE PTYNET_CUDA PROPERTY STRINGS AUTO ON OFF)
option(PTYNET_CUDA_BACKEND "The backend too, for which cuDNN 9, cuBLASLt and cuFFT are needed" ON)
set(PTYNET_CUDA_ARCHITECTURES "80;86;89;90" CACHE STRING
    "Compute capabilities to compile for; PTX of the last is added for newer devices")
option(PTYNET_CUDA_LINEINFO "Kernels know their source lines, for profilers and sanitizers; nearly doubles their size" OFF)

# Why CUDA is left out: an error where it was asked for.
function(ptynet_without_cuda reason)
  if(PTYNET_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA is left out: ${reason}")
    set(PTYNET_CUDA OFF PARENT_SCOPE)
  else()
    message(FATAL_ERROR "PTYNET_CUDA=ON: ${reason}, or leave CUDA out with -DPTYNET_CUDA=OFF")
  endif()
endfunction()

if(PTYNET_CUDA STREQUAL "AUTO" AND PTYNET_SANITIZERS)
  ptynet_without_cuda("sanitizers are asked for")
endif()
if(PTYNET_CUDA)
  list(TRANSFORM PTYNET_CUDA_ARCHITECTURES APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
  list(GET PTYNET_CUDA_ARCHITECTURES -1 newest)
  list(APPEND CMAKE_CUDA_ARCHITECTURES "${newest}-virtual")
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    ptynet_without_cuda("expected nvcc of CUDA 12 or 13, found none: put it on PATH or name it in \
CUDACXX (tools/install_nvcc.sh fetches one)")
  endif()
endif()
if(PTYNET_CUDA)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
    ptynet_without_cuda("expected nvcc of CUDA 12 or 13, found ${CMAKE_CUDA_COMPILER_VERSION} \
(${CMAKE_CUDA_COMPILER})")
  endif()
endif()
if(PTYNET_CUDA AND PTYNET_CUDA_BACKEND)
  include(${CMAKE_CURRENT_LIST_DIR}/CudaLibraries.cmake)
  if(PTYNET_CUDA_MISSING)
    ptynet_without_cuda("${PTYNET_CUDA_MISSING}")
  endif()
endif()
if(PTYNET_CUDA)
  # CMake 3.25 knows no C++20 flag of nvcc.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
endif()

# ptynet_cuda_target(<target>): what every target with .cu files compiled by nvcc needs.
function(ptynet_cuda_target target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}
                                               ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(${target} PRIVATE
    # Kernels call constexpr functions of the standard library, by way of kernels/math.h.
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xptxas=-v,-warn-spills>
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${PTYNET_CUDA_LINEINFO}>>:-lineinfo>
    # CUDA 12.8 and newer compress harder when asked: an archive is carried to beamlines.
    $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<VERSION_GREATER_EQUAL:${CMAKE_CUDA_COMPILER_VERSION},12.8>>:--compress-mode=size>
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow>
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow>)
  if(PTYNET_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror>
      $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endfunction()
