# One relocatable archive, made by `make package`: what `cmake --install` installs, the shared libraries
# underneath (not glibc, not CUDA's), their licences, and in check/ what a machine with a GPU is
# checked with. bin/, lib/ and check/ find each other wherever the archive is unpacked.

set(checks "")
foreach(target IN ITEMS cuda_on_gpu bench_cuda_conv test_cuda_session)
  if(TARGET ${target})
    list(APPEND checks ${target})
  endif()
endforeach()
set(scripts tools/gpu_check.sh benchmarks/torch_cuda.py)
list(TRANSFORM scripts PREPEND ${PROJECT_SOURCE_DIR}/)
set(demo ptynet-s.h5 scan.cxi truth.npz)
list(TRANSFORM demo PREPEND ${PROJECT_SOURCE_DIR}/examples/demo/)

install(TARGETS ${checks} RUNTIME DESTINATION check COMPONENT check EXCLUDE_FROM_ALL)
install(PROGRAMS ${scripts} DESTINATION check COMPONENT check EXCLUDE_FROM_ALL)
install(FILES ${demo} DESTINATION check/demo COMPONENT check EXCLUDE_FROM_ALL)

# The filters that detectors compress with, which HDF5 loads while running.
list(GET HDF5_C_LIBRARIES 0 hdf5)
cmake_path(GET hdf5 PARENT_PATH hdf5_folder)
file(GLOB filters ${hdf5_folder}/plugins/*.so)

set(binaries "$<TARGET_FILE:ptynet>;$<TARGET_FILE:ptynet_program>")
foreach(target IN ITEMS ptynet_cuda ${checks})
  if(TARGET ${target})
    string(APPEND binaries ";$<TARGET_FILE:${target}>")
  endif()
endforeach()
set(header_packages nlohmann-json3-dev libcli11-dev)
if(PTYNET_FFT STREQUAL "kissfft")
  list(APPEND header_packages libkissfft-dev)
endif()
install(CODE "set(binaries \"${binaries}\")
set(filters \"${filters}\")
set(header_packages \"${header_packages}\")
set(libraries_folder \"${CMAKE_INSTALL_LIBDIR}\")
set(licences_folder \"${CMAKE_INSTALL_DOCDIR}/licences\")" COMPONENT bundle EXCLUDE_FROM_ALL)
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/BundleLibraries.cmake COMPONENT bundle EXCLUDE_FROM_ALL)

# The libraries come from this machine, and so does the oldest C library they run with.
execute_process(COMMAND getconf GNU_LIBC_VERSION OUTPUT_VARIABLE PTYNET_C_LIBRARY
                OUTPUT_STRIP_TRAILING_WHITESPACE)
configure_file(${CMAKE_CURRENT_LIST_DIR}/package-readme.txt.in ${PROJECT_BINARY_DIR}/README.txt @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/README.txt DESTINATION . COMPONENT bundle EXCLUDE_FROM_ALL)

add_custom_target(package-files DEPENDS ptynet_program ${checks})
if(TARGET ptynet_cuda)
  add_dependencies(package-files ptynet_cuda)
endif()

set(CPACK_GENERATOR TXZ)
set(CPACK_THREADS 0)  # as many as the machine has
set(CPACK_PACKAGE_FILE_NAME ptynet-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_COMPONENTS_ALL Unspecified check bundle)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_STRIP_FILES ON)
include(CPack)
