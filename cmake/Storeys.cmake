# A storey is one object library: what it holds, what it stands on. All of them make one shared
# library, ptynet.

add_library(ptynet_options INTERFACE)
target_include_directories(ptynet_options INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
# Nothing here reads errno after a square root or traps on floats; without these two, loops that
# take roots are not vectorised. Neither changes a result.
target_compile_options(ptynet_options INTERFACE -Wall -Wextra -Wconversion -Wshadow
                                                -fno-math-errno -fno-trapping-math)
# GCC 12 sees overlapping copies within std::string where there are none (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(ptynet_options INTERFACE -Wno-restrict)
endif()
if(PTYNET_WARNINGS_AS_ERRORS)
  target_compile_options(ptynet_options INTERFACE -Werror)
endif()
if(PTYNET_SANITIZERS)
  target_compile_options(ptynet_options INTERFACE -fsanitize=${PTYNET_SANITIZERS}
                                                  -fno-omit-frame-pointer)
  target_link_options(ptynet_options INTERFACE -fsanitize=${PTYNET_SANITIZERS})
endif()

# For tests and the command line: what takes their time is in the library, and optimising takes
# most of the compiler's, half of it under sanitizers.
if(PTYNET_SANITIZERS)
  set(PTYNET_LITTLE_OPTIMISED -O0)
else()
  set(PTYNET_LITTLE_OPTIMISED $<$<CONFIG:Release>:-O1>)
endif()

if(PTYNET_BUILD_FUZZERS)
  # Coverage that libFuzzer is guided by; its main() comes with each target's own link option.
  target_compile_options(ptynet_options INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(ptynet_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# ptynet_storey(<name> SOURCES ... [STANDS_ON storeys...] [LIBRARIES libraries...])
function(ptynet_storey name)
  cmake_parse_arguments(ARG "" "" "SOURCES;STANDS_ON;LIBRARIES" ${ARGN})
  add_library(ptynet_${name} OBJECT ${ARG_SOURCES})
  target_link_libraries(ptynet_${name} PUBLIC ptynet_options ${ARG_LIBRARIES})
  foreach(below IN LISTS ARG_STANDS_ON)
    target_link_libraries(ptynet_${name} PUBLIC ptynet_${below})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY PTYNET_STOREYS ${name})
endfunction()

# The shared library of every storey.
function(ptynet_shared_library)
  get_property(storeys GLOBAL PROPERTY PTYNET_STOREYS)
  add_library(ptynet SHARED)
  add_library(ptynet::ptynet ALIAS ptynet)
  foreach(storey IN LISTS storeys)
    target_link_libraries(ptynet PRIVATE ptynet_${storey})
  endforeach()
  target_include_directories(ptynet PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_compile_features(ptynet PUBLIC cxx_std_20)
  set_target_properties(ptynet PROPERTIES VERSION ${PROJECT_VERSION}
                                          SOVERSION ${PROJECT_VERSION_MAJOR})
endfunction()

# Of what the library and the CUDA backend, which it loads, must have in common; the kernels are in it
# too, since what was timed of them is kept under it.
file(GLOB shared_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.h
     ${PROJECT_SOURCE_DIR}/kernels/cuda/*)
set(contents "${PROJECT_VERSION} ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
foreach(header IN LISTS shared_headers)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${header})
  file(SHA256 ${header} hash)
  string(APPEND contents " ${hash}")
endforeach()
string(SHA256 PTYNET_BUILD_ID "${contents}")
string(SUBSTRING ${PTYNET_BUILD_ID} 0 12 PTYNET_BUILD_ID)
set(PTYNET_BUILD_ID "${PROJECT_VERSION}-${PTYNET_BUILD_ID}")
