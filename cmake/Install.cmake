# What `cmake --install` puts in place: the library, the program, the public headers as
# <ptynet/kernels/array.h> and so on, and what find_package(ptynet) reads.
include(CMakePackageConfigHelpers)

set(PTYNET_CONFIG_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/ptynet)

install(TARGETS ptynet EXPORT ptynet-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET ptynet_cuda)
  # Loaded by name, from beside the library.
  install(TARGETS ptynet_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
if(TARGET ptynet_program)
  install(TARGETS ptynet_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(EXPORT ptynet-targets NAMESPACE ptynet:: DESTINATION ${PTYNET_CONFIG_FOLDER})

# Inside the tree headers include each other as "kernels/array.h": rewritten on the way out.
install(CODE "set(PTYNET_SOURCE_DIR [[${PROJECT_SOURCE_DIR}]])
set(PTYNET_INCLUDE_DIR [[${CMAKE_INSTALL_INCLUDEDIR}]])")
install(SCRIPT ${CMAKE_CURRENT_LIST_DIR}/InstallHeaders.cmake)

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/ptynet-config.cmake.in ${PROJECT_BINARY_DIR}/ptynet-config.cmake
  INSTALL_DESTINATION ${PTYNET_CONFIG_FOLDER})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ptynet-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ptynet-config.cmake
              ${PROJECT_BINARY_DIR}/ptynet-config-version.cmake
        DESTINATION ${PTYNET_CONFIG_FOLDER})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
