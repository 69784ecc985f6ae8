# Installs what exists, exported as reducenet::NAME for find_package(reducenet COMPONENTS NAME…).
include(CMakePackageConfigHelpers)
foreach(part graph native formats data runtime train)
  if(TARGET reducenet_${part})
    install(TARGETS reducenet_${part} EXPORT reducenet ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    list(APPEND REDUCENET_COMPONENTS ${part})
  endif()
endforeach()
if(TARGET reducenet_c)
  install(TARGETS reducenet_c EXPORT reducenet LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  list(APPEND REDUCENET_COMPONENTS c)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/include/reducenet.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/reducenet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/reducenet)
install(EXPORT reducenet NAMESPACE reducenet:: DESTINATION ${package_dir} FILE reducenetTargets.cmake)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/reducenetConfig.cmake.in
  ${PROJECT_BINARY_DIR}/reducenetConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/reducenetConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/reducenetConfig.cmake ${PROJECT_BINARY_DIR}/reducenetConfigVersion.cmake
  DESTINATION ${package_dir})

# The same for builds that ask pkg-config: the C API, and what of the C++ API needs neither LibTorch nor ONNX. The prefix is the
# one given at installation.
foreach(package reducenet reducenet-cpp)
  install(CODE "
    set(CMAKE_INSTALL_LIBDIR \"${CMAKE_INSTALL_LIBDIR}\")
    set(CMAKE_INSTALL_INCLUDEDIR \"${CMAKE_INSTALL_INCLUDEDIR}\")
    set(PROJECT_VERSION \"${PROJECT_VERSION}\")
    configure_file(\"${CMAKE_CURRENT_LIST_DIR}/${package}.pc.in\"
      \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/pkgconfig/${package}.pc\" @ONLY)")
endforeach()
