# Runs while the archive is made: copies into libraries_folder what `binaries` and HDF5's `filters` need at
# run time, and into licences_folder the licences of all that.

# What every Linux has, what only NVIDIA's driver and toolkit may bring, and what is installed anyhow.
set(not_ours "^ld-linux" "^lib(c|m|mvec|pthread|dl|rt|resolv)\\.so"
    "^lib(cuda|cudart|cudnn|cublas|cufft|nv)" "^libptynet")
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${binaries} MODULES ${filters}
     RESOLVED_DEPENDENCIES_VAR libraries UNRESOLVED_DEPENDENCIES_VAR missing
     PRE_EXCLUDE_REGEXES ${not_ours})
if(missing)
  message(FATAL_ERROR "the package needs libraries that are not on this machine: ${missing}")
endif()
file(COPY ${libraries} DESTINATION ${CMAKE_INSTALL_PREFIX}/${libraries_folder} FOLLOW_SYMLINK_CHAIN)
file(COPY ${filters} DESTINATION ${CMAKE_INSTALL_PREFIX}/${libraries_folder}/hdf5-filters
     FOLLOW_SYMLINK_CHAIN)

# Debian's name of the package that a file came with. Where /lib is a link to /usr/lib, its lists
# have either.
function(package_of file result)
  string(REGEX REPLACE "^/usr" "" without_usr ${file})
  execute_process(COMMAND dpkg-query --search ${file} ${without_usr} OUTPUT_VARIABLE found ERROR_QUIET)
  if(NOT found MATCHES "^([^:,\n]+)[:,]")
    message(FATAL_ERROR "no licence for ${file}: expected a file of a Debian package, and dpkg-query "
                        "knows none")
  endif()
  set(${result} ${CMAKE_MATCH_1} PARENT_SCOPE)
endfunction()

# Some libraries are headers alone, compiled in.
set(packages ${header_packages})
foreach(library IN LISTS libraries filters)
  file(REAL_PATH ${library} library)
  package_of(${library} package)
  list(APPEND packages ${package})
endforeach()
list(REMOVE_DUPLICATES packages)
set(licences ${CMAKE_INSTALL_PREFIX}/${licences_folder})
file(MAKE_DIRECTORY ${licences})
foreach(package IN LISTS packages)
  file(REAL_PATH /usr/share/doc/${package}/copyright copyright)
  file(COPY_FILE ${copyright} ${licences}/${package}.txt)
endforeach()
# The texts that those refer to.
file(COPY /usr/share/common-licenses/ DESTINATION ${licences}/common)
