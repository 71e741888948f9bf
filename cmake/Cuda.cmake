# The CUDA kernels. So far no backend calls them, so nvcc compiles them only on request; g++ always
# does, for tests/cuda_on_cpu.
option(PTYNET_CUDA "Compile the CUDA kernels, their check and their benchmark with nvcc" OFF)
set(PTYNET_CUDA_ARCHITECTURES "80;86;89;90" CACHE STRING
    "Compute capabilities to compile for; PTX of the last is added for newer devices")

if(PTYNET_CUDA)
  list(TRANSFORM PTYNET_CUDA_ARCHITECTURES APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
  list(GET PTYNET_CUDA_ARCHITECTURES -1 newest)
  list(APPEND CMAKE_CUDA_ARCHITECTURES "${newest}-virtual")
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "PTYNET_CUDA=ON: expected nvcc of CUDA 12 or 13, found none: put it on PATH "
                        "or name it in CUDACXX, or leave CUDA out with -DPTYNET_CUDA=OFF")
  endif()
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
    message(FATAL_ERROR "PTYNET_CUDA=ON: expected nvcc of CUDA 12 or 13, found "
                        "${CMAKE_CUDA_COMPILER_VERSION} (${CMAKE_CUDA_COMPILER})")
  endif()
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
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -lineinfo -Xptxas=-v,-warn-spills>
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow>
    $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow>)
  if(PTYNET_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings -Xcompiler=-Werror>
      $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endfunction()
